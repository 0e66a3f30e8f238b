/// Who may ask.
public enum IQAccess: Sendable {
    case anyone
    /// Only the resources of the account that is asked. Others get `service-unavailable`, as if nobody were there.
    case owner
    /// Only accounts of this host; of a component, only accounts of this server.
    case local
    /// Only administrators.
    case admin
    /// The account itself and those who may know of its presence. Others get `service-unavailable`.
    case subscriber
}

/// Whose address a request must carry for a handler to answer it.
public struct IQTarget: OptionSet, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// A bare JID, or no address at all.
    public static let account = IQTarget(rawValue: 1)
    /// The host's domain.
    public static let host = IQTarget(rawValue: 2)
}

/// A get or set that a module answers.
public struct IQRequest: Sendable {
    public let iq: IQ
    /// Who asks.
    public let from: JID
    /// The payload.
    public let query: Element
    public let host: Host
    /// The account that was asked; nil when it is the host.
    public let account: Account?
    /// The resource that asks, if it is one of this server.
    public let resource: Resource?
    let followUps: FollowUps

    public var kind: IQ.Kind { iq.kind }

    /// The resource that asks, where the handler admits only local ones.
    ///
    /// - Throws: `.forbidden` when somebody else asks.
    public func origin() throws(StanzaError) -> Resource {
        guard let resource else { throw .forbidden }
        return resource
    }

    /// The account that was asked.
    ///
    /// - Throws: `.serviceUnavailable` when the host was asked.
    public func owner() throws(StanzaError) -> Account {
        guard let account else { throw .serviceUnavailable }
        return account
    }
}

extension IQRequest {
    /// Calls `body` right after the answer has been sent, which may be later than the handler's return: an answer waits
    /// for the writes its sender relies on.
    @ServerActor
    public func afterAnswer(_ body: @escaping @ServerActor () -> Void) {
        followUps.bodies.append(body)
    }
}

/// What remains to be done when a request has been answered.
@ServerActor
final class FollowUps {
    var bodies: [@ServerActor () -> Void] = []

    init() {}

    func run() {
        let bodies = self.bodies
        self.bodies = []
        for body in bodies { body() }
    }
}

/// What IQ payloads a host answers, and how.
@ServerActor
final class IQTable {
    enum Body {
        case now(@ServerActor (IQRequest) throws -> Element?)
        case later(@ServerActor (IQRequest) async throws -> Element?)
    }

    struct Entry {
        let kinds: [IQ.Kind]
        let targets: IQTarget
        let access: IQAccess
        let module: String
        let body: Body
    }

    struct Key: Hashable {
        let name: String
        let namespace: Namespace
    }

    private var entries: [Key: [(id: Int, entry: Entry)]] = [:]
    private var nextID = 0

    /// The handler of a payload; two for the same one cannot be registered.
    func entry(for query: Element, _ kind: IQ.Kind, _ target: IQTarget) -> Entry? {
        entries[Key(name: query.name, namespace: query.namespace)]?
            .first { $0.entry.kinds.contains(kind) && $0.entry.targets.contains(target) }?.entry
    }

    /// Who may send a payload of either kind, so that "there is no such request" can be told from "not so".
    func accesses(of query: Element, _ target: IQTarget) -> [IQAccess] {
        (entries[Key(name: query.name, namespace: query.namespace)] ?? [])
            .filter { $0.entry.targets.contains(target) }.map(\.entry.access)
    }

    /// Adds a handler.
    ///
    /// - Returns: its number, or the name of the module that answers this payload already.
    func add(_ key: Key, _ entry: Entry) -> Result<Int, Conflict> {
        let rival = entries[key]?.first { existing in
            !existing.entry.targets.isDisjoint(with: entry.targets)
                && existing.entry.kinds.contains(where: entry.kinds.contains)
        }
        if let rival { return .failure(Conflict(module: rival.entry.module)) }
        nextID += 1
        entries[key, default: []].append((nextID, entry))
        return .success(nextID)
    }

    struct Conflict: Error {
        let module: String
    }

    func remove(_ key: Key, _ id: Int) {
        entries[key]?.removeAll { $0.id == id }
        if entries[key]?.isEmpty == true { entries[key] = nil }
    }
}
