// How programs outside of the server serve a domain of it (XEP-0114), and what they may do beyond that: one module takes
// their connections, one on each such domain knows who may connect and what becomes of its stanzas, and one on each
// host grants what those are trusted with there.

/// A connection of an external component, as the domain that it serves sees it.
@ServerActor
public protocol ComponentLink: AnyObject {
    /// Bytes that were written and have not left.
    var backlog: Int { get }
    /// Writes a stanza.
    func send(_ stanza: Stanza)
    /// Ends it, with an error or without.
    func close(_ error: StreamError?)
}

/// A domain of this server that an external component serves.
@ServerActor
public protocol ExternalDomain: AnyObject {
    var jid: JID { get }
    /// Whether a component is connected.
    var isConnected: Bool { get }
    /// What the component may do in the names of a host's users.
    func privileges(on host: Host) -> ComponentPrivileges
    /// The namespaces whose requests the component answers in place of a host. XEP-0355 §4.1.
    func delegations(on host: Host) -> [ComponentDelegation]
    /// Whether this is the proof that belongs to a stream's id. XEP-0114 §3.
    func accepts(proof: String, ofStream id: String) -> Bool
    /// Gives a connection, whose proof was accepted and whose peer has been told so, its stanzas.
    ///
    /// - Throws: the error to end it with, because there is another one.
    func admit() throws(StreamError)
    func attach(_ link: any ComponentLink)
    /// A connection has ended.
    func detach(_ link: any ComponentLink)
    /// Writes a stanza to all connections.
    func tellAll(_ stanza: Stanza)
    /// Takes a stanza of the component, which is from this domain and has a receiver.
    func take(_ stanza: Stanza, from link: any ComponentLink)
}

/// What a host grants to components.
@ServerActor
public protocol ComponentGrants: AnyObject {
    /// A connection of a component begins: tells it what it may do here.
    func greet(_ component: any ExternalDomain, on link: any ComponentLink)
    /// What components may do has changed: some came, went, or are configured otherwise.
    func grantsChanged()
    /// Takes a stanza that a component sends on the strength of a privilege.
    ///
    /// - Returns: whether it was one.
    func take(_ stanza: Stanza, from component: any ExternalDomain) -> Bool
}

/// What a component may do in the names of users, or learn about them. XEP-0356.
public struct ComponentPrivileges: Sendable, Hashable {
    /// Which requests are allowed.
    public enum Access: String, Sendable, CaseIterable {
        case none, get, set, both

        public func allows(_ kind: IQ.Kind) -> Bool {
            switch kind {
            case .get: self == .get || self == .both
            case .set: self == .set || self == .both
            case .result, .error: false
            }
        }
    }

    /// What is shown of presence. XEP-0356 §7.
    public enum PresenceAccess: String, Sendable, CaseIterable {
        case none
        /// That of the users.
        case users = "managed_entity"
        /// That of their contacts, too.
        case contacts = "roster"
    }

    /// XEP-0356 §4.
    public var roster = Access.none
    /// Whether it is told of changes to rosters. XEP-0356 §4.4.
    public var isPushed = false
    /// Whether it may send messages. XEP-0356 §5.
    public var sendsMessages = false
    public var presence = PresenceAccess.none
    /// The requests that it may send, by the namespace of what is asked. XEP-0356 §6.
    public var requests: [String: Access] = [:]

    public init() {}

    public var isEmpty: Bool { self == ComponentPrivileges() }
}

/// A namespace whose requests a component answers. XEP-0355 §4.1.
public struct ComponentDelegation: Sendable, Hashable {
    public let namespace: String
    /// Attributes that the payload must have, or the host answers itself.
    public let attributes: [String]

    public init(_ namespace: String, attributes: [String] = []) {
        self.namespace = namespace
        self.attributes = attributes
    }
}
