/// Stanzas that wait for an entity to be loaded, in order (RFC 6120 §10.1). Clients are told that one of theirs was
/// taken only after it has been handled.
@ServerActor
public final class Mailbox {
    private let router: Router
    private var waiting: ArraySlice<(stanza: Stanza, fence: DurabilityFence?)> = []

    public init(router: Router) {
        self.router = router
    }

    public var isEmpty: Bool { waiting.isEmpty }
    public var count: Int { waiting.count }
    /// The stanza that came first.
    public var first: Stanza? { waiting.first?.stanza }

    /// Puts a stanza at the end.
    public func put(_ stanza: Stanza) {
        let fence = router.fence
        fence?.enterDelivery()
        waiting.append((stanza, fence))
    }

    /// Takes the first stanza out and handles it; what it makes to be written counts for its sender.
    ///
    /// - Returns: whether there was one.
    @discardableResult
    public func handleFirst(_ body: (Stanza) -> Void) -> Bool {
        guard let (stanza, fence) = waiting.popFirst() else { return false }
        router.track(fence) { body(stanza) }
        fence?.leaveDelivery()
        return true
    }
}
