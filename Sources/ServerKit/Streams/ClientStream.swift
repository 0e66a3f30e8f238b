/// Names a value that a module keeps with a stream.
public protocol StreamKey {
    associatedtype Value
    static var defaultValue: Value { get }
}

/// A client's stream, from its first byte to its last. RFC 6120 §4.
///
/// It knows the order of things: header, features, negotiation, bound resource. What is negotiated, and how, the
/// modules of its host bring.
@ServerActor
public final class ClientStream: StreamEndpoint {
    public enum Phase {
        /// No header yet, or a new one is due after TLS or SASL. RFC 6120 §4.3.3.
        case awaitingHeader
        case negotiating
        case bound(Resource)
        /// This side has sent its end tag and waits for the peer's.
        case closing
        case closed
    }

    public let server: Server
    public let transport: any StreamTransport
    public private(set) var phase = Phase.awaitingHeader
    /// The host the client asked for; nil before its first header.
    public private(set) var host: Host?
    /// The stream's id, unpredictable. RFC 6120 §4.7.3.
    public private(set) var id = ""
    /// The localpart that SASL authenticated; for a guest the one it was given.
    public private(set) var authenticated: String?
    /// The localpart by which it logged in, if that is another.
    private var username: String?
    /// The SASL mechanism it used.
    public private(set) var mechanism: String?
    /// Whom the client says it is, in its header: not to be trusted. RFC 6120 §4.7.1.
    public private(set) var claimedAddress: JID?
    /// The language the client asked for. RFC 6120 §4.7.4.
    public private(set) var language: String?
    /// While set, elements of this namespace may come and nothing else: any other ends the stream.
    public var exclusiveNamespace: Namespace?
    /// When it began, by the server's clock.
    public let startedAt: Duration
    /// When the client last sent a byte, by the server's clock.
    public private(set) var lastReceived: Duration
    /// When the server last sent a byte, by the server's clock.
    public private(set) var lastSent: Duration
    /// Carries who and where.
    public var log: Logger {
        // Made when something is said: a dictionary for every idle stream would be the larger part of it.
        var log = server.log
        log[metadataKey: "peer"] = "\(transport.peerAddress)"
        if let host { log[metadataKey: "host"] = "\(host.domain)" }
        if !id.isEmpty { log[metadataKey: "stream"] = "\(id.prefix(8))" }
        if let resource {
            log[metadataKey: "jid"] = "\(resource.jid)"
        } else if let authenticated, let host {
            log[metadataKey: "jid"] = "\(authenticated)@\(host.domain)"
        }
        return log
    }

    private let reader: StreamReader
    private var slots = Slots()
    private var headerWasSent = false
    /// Elements that arrived while an answer was being prepared.
    private var held: [Element] = []
    /// The end tag came after them.
    private var endIsHeld = false
    private let pace: ReadingPace
    /// What waits for the client to be told of its resource; nil if nothing needs to.
    private var heldOutput: [Output]?
    /// Bytes written since it was last looked whether too many wait.
    private var uncheckedBytes = 0
    private var onClose: (@ServerActor () -> Void)?

    public init(server: Server, transport: any StreamTransport) {
        self.server = server
        self.transport = transport
        pace = ReadingPace(server: server, transport: transport)
        reader = StreamReader(pool: server.parsers, limits: server.limits.unauthenticated)
        startedAt = server.clock.now
        lastReceived = startedAt
        lastSent = startedAt
    }

    /// Calls `body` once, when the stream has come to its end.
    public func onClose(_ body: @escaping @ServerActor () -> Void) {
        onClose = body
    }

    /// What a module keeps with this stream.
    public subscript<Key: StreamKey>(key: Key.Type) -> Key.Value {
        get { slots.value(key, default: Key.defaultValue) }
        set { slots.set(key, newValue) }
    }

    /// The bound resource.
    public var resource: Resource? {
        if case .bound(let resource) = phase { resource } else { nil }
    }

    /// Whether the stream has come to its end, or is about to.
    public var isClosing: Bool {
        switch phase {
        case .closing, .closed: true
        case .awaitingHeader, .negotiating, .bound: false
        }
    }

