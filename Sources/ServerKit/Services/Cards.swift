/// The cards of local accounts in the format of vcard-temp (XEP-0054); the module `vcard` offers it.
@ServerActor
public protocol Cards: AnyObject {
    /// An account's card; nil when it has none.
    func card(of account: Account) async throws -> Element?
    /// Changes an account's card, or deletes it, with nothing in between what `change` is given and what it returns; it
    /// may be called more than once. ``Hook/cardChanged`` is not fired: whoever calls this knows.
    ///
    /// - Throws: `.policyViolation` when the card becomes too large, and nothing has changed.
    func changeCard(of account: Account, _ change: @ServerActor (Element?) -> Element?) async throws
}

/// A client has stored a card, or deleted it.
public struct CardEvent {
    public let account: Account
    /// What is stored now; nil when it was deleted.
    public let card: Element?

    public init(account: Account, card: Element?) {
        self.account = account
        self.card = card
    }
}

extension Hook where Event == CardEvent {
    /// A client has stored or deleted a card: observe. Its write is queued.
    public static var cardChanged: Self { Hook("card-changed") }
}

extension Namespace {
    /// XEP-0054 §3.
    public static let vCard: Namespace = "vcard-temp"
}
