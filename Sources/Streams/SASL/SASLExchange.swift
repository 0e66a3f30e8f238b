/// What to do next in an authentication.
public enum SASLStep: Sendable {
    /// Send this to the client and pass its answer to ``SASLExchange/respond(_:)``.
    case challenge([UInt8])
    /// Look up the account of this localpart, prepared, and pass the outcome to ``SASLExchange/provide(_:)``. The place
    /// to ask the ``AuthenticationThrottle``.
    case needCredentials(username: String)
    /// Run this away from the event loop and pass the outcome to ``SASLExchange/verified(_:)``.
    case needVerification(PasswordVerification)
    /// The client is who it says it is; send the data, if any, along with the success.
    case success(authenticated: SASLIdentity, additionalData: [UInt8]?)
    /// It is over.
    case failure(SASLFailure)
}

/// Who was authenticated.
public enum SASLIdentity: Sendable, Hashable {
    /// An account by its localpart, prepared, and the authorization identity if one was sent: the account's own bare
    /// JID, prepared.
    case account(authcid: String, authzid: String?)
    /// Somebody, who gets a temporary address from the server. XEP-0175 §3.
    case anonymous
    /// One of the addresses the peer's certificate proved.
    case certificate(authzid: String)
    /// An account by its localpart, prepared, and the ``HashedToken/id`` of the token that proved it.
    case token(authcid: String, id: String)
}

/// What was found about an account.
public enum CredentialLookup: Sendable {
    case found(StoredPassword)
    /// The account is disabled, which only somebody with its password learns.
    case disabled(StoredPassword)
    /// The password has to be replaced, which only somebody who knows it learns.
    case expired(StoredPassword)
    case unknown
    /// The tokens that may open the account, none if there is no such account; and the failure that awaits even who has
    /// one. For mechanisms of the family HT only.
    case tokens([HashedToken], SASLFailure?)
    /// Storage does not answer.
    case unavailable
}

/// A password to be compared with what is stored. Takes milliseconds, and as many for accounts that do not exist.
public struct PasswordVerification: Sendable {
    let credentials: SCRAMCredentials
    let preparedPassword: String

    /// Whether the password is right. Slow on purpose: not for an event loop.
    public func run() -> Bool {
        credentials.verify(preparedPassword: preparedPassword)
    }
}

/// Keeps the password out of logs.
extension PasswordVerification: CustomStringConvertible, CustomReflectable {
    public var description: String { "PasswordVerification" }
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// How strings are brought into the form in which they are compared; nil for those that have none.
public struct SASLPreparation: Sendable {
    /// UsernameCaseMapped, as for a localpart. RFC 7622 §3.3.
    public var localpart: @Sendable (String) -> String?
    /// OpaqueString. RFC 8265 §4.2.
    public var password: @Sendable (String) -> String?
    /// A bare JID between client and server, a domainpart between servers. RFC 6120 §6.3.8.
    public var authzid: @Sendable (String) -> String?

    public init(
        localpart: @escaping @Sendable (String) -> String?, password: @escaping @Sendable (String) -> String?,
        authzid: @escaping @Sendable (String) -> String?
    ) {
        self.localpart = localpart
        self.password = password
        self.authzid = authzid
    }
}

/// What an exchange knows of its stream and host.
public struct SASLContext: Sendable {
    /// The host's domainpart, prepared.
    public var domain: String
    /// What was offered on this stream.
    public var offered: SASLMechanismList
    public var preparation: SASLPreparation
    public var decoy: SCRAMDecoy
    /// The channel bindings of the stream's TLS connection, for every type offered.
    public var channelBindings: [ChannelBinding]
    /// The addresses, prepared, that the peer's certificate proved and this host accepts.
    public var certificateIdentities: [String]
    /// Whether SCRAM signs the list of mechanisms (XEP-0474). Only for streams on which ``offered`` was announced as
    /// it is: clients compare, and give up where the announcement has one mechanism more.
    public var signsOffer: Bool

    public init(
        domain: String, offered: SASLMechanismList, preparation: SASLPreparation, decoy: SCRAMDecoy,
        channelBindings: [ChannelBinding] = [], certificateIdentities: [String] = [], signsOffer: Bool = false
    ) {
        self.domain = domain
        self.offered = offered
        self.preparation = preparation
        self.decoy = decoy
        self.channelBindings = channelBindings
        self.certificateIdentities = certificateIdentities
        self.signsOffer = signsOffer
    }

    /// What to check a client against, and the failure that awaits it even if the check succeeds.
    ///
    /// The decoy is made in any case, so that its making tells nothing.
    func candidate(
        _ lookup: CredentialLookup, username: String, hash: SCRAMHash,
        select: (StoredPassword) -> SCRAMCredentials?
    ) throws(SASLFailure) -> (credentials: SCRAMCredentials, failure: SASLFailure?) {
        let decoy = decoy.credentials(for: "\(username)@\(domain)", hash: hash)
        let (stored, failure): (StoredPassword?, SASLFailure?) =
            switch lookup {
            case .found(let stored): (stored, nil)
            case .disabled(let stored): (stored, .accountDisabled)
            case .expired(let stored): (stored, .credentialsExpired)
            case .unknown, .tokens: (nil, .notAuthorized)
            case .unavailable: throw SASLFailure.temporaryAuthFailure
            }
        guard let credentials = stored.flatMap(select) else { return (decoy, .notAuthorized) }
        return (credentials, failure)
    }

