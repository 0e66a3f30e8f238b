/// What the clients around an account can do, learned from the capabilities in their presence (XEP-0115).
///
/// Around an account are its own available resources, and the resources of its contacts whose presence arrived and was
/// not taken back. Nothing is known of anybody else, nor of those who say nothing or cannot prove what they say.
@ServerActor
public protocol Capabilities: AnyObject {
    /// What a full JID can do; nil while that is not known.
    func info(of jid: JID, seenBy account: Account) -> DiscoInfo?
    /// Whether a full JID is known to have a feature.
    func supports(_ feature: Namespace, _ jid: JID, seenBy account: Account) -> Bool
    /// The full JIDs around an account that are known to have a feature, its own resources among them.
    func resources(supporting feature: Namespace, seenBy account: Account) -> [JID]
}

extension Capabilities {
    /// Whether a full JID wants to be told of what is published at a node. XEP-0060 §9.2, XEP-0163 §4.3.2.
    public func wants(node: String, _ jid: JID, seenBy account: Account) -> Bool {
        supports(.notifications(of: node), jid, seenBy: account)
    }

    /// The full JIDs around an account that want to be told of what is published at a node, the account's own resources
    /// among them. XEP-0060 §9.2, XEP-0163 §4.3.2.
    public func resources(wantingNode node: String, seenBy account: Account) -> [JID] {
        resources(supporting: .notifications(of: node), seenBy: account)
    }
}

extension Namespace {
    /// The feature of who wants to be told of what is published at a node. XEP-0060 §9.2.
    public static func notifications(of node: String) -> Namespace { Namespace(node + "+notify") }
}

/// The capabilities of a resource around an account became known, or have changed.
public struct CapabilitiesEvent {
    /// Whose own resource it is, or to whom its presence came.
    public let account: Account
    /// The full JID.
    public let jid: JID
    public let info: DiscoInfo
    /// What it could do before; nil when it has just appeared, or nothing was known.
    public let previous: DiscoInfo?

    public init(account: Account, jid: JID, info: DiscoInfo, previous: DiscoInfo?) {
        self.account = account
        self.jid = jid
        self.info = info
        self.previous = previous
    }

    /// The nodes it wants to be told of since now. XEP-0060 §9.2.
    public var newlyWantedNodes: [String] {
        let known = Set(previous?.features ?? [])
        return info.features.lazy.filter { $0.uri.hasSuffix("+notify") && !known.contains($0) }
            .map { String($0.uri.dropLast("+notify".count)) }
    }
}

extension Hook where Event == CapabilitiesEvent {
    /// What a resource around an account can do became known or has changed: observe. Comes after the presence has been
    /// delivered.
    public static var capabilitiesKnown: Self { Hook("capabilities-known") }
}