    // MARK: Bytes

    /// Takes bytes from the peer.
    public func receive(_ bytes: UnsafeRawBufferPointer) {
        lastReceived = server.clock.now
        if case .closed = phase { return }
        trace("in", bytes)
        pace.count(bytes.count, limit: authenticated == nil ? server.limits.rateBeforeLogin : server.limits.rate)
        do throws(StreamError) {
            try reader.read(bytes) { event throws(StreamError) in try handle(event) }
        } catch {
            close(error)
        }
        pace.keepPaceWithStorage()
    }

    /// The connection has been secured; a new header is due. RFC 6120 §5.4.3.3.
    public func secured() {
        log.debug("Secured", metadata: ["tls": "\(transport.tls?.version ?? "")"])
    }

    /// The connection is gone.
    public func connectionLost(_ reason: String) {
        guard finish(.lost) else { return }
        log.debug("Connection lost", metadata: ["reason": "\(reason)"])
    }

    /// The server of the process may have begun to show streams of one address or account.
    private func trace(_ direction: String, _ bytes: UnsafeRawBufferPointer) {
        guard server.traces(self) else { return }
        let xml = String(decoding: bytes, as: UTF8.self)
        log.notice("Trace", metadata: ["direction": "\(direction)", "xml": "\(xml)"])
    }

    private func handle(_ event: StreamEvent) throws(StreamError) -> Bool {
        switch event {
        case .opened(let header): try open(header)
        case .element(let element):
            if let exclusiveNamespace, ![exclusiveNamespace, .streams].contains(element.namespace) {
                throw StreamError(.policyViolation, "Nothing else may be sent while authenticating.")
            }
            if pace.isSuspended { held.append(element) } else { try handle(element) }
        case .closed:
            // What came before the end tag is handled first. RFC 6120 §10.1.
            if pace.isSuspended { endIsHeld = true } else { endByPeer() }
        }
        switch phase {
        case .closed, .awaitingHeader: return false
        case .negotiating, .bound, .closing: return true
        }
    }

    // MARK: The header

    private func open(_ header: StreamHeader) throws(StreamError) {
        guard case .awaitingHeader = phase else { throw StreamError(.badFormat) }
        language = header.language.flatMap(Self.languageTag) ?? language
        claimedAddress = header.from.flatMap { JID($0) }
        let host = try chooseHost(header)
        self.host = host
        // RFC 6120 §4.7.2: to the bare JID that the client gave as its own.
        sendHeader(to: header.from.flatMap { JID($0)?.bare.description })
        guard header.contentNamespace == .client else {
            throw StreamError(.invalidNamespace, "Clients speak jabber:client here.")
        }
        // RFC 6120 §4.7.5: a lower major version, or none, has no stream features.
        guard let version = header.version, version.major >= 1 else { throw StreamError(.unsupportedVersion) }
        if let authenticated, let from = claimedAddress,
            from.localpart != username ?? authenticated || from.domainpart != host.domain
        {
            throw StreamError(.invalidFrom, "This stream belongs to another account.")
        }
        phase = .negotiating
        sendFeatures()
    }

    /// Tells the client what can be negotiated now. RFC 6120 §4.3.2.
    public func sendFeatures() {
        guard let host else { return }
        send(host.negotiation.features(for: self))
    }

    /// A language tag as RFC 5646 §2.1 writes it. Anything else would be copied into every stanza of the client.
    private static func languageTag(_ text: String) -> String? {
        let isTag =
            (1...35).contains(text.utf8.count)
            && text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-") }
        return isTag ? text : nil
    }

    private func chooseHost(_ header: StreamHeader) throws(StreamError) -> Host {
        let wanted = header.to.flatMap { $0.isEmpty ? nil : $0 }
        if let host {
            // RFC 6120 §4.9.3.5: taken out of the configuration in the meantime.
            guard server.host(host.domain) === host else { throw StreamError(.hostGone) }
            // RFC 6120 §4.7.2: the address does not change within a connection.
            guard wanted.map({ JID($0)?.domainpart == host.domain }) ?? true else {
                throw StreamError(.hostUnknown, "The stream was opened for \(host.domain).")
            }
            return host
        }
        guard let wanted else {
            guard let only = server.onlyHost else {
                throw StreamError(.improperAddressing, "The stream header needs a \"to\".")
            }
            return only
        }
        guard let jid = JID(wanted), jid.isDomain else { throw StreamError(.improperAddressing) }
        guard let host = server.host(jid.domainpart) else { throw StreamError(.hostUnknown) }
        return host
    }

