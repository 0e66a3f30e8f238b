/// A message on its way from or to a local account.
public struct MessageEvent {
    /// The sender's account for what is sent, the recipient's for what arrives.
    public let account: Account
    public var message: Message
    /// The resource that sent it; nil for what arrives.
    public let origin: Resource?
    /// The resources it was given to; known once it is delivered.
    public var reached: [Resource] = []
    /// The id under which the account's archive keeps it; nil when it does not. Set by the archive when it may
    /// transform the event.
    public var archiveID: String?

    public init(account: Account, message: Message, origin: Resource? = nil) {
        self.account = account
        self.message = message
        self.origin = origin
    }

    /// Whether this resource sent or got the message.
    @ServerActor
    public func reached(_ resource: Resource) -> Bool {
        origin === resource || reached.contains { $0 === resource }
    }
}

extension MessageEvent {
    /// Returns the message to its sender, without what was added for the recipient: ids in an archive are for those
    /// who may read it (XEP-0313 §3.5).
    @ServerActor
    public func bounce(_ error: StanzaError) {
        var message = message
        if archiveID != nil {
            message.payload.removeChildren { $0.is("stanza-id", .stanzaIDs) && $0.jid("by") == account.jid }
        }
        account.host.router.bounce(.message(message), error)
    }
}

/// A presence on its way from or to a local account.
public struct PresenceEvent {
    /// The sender's account for what is sent, the recipient's for what arrives.
    public let account: Account
    public var presence: Presence
    /// The resource that sent it; nil for what arrives.
    public let origin: Resource?

    public init(account: Account, presence: Presence, origin: Resource?) {
        self.account = account
        self.presence = presence
        self.origin = origin
    }
}

/// An IQ that a client sends, or that arrives at a local account or host, before it is answered or passed on.
public struct IQEvent {
    public let host: Host
    /// The account that sends it or that it is for; nil when it is for the host.
    public let account: Account?
    public let iq: IQ

    public init(host: Host, account: Account?, iq: IQ) {
        self.host = host
        self.account = account
        self.iq = iq
    }
}

/// A message to the host itself, or to an address below it such as `example.org/announce`.
public struct HostMessageEvent {
    public let host: Host
    public let message: Message
}

/// A presence for the host itself.
public struct HostPresenceEvent {
    public let host: Host
    public let presence: Presence
}

/// A stanza for something that a component serves, such as `room@conference.example.org/nick`.
public struct AddressEvent {
    public let host: Host
    public let stanza: Stanza
}

/// Something happened to a resource.
public struct ResourceEvent {
    public let resource: Resource
    /// The presence that made it so.
    public var presence: Presence?

    public init(resource: Resource, presence: Presence? = nil) {
        self.resource = resource
        self.presence = presence
    }
}

/// A stanza waits for a resource's client.
public struct StanzaDelayEvent {
    public let resource: Resource
    public let stanza: Stanza

    public init(resource: Resource, stanza: Stanza) {
        self.resource = resource
        self.stanza = stanza
    }
}

/// Something happened to an account.
public struct AccountEvent {
    public let account: Account
}

/// A contact was added to an account's roster, changed or removed.
public struct RosterEvent {
    public let account: Account
    /// The `<query/>` that the account's own clients are told it with. RFC 6121 §2.1.6.
    public let push: Element

    public init(account: Account, push: Element) {
        self.account = account
        self.push = push
    }
}

/// Something happened to other servers. Those of about a second come together: peers may come and go as they like, and
/// whoever observes it looks at much.
public struct PeerEvent {
    /// The domains elsewhere.
    public let domains: Set<String>

    public init(domains: Set<String>) {
        self.domains = domains
    }
}

extension Hook where Event == MessageEvent {
    /// A client sends a message: filter and transform before it is routed, observe after.
    public static var messageSent: Self { Hook("message-sent") { $0.messageSent } }
    /// A message arrives at an account: filter and transform, then claim to deliver it.
    public static var messageArrived: Self { Hook("message-arrived") { $0.messageArrived } }
    /// No resource can take a message; claim it to keep it, or it is answered as RFC 6121 §8.5 says.
    public static var messageUndelivered: Self { Hook("message-undelivered") { $0.messageUndelivered } }
    /// A message was given to resources or was kept: observe.
    public static var messageDelivered: Self { Hook("message-delivered") { $0.messageDelivered } }
}

