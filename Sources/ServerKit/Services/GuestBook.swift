/// Who may be a guest on an anonymous host, and for whom; the module `guests` offers it. Where nobody does, everybody
/// is let in, and nobody may write to other servers.
@ServerActor
public protocol GuestBook: AnyObject {
    /// Lets a guest in.
    ///
    /// - Parameter trace: what the client sent along with ANONYMOUS (RFC 4505 §2); empty for nothing.
    /// - Returns: the localpart of the guest's address.
    /// - Throws: `not-authorized` for what is no invitation, or is none any more; `temporary-auth-failure` when the
    ///   guest may come back later.
    func admit(_ trace: String) throws(SASLFailure) -> String

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

/// An invitation as it is given away: the only time that its token is seen.
public struct GuestPass: Codable, Sendable {
    /// What the guest logs in with.
    public var token: String
    public var invitation: GuestInvitation

    public init(token: String, invitation: GuestInvitation) {
        self.token = token
        self.invitation = invitation
    }

    /// How to use it, in plain words.
    public var hint: String {
        """
        To log in: the domain \(invitation.host), the SASL mechanism ANONYMOUS, and as its trace information the \
        invitation \(token). Whoever has it can come in until \(invitation.expires). The conversation: \
        \(invitation.peers.map { "xmpp:\($0)" }.joined(separator: " "))
        """
    }
}

/// An invitation as tools show it.
public struct GuestInvitation: Codable, Sendable, Hashable {
    /// What it is called by; of no use to log in.
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