    private func sendHeader(to peer: String?) {
        id = RandomToken.make()
        headerWasSent = true
        // RFC 6120 §4.9.1.3: before the client has named a host, one that is served here, or nothing.
        let from = host?.domain ?? server.onlyHost?.domain ?? ""
        server.write(to: self) { writer in
            writer.write(StreamHeader(to: peer, from: from, id: id, language: language, contentNamespace: .client))
        }
    }

    // MARK: Elements

    private func handle(_ element: Element) throws(StreamError) {
        if case .bound(let resource) = phase, element.namespace == .client {
            return try receive(element, resource)
        }
        guard !isClosing, let host else { return }
        if element.is("error", .streams) {
            // RFC 6120 §4.9.1.1: there is nothing to say but goodbye.
            let reason = StreamError(element).condition.rawValue
            log.debug("Stream error from the client", metadata: ["reason": "\(reason)"])
            return close()
        }
        if let handler = host.negotiation.handler(for: element) { return try handler(self, element) }
        guard element.namespace == .client, ["message", "presence", "iq"].contains(element.name) else {
            // RFC 6120 §4.9.3.10, §4.9.3.24.
            let isStanza = ["message", "presence", "iq"].contains(element.name)
            throw StreamError(isStanza ? .invalidNamespace : .unsupportedStanzaType)
        }
        // RFC 6120 §4.9.3.12: nothing is routed before a resource is bound, but requests that are part of it.
        guard element.name == "iq", let iq = try? IQ(element), let query = iq.query,
            let handler = host.negotiation.iqHandler(for: query)
        else { throw StreamError(.notAuthorized) }
        handler(self, iq, query)
    }

    private func receive(_ element: Element, _ resource: Resource) throws(StreamError) {
        let stanza: Stanza?
        do throws(StanzaError) { stanza = try Stanza.parse(element) } catch {
            resource.countReceived()
            return try refuse(element, error)
        }
        guard let stanza else { throw StreamError(.unsupportedStanzaType) }
        resource.countReceived()
        // RFC 6120 §8.1.2.1: the own full or bare JID, or nothing.
        if let from = stanza.from, from != resource.jid, from != resource.jid.bare {
            throw StreamError(.invalidFrom, "A stanza carried another sender's address.")
        }
        resource.receive(stanza)
    }

    /// Answers a stanza that could not be understood; only its raw attributes are known.
    private func refuse(_ element: Element, _ error: StanzaError) throws(StreamError) {
        if element["from"] != nil, element.jid("from") == nil { throw StreamError(.invalidFrom) }
        if let refusal = Stanza(refusing: element, error, to: resource?.jid) { resource?.send(refusal) }
    }

    // MARK: Negotiation, for modules

    /// Sends an element that is no stanza, unless the stream has ended.
    ///
    /// - Parameter isUrgent: whether the client waits for it; see ``StreamTransport/write(_:isUrgent:)``.
    public func send(_ element: Element, isUrgent: Bool = true) {
        guard !isClosing else { return }
        if heldOutput == nil {
            server.write(to: self, isUrgent: isUrgent) { $0.write(element, in: .client) }
        } else {
            hold(.element(element))
        }
    }

    /// Stops handling what arrives, because an answer needs time, until as many calls of ``resume()`` have followed.
    public func suspend() { pace.suspend() }

    /// Handles what was held back, and goes on.
    public func resume() {
        guard pace.resume() else { return }
        while !pace.isSuspended, !held.isEmpty, !isClosing {
            let element = held.removeFirst()
            do throws(StreamError) { try handle(element) } catch { close(error) }
        }
        if endIsHeld, !pace.isSuspended { endByPeer() }
        pace.update()
    }