extension Hook where Event == PresenceEvent {
    /// A client sends presence: filter, transform, then claim to act on it.
    public static var presenceSent: Self { Hook("presence-sent") { $0.presenceSent } }
    /// The server shows a resource's presence to one address, as part of a broadcast or because a subscription began or
    /// ended: filter. Nobody is told about what does not pass.
    public static var presenceShown: Self { Hook("presence-shown") { $0.presenceShown } }
    /// Presence arrives at an account: filter, transform, then claim to act on it.
    public static var presenceArrived: Self { Hook("presence-arrived") { $0.presenceArrived } }
}

extension Hook where Event == IQEvent {
    /// A client sends an IQ request: filter.
    public static var iqSent: Self { Hook("iq-sent") { $0.iqSent } }
    /// An IQ request arrives: filter.
    public static var iqArrived: Self { Hook("iq-arrived") { $0.iqArrived } }
    /// An IQ result or error comes from a client of an account, or arrives at the account: filter. What does not pass
    /// is dropped.
    public static var iqAnswer: Self { Hook("iq-answer") { $0.iqAnswer } }
}

extension Hook where Event == HostMessageEvent {
    /// A message to the host: claim it.
    public static var hostMessage: Self { Hook("host-message") { $0.hostMessage } }
}

extension Hook where Event == HostPresenceEvent {
    /// Presence for the host, of any type: claim it. What nobody takes is forgotten.
    public static var hostPresence: Self { Hook("host-presence") { $0.hostPresence } }
}

extension Hook where Event == AddressEvent {
    /// A stanza to an address with a localpart at the domain of a component: filter, then claim to act on it, requests
    /// with ``ModuleHost/answer(_:_:)``. What nobody takes is answered as if it were for an account that does not
    /// exist (RFC 6121 §8.5.1).
    public static var addressArrived: Self { Hook("address-arrived") { $0.addressArrived } }
}

extension Hook where Event == ResourceEvent {
    /// A client has bound a resource: observe.
    public static var resourceBound: Self { Hook("resource-bound") { $0.resourceBound } }
    /// A resource sent its first presence: observe. Comes before the presence is broadcast.
    public static var resourceAvailable: Self { Hook("resource-available") { $0.resourceAvailable } }
    /// An available resource has become unavailable: observe.
    public static var resourceUnavailable: Self { Hook("resource-unavailable") { $0.resourceUnavailable } }
    /// The stream of a resource was lost, or the server stops: claim it to keep the resource for its client, which may
    /// come back with another stream. Whoever does removes it in the end (``Account/remove(_:)``).
    public static var resourceDetaching: Self { Hook("resource-detaching") { $0.resourceDetaching } }
    /// The client of a resource whose stream was lost has come back with another one: observe.
    public static var resourceResumed: Self { Hook("resource-resumed") { $0.resourceResumed } }
    /// A resource that outlived a restart of the server is back, with its presence and what modules kept with it:
    /// observe, to learn what a module would know of it otherwise.
    public static var resourceRestored: Self { Hook("resource-restored") { $0.resourceRestored } }
    /// A resource is gone: observe.
    public static var resourceClosed: Self { Hook("resource-closed") { $0.resourceClosed } }
}

extension Hook where Event == StanzaDelayEvent {
    /// A stanza for a resource waits, because its client is gone or has been silent for some time: observe.
    public static var stanzaDelayed: Self { Hook("stanza-delayed") { $0.stanzaDelayed } }
}

extension Hook where Event == RosterEvent {
    /// A roster has changed: observe.
    public static var rosterChanged: Self { Hook("roster-changed") { $0.rosterChanged } }
}

extension Hook where Event == PeerEvent {
    /// Domains elsewhere that could not be reached are there again, and may have forgotten what they were told: observe.
    public static var peerReturned: Self { Hook("peer-returned") { $0.peerReturned } }
    /// Domains elsewhere that were there cannot be reached, and are not waited for any longer: observe. It is told once;
    /// ``peerReturned`` follows when they are there again.
    public static var peerLost: Self { Hook("peer-lost") { $0.peerLost } }
}

extension Hook where Event == AccountEvent {
    /// An account has been loaded, with everything that modules keep with it; what waits for it follows: observe.
    public static var accountLoaded: Self { Hook("account-loaded") { $0.accountLoaded } }
    /// An account was made: observe.
    public static var accountCreated: Self { Hook("account-created") { $0.accountCreated } }
    /// An account is being removed; what it stored is still there: observe.
    public static var accountRemoved: Self { Hook("account-removed") { $0.accountRemoved } }
}
