/// Who may be a guest on an anonymous host, and for whom; the module `guests` offers it. Where nobody does, everybody
/// is let in, and nobody may write to other servers.
@ServerActor
public protocol GuestBook: AnyObject {
    /// Whether people without an invitation are let in, too.
    var isOpen: Bool { get }

    /// The password of an invitation that is good now; there is no asking for others. Never one of tokens.
    ///
    /// - Parameter localpart: that of the address with which the guest logs in.
    func credentials(of localpart: String) -> CredentialLookup

    /// Lets a guest in who knew the password of an invitation.
    ///
    /// - Parameters:
    ///   - localpart: the one it was asked for.
    ///   - isExact: Whether the client wants this address and no other. RFC 6120 §6.3.8.
    /// - Returns: the localpart of the address that the guest gets.
    /// - Throws: `not-authorized` if the invitation has ended meanwhile; `temporary-auth-failure` when the guest may
    ///   come back later; `invalid-authzid` for an address that nobody gets.
    func admit(_ localpart: String, isExact: Bool) throws(SASLFailure) -> String

    /// Lets somebody in who has no invitation, where that is allowed.
    ///
    /// - Returns: the localpart of the address.
    /// - Throws: `temporary-auth-failure` when there are too many.
    func admitAnybody() throws(SASLFailure) -> String

    /// Whether the host may exchange stanzas with a domain elsewhere: somebody there is in an invitation, or in the
    /// conversation of a guest who is about to leave. True while the book is still being read.
    func mayFederate(with domain: String) -> Bool

    /// Makes an invitation, which is on disk when this returns.
    ///
    /// - Parameter inviter: who makes it; nil for the administrator's tool.
    /// - Throws: a ``StanzaError`` whose text says what is wrong with the request.
    func invite(_ request: GuestRequest, by inviter: JID?) async throws -> GuestPass

    /// The invitations that are good now, the oldest first.
    var invitations: [GuestInvitation] { get }

    /// Makes an invitation worthless, which is on disk when this returns, and ends the sessions of its guests.
    ///
    /// - Returns: whether there was one with this id.
    func revoke(_ id: String) async throws -> Bool
}

/// What an invitation should be.
public struct GuestRequest: Codable, Sendable {
    /// The domain of the guests; nil for the only one there is. It chooses the book.
    public var host: String?
    /// Whom the guest may write to: bare JIDs of users or rooms, here or elsewhere.
    public var peers: [JID]
    /// What to call the guest; nil for a guest without a name.
    public var name: String?
    /// How long it is good, in seconds; nil for as long as is usual.
    public var lifetime: Int?
    /// How many guests may hold it at a time; nil for one.
    public var places: Int?

    public init(
        host: String? = nil, peers: [JID], name: String? = nil, lifetime: Int? = nil, places: Int? = nil
    ) {
        self.host = host
        self.peers = peers
        self.name = name
        self.lifetime = lifetime
        self.places = places
    }
}

/// An invitation as it is given away: the only time that its password is seen.
public struct GuestPass: Codable, Sendable {
    /// The bare JID with which the guest logs in.
    public var address: JID
    public var password: String
    public var invitation: GuestInvitation

    public init(address: JID, password: String, invitation: GuestInvitation) {
        self.address = address
        self.password = password
        self.invitation = invitation
    }

    /// How to use it, in plain words.
    public var hint: String {
        let several = "Each of the \(invitation.places) who may be here at a time gets an address of their own. "
        return """
            Log in with any XMPP client, with the address \(address) and the password \(password), until \
            \(invitation.expires). \(invitation.places > 1 ? several : "")Whoever has them can come in. \
            The conversation: \(invitation.peers.map(\.uri).joined(separator: " "))
            """
    }
}

/// An invitation as tools show it.
public struct GuestInvitation: Codable, Sendable, Hashable {
    /// What it is called by: the localpart with which its guests log in, of no use without the password.
    public var id: String
    /// The domain of its guests.
    public var host: String
    /// Who made it; nil if it was the administrator's tool.
    public var inviter: JID?
    public var peers: [JID]
    public var name: String?
    /// XEP-0082 §3.2.
    public var expires: String
    public var places: Int
    /// The addresses of the guests who are here.
    public var guests: [JID]

    public init(
        id: String, host: String, inviter: JID?, peers: [JID], name: String?, expires: String, places: Int,
        guests: [JID]
    ) {
        self.id = id
        self.host = host
        self.inviter = inviter
        self.peers = peers
        self.name = name
        self.expires = expires
        self.places = places
        self.guests = guests
    }
}