    /// Secures the connection. What arrived after the request, in plain text, is thrown away.
    public func startTLS(_ tls: TLSServer) throws {
        guard !isClosing else { return }
        restart()
        // RFC 6120 §5.4.3.3: what was known before TLS is forgotten, but the host the handshake is for.
        language = nil
        try transport.startTLS(tls)
    }

    /// Records who authenticated; a new header is due (RFC 6120 §6.4.6), unless the stream goes on as it is
    /// (XEP-0388 §2.6.1).
    ///
    /// - Parameter username: the localpart by which it logged in, where it is given another: until it binds a resource
    ///   it knows no other (RFC 6120 §4.3.6).
    public func authenticate(
        _ localpart: String, username: String? = nil, mechanism: String? = nil, restarts: Bool = true
    ) {
        authenticated = localpart
        self.username = username == localpart ? nil : username
        self.mechanism = mechanism
        // The client may have gone while its password was looked at.
        guard !isClosing else { return discardUnbound() }
        // What the client sent before it could know was meant for the stream that ends here.
        if restarts { restart() }
        pace.forgetCounted()
        reader.limits = server.limits.authenticated
    }

    /// What was received of the old stream ends here; a new header is due from both. RFC 6120 §4.3.3.
    private func restart() {
        reader.restart()
        held.removeAll()
        endIsHeld = false
        headerWasSent = false
        phase = .awaitingHeader
    }

    /// The account of whoever authenticated, loaded; on an anonymous host one that is made now and goes away with its
    /// last resource (XEP-0175 §3). Nil when it cannot be read, was removed meanwhile, or the stream has ended.
    public func account() async -> Account? {
        guard let authenticated, let host else { return nil }
        let accounts = host.accounts
        if accounts.loadedAccount(authenticated) == nil {
            if host.isAnonymous {
                do { _ = try await accounts.makeTemporary(authenticated) } catch {
                    log.error("An account cannot be loaded", metadata: ["reason": "\(error)"])
                }
            } else {
                _ = await accounts.account(authenticated)
            }
        }
        if isClosing { discardUnbound() }
        return isClosing ? nil : accounts.loadedAccount(authenticated)
    }

    /// Binds a resource to the stream: from now on it carries stanzas. RFC 6120 §7.
    public func bind(_ resource: Resource) {
        // The client may have gone while its account was loaded.
        guard !isClosing else { return resource.account.remove(resource) }
        resource.language = language
        resource[ClientLogin.Key.self] = self[ClientLogin.Key.self]
        slots.remove(ClientLogin.Key.self)
        phase = .bound(resource)
    }

    /// Gives up the resource, which another stream carries on, and ends. XEP-0198 §5.
    public func yieldResource() {
        guard case .bound = phase else { return }
        phase = .negotiating
        close(StreamError(.conflict, "The session goes on with another connection."))
    }

    /// How much may wait for the answer to a bind, which takes a moment.
    private static let heldLimit = 10_000

    private enum Output {
        case element(Element)
        case stanza(Stanza)
    }

    /// Keeps everything for the client until ``releaseOutput(after:)``: it has to learn first that it has a resource.
    public func holdOutput() {
        heldOutput = heldOutput ?? []
    }

    private func hold(_ output: Output) {
        guard heldOutput?.count ?? 0 < Self.heldLimit else { return close(StreamError(.resourceConstraint)) }
        heldOutput?.append(output)
    }

    /// Sends what was held, after what `body` sends.
    public func releaseOutput(after body: () -> Void) {
        let held = heldOutput ?? []
        heldOutput = nil
        body()
        for output in held {
            switch output {
            case .element(let element): send(element)
            case .stanza(let stanza): deliver(stanza)
            }
        }
    }

    // MARK: The end

    private enum End {
        /// One of the two closed it.
        case closed
        /// It broke, or stops with the server: the session may go on.
        case lost
    }

    /// Ends the stream, with an error or without. RFC 6120 §4.4, §4.9.1.
    public func close(_ error: StreamError? = nil) {
        close(error, detail: nil)
    }

