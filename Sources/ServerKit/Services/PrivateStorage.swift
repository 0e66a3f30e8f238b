/// The private XML storage of local accounts (XEP-0049); the module `private` offers it.
@ServerActor
public protocol PrivateStorage: AnyObject {
    /// What an account stored under a name and namespace; nil when that is nothing.
    func element(_ name: String, _ namespace: Namespace, of account: Account) async throws -> Element?
    /// Stores an element in place of what was there under its name and namespace.
    func set(_ element: Element, of account: Account) async throws
}

/// A module that keeps an element of private XML storage in another form, and shows clients the same in both: it offers
/// itself as the one who has the say about that element.
@ServerActor
public protocol PrivateStorageConversion: AnyObject {
    /// Whether it has the say about elements of this name and namespace.
    func converts(_ name: String, _ namespace: Namespace) -> Bool
    /// What a client is shown in place of what is stored.
    func shown(_ stored: Element?, of account: Account) async throws -> Element?
    /// Takes what a client stores, before its result leaves.
    ///
    /// - Returns: what remains to be stored.
    func take(_ element: Element, of account: Account) async throws -> Element
}