    /// The outcome for a user who proved to know the password: only the own bare JID may be asked for.
    /// RFC 6120 §6.3.8.
    func authorize(username: String, authzid: String?) throws(SASLFailure) -> SASLIdentity {
        guard let authzid else { return .account(authcid: username, authzid: nil) }
        guard let prepared = preparation.authzid(authzid), prepared == "\(username)@\(domain)" else {
            throw SASLFailure.invalidAuthzid
        }
        return .account(authcid: username, authzid: prepared)
    }
}

/// The server's side of one mechanism. ``SASLExchange`` guards it: each function is called only when the step before
/// asked for it, and none after the last step.
public protocol SASLMechanismEngine: Sendable {
    /// Begins, with the client's first message if it came along.
    mutating func start(initialResponse: [UInt8]?) throws(SASLFailure) -> SASLStep
    /// Takes the answer to a challenge.
    mutating func respond(_ response: [UInt8]) throws(SASLFailure) -> SASLStep
    /// Takes what was asked for with ``SASLStep/needCredentials(username:)``.
    mutating func provide(_ lookup: CredentialLookup) throws(SASLFailure) -> SASLStep
    /// Takes the outcome of ``SASLStep/needVerification(_:)``.
    mutating func verified(_ isCorrect: Bool) throws(SASLFailure) -> SASLStep
}

/// For mechanisms that consist of one message from the client: they ask for it where it did not come along.
/// RFC 6120 §6.3.10.
extension SASLMechanismEngine {
    public mutating func start(initialResponse: [UInt8]?) throws(SASLFailure) -> SASLStep {
        guard let initialResponse else { return .challenge([]) }
        return try respond(initialResponse)
    }

    public mutating func provide(_ lookup: CredentialLookup) throws(SASLFailure) -> SASLStep {
        throw SASLFailure.temporaryAuthFailure
    }

    public mutating func verified(_ isCorrect: Bool) throws(SASLFailure) -> SASLStep {
        throw SASLFailure.temporaryAuthFailure
    }
}

/// One attempt to authenticate, as the server sees it: takes what happens and says what to do.
///
/// A value without clock, socket or task. Data goes in and out as bytes; base 64 and XML are the stream's matter.
public struct SASLExchange: Sendable {
    /// The longest message accepted, in bytes, before anything is done with it. RFC 4616 §2 asks for three times 255;
    /// a localpart and an authorization identity of full length, every byte escaped, fit.
    public static let maximumMessageLength = 16_384

    private enum Phase {
        case new, awaitingResponse, awaitingCredentials, awaitingVerification, finished
    }

    private var engine: any SASLMechanismEngine
    private var phase = Phase.new

    /// Begins the exchange a client asked for by the mechanism's name.
    ///
    /// - Throws: invalid-mechanism or encryption-required for what is not offered on this stream.
    public init(mechanism name: String, context: SASLContext) throws(SASLFailure) {
        switch try context.offered.select(name) {
        case .scram(let hash, let plus): engine = SCRAMServer(hash: hash, isPlus: plus, context: context)
        case .plain: engine = PlainServer(context: context)
        case .anonymous: engine = AnonymousServer()
        case .external: engine = ExternalServer(context: context)
        }
    }

    /// Begins the exchange of a client that says it holds a token.
    ///
    /// - Parameter bindings: the channel bindings of the stream's TLS connection.
    /// - Throws: invalid-mechanism for what the connection cannot do.
    public init(
        token mechanism: HashedTokenMechanism, bindings: [ChannelBinding], context: SASLContext
    ) throws(SASLFailure) {
        engine = try HashedTokenServer(mechanism, bindings: bindings, context: context)
    }

    /// An exchange with a mechanism from elsewhere.
    public init(engine: any SASLMechanismEngine) {
        self.engine = engine
    }

    /// Takes the beginning of the exchange. An initial response that is empty but present is not nil. RFC 6120 §6.4.2.
    public mutating func start(initialResponse: [UInt8]?) -> SASLStep {
        advance(from: .new, messageLength: initialResponse?.count ?? 0) { engine throws(SASLFailure) in
            try engine.start(initialResponse: initialResponse)
        }
    }

    /// Takes the client's answer to a challenge.
    public mutating func respond(_ response: [UInt8]) -> SASLStep {
        advance(from: .awaitingResponse, messageLength: response.count) { engine throws(SASLFailure) in
            try engine.respond(response)
        }
    }

    /// Takes what is stored for the account.
    public mutating func provide(_ lookup: CredentialLookup) -> SASLStep {
        advance(from: .awaitingCredentials) { engine throws(SASLFailure) in try engine.provide(lookup) }
    }

    /// Takes the outcome of a ``PasswordVerification``.
    public mutating func verified(_ isCorrect: Bool) -> SASLStep {
        advance(from: .awaitingVerification) { engine throws(SASLFailure) in try engine.verified(isCorrect) }
    }

    /// Takes the client's wish to stop. RFC 6120 §6.4.4.
    public mutating func abort() -> SASLStep {
        phase = .finished
        return .failure(.aborted)
    }

    /// What comes out of turn ends the exchange: a client that answers twice as much as a lookup that arrives after an
    /// abort, whose step the caller drops with the exchange.
    private mutating func advance(
        from expected: Phase, messageLength: Int = 0,
        _ body: (inout any SASLMechanismEngine) throws(SASLFailure) -> SASLStep
    ) -> SASLStep {
        guard phase == expected, messageLength <= Self.maximumMessageLength else {
            phase = .finished
            return .failure(.malformedRequest)
        }
        do throws(SASLFailure) {
            let step = try body(&engine)
            phase =
                switch step {
                case .challenge: .awaitingResponse
                case .needCredentials: .awaitingCredentials
                case .needVerification: .awaitingVerification
                case .success, .failure: .finished
                }
            return step
        } catch {
            phase = .finished
            return .failure(error)
        }
    }
}