    /// Ends the stream with an error that has a condition of its own protocol. RFC 6120 §4.9.4.
    public func close(_ error: StreamError, with condition: Element) {
        close(error, detail: condition)
    }

    private func close(_ error: StreamError?, detail: Element?) {
        guard !isClosing else { return }
        heldOutput = nil
        if !headerWasSent { sendHeader(to: nil) }
        if let error {
            log.debug("Stream error", metadata: ["reason": "\(error.condition.rawValue): \(error.text ?? "")"])
            var element = error.element
            if let detail { element.append(detail) }
            send(element)
        }
        server.write(to: self) { $0.raw("</stream:stream>") }
        let isOurs = error?.condition == .systemShutdown || error?.condition == .connectionTimeout
        leave(isOurs ? .lost : .closed)
        // The peer may have been cut off for not reading.
        if case .closed = phase { return }
        phase = .closing
        pace.isUnlimited = true
        if error != nil { return endTransport() }
        server.clock.after(.seconds(5)) { self.endTransport() }
    }

    private func endByPeer() {
        if !isClosing {
            server.write(to: self) { $0.raw("</stream:stream>") }
        }
        endTransport()
    }

    private func endTransport() {
        if finish(.closed) { transport.close() }
    }

    /// Whether this call was the one that ended the stream.
    private func finish(_ end: End) -> Bool {
        if case .closed = phase { return false }
        leave(end)
        phase = .closed
        onClose?()
        onClose = nil
        return true
    }

    private func leave(_ end: End) {
        held.removeAll()
        if case .bound(let resource) = phase {
            phase = .closing
            let hooks = resource.account.host.hooks
            if end == .lost, hooks.resourceDetaching.isClaimed(ResourceEvent(resource: resource)) { return }
            resource.account.remove(resource)
        } else {
            discardUnbound()
        }
    }

    /// A temporary account that got no resource has nothing that would take it away.
    private func discardUnbound() {
        guard let authenticated, let account = host?.accounts.loadedAccount(authenticated), account.isTemporary,
            account.resources.isEmpty
        else { return }
        account.host.discardTemporary(account)
    }

    /// Sends a single space, which keeps routers on the way from forgetting the connection. RFC 6120 §4.6.1.
    public func sendKeepalive() {
        guard !isClosing else { return }
        server.write(to: self) { $0.raw(" ") }
    }

    /// For the server's writer: what goes out.
    func write(_ bytes: [UInt8], isUrgent: Bool) {
        if case .closed = phase { return }
        lastSent = server.clock.now
        bytes.withUnsafeBytes { trace("out", $0) }
        transport.write(bytes, isUrgent: isUrgent)
        // A client that never reads must not fill the server's memory. To ask for each stanza would be dear.
        uncheckedBytes += bytes.count
        guard uncheckedBytes > server.limits.outputBacklog / 16 else { return }
        uncheckedBytes = 0
        if transport.backlog > server.limits.outputBacklog, finish(.lost) {
            log.info("Output limit exceeded", metadata: ["backlog": "\(transport.backlog)"])
            transport.close()
        }
    }
}

extension ClientStream: ResourceLink {
    public var backlog: Int { transport.backlog }

    /// Whether nobody waits for this stanza: somebody else's presence.
    private func mayWait(_ stanza: Stanza) -> Bool {
        guard case .presence(let presence) = stanza else { return false }
        switch presence.kind {
        case .available, .unavailable: break
        case .error, .probe, .subscribe, .subscribed, .unsubscribe, .unsubscribed: return false
        }
        return presence.from?.localpart != authenticated || presence.from?.domainpart != host?.domain
    }

    public var details: [String: String] {
        var details = ["address": transport.peerAddress]
        details["tls"] = transport.tls?.version
        details["mechanism"] = mechanism
        return details
    }

    public var lastHeard: Duration? { lastReceived }

    public func deliver(_ stanza: Stanza) {
        // RFC 6120 §4.4: nothing follows the end tag.
        guard !isClosing else { return }
        if heldOutput == nil {
            server.write(to: self, isUrgent: !mayWait(stanza)) { $0.write(stanza) }
        } else {
            hold(.stanza(stanza))
        }
    }
}
