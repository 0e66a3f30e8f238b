import ServerKit

/// Knows the order of things on a stream: what is sent first, and what follows from what arrives.
@ServerActor
protocol StreamNegotiator: AnyObject {
    /// The peer has opened the stream. RFC 6120 §4.7.
    func opened(_ header: StreamHeader) throws(StreamError)
    /// The connection has been secured; the old stream is forgotten. RFC 6120 §5.4.3.3.
    func secured()
    /// An element that is neither a stanza nor part of what all streams between servers have in common.
    func handle(_ element: Element) throws(StreamError)
    /// The stream has come to its end, once.
    func ended(_ reason: String)
}

/// A stream with another server, whoever opened it. RFC 6120 §4.
///
/// It reads and writes, checks whom each stanza is from, and has what belongs to either direction: dialback
/// (``Dialback``) and acknowledgements (``StreamAcknowledgements``). What comes in which order its negotiator knows.
@ServerActor
final class ServerStream: StreamEndpoint {
    enum Phase {
        /// No header yet, or a new one is due after TLS or SASL. RFC 6120 §4.3.3.
        case awaitingHeader
        case open
        /// This side has sent its end tag and waits for the peer's.
        case closing
        case closed
    }

    let federation: Federation
    let transport: any StreamTransport
    /// Whether it was opened by this server.
    let isInitiator: Bool
    private(set) var phase = Phase.awaitingHeader
    /// The stream's id, which the one chose that did not open it. RFC 6120 §4.7.3.
    var id = ""
    /// The domains of its headers.
    var pair: DomainPair?
    /// The domains whose stanzas are taken: those that the peer has proved to be.
    private(set) var trusted: Set<String> = []
    /// The pairs of domains for which the peer has proved itself. XEP-0288 §2.2: stanzas go back for no others.
    private(set) var proven: Set<DomainPair> = []
    /// How many domains the peer claimed and could not prove.
    private(set) var falseClaims = 0
    /// What waits for the peer's answer in dialback.
    var dialback = DialbackRequests()
    /// Whether stanzas go both ways. XEP-0288.
    var isBidirectional = false
    /// How the two authenticated, for logs and lists.
    var authentication = ""
    /// The language of what comes without one. RFC 6120 §4.7.4.
    var language: String?
    let startedAt: Duration
    private(set) var lastStanza: Duration
    /// Whether the peer has sent any.
    private(set) var hasHeardStanzas = false
    private(set) lazy var acknowledgements = StreamAcknowledgements(self)
    /// The routes whose stanzas it carries.
    private(set) var routes: [DomainPair: Route] = [:]

    private let fence: DurabilityFence
    private let reader: StreamReader
    private var negotiator: (any StreamNegotiator)?
    private var headerWasSent = false
    private var held: [Element] = []
    private var endIsHeld = false
    private let pace: ReadingPace
    private var onEnd: [@ServerActor (String) -> Void] = []
    /// Why it ends, as far as is known.
    private var reason: String?
    /// Whether one of the two ended it in order: then both know what they told each other.
    private(set) var endedWell = false
    private var isLost = false
    /// Whether this side ended it for what the peer did.
    private(set) var isCutOff = false

    init(_ federation: Federation, transport: any StreamTransport, isInitiator: Bool) {
        self.federation = federation
        self.transport = transport
        self.isInitiator = isInitiator
        let server = federation.server
        fence = DurabilityFence(storage: server.storage)
        pace = ReadingPace(server: server, transport: transport)
        reader = StreamReader(pool: server.parsers, limits: federation.limits.unauthenticated)
        startedAt = server.clock.now
        lastStanza = startedAt
    }

    /// Sets who knows what comes next. It is kept until the end.
    func begin(_ negotiator: any StreamNegotiator) { self.negotiator = negotiator }

    /// Calls `body` once, when the stream has come to its end.
    func onEnd(_ body: @escaping @ServerActor (String) -> Void) {
        if phase == .closed { return body(reason ?? "closed") }
        onEnd.append(body)
    }

    private var server: Server { federation.server }

    var log: Logger {
        var log = federation.log
        log[metadataKey: "peer"] = "\(transport.peerAddress)"
        if let pair {
            log[metadataKey: "host"] = "\(pair.local)"
            log[metadataKey: "remote"] = "\(pair.remote)"
        }
        if !id.isEmpty { log[metadataKey: "stream"] = "\(id.prefix(8))" }
        return log
    }

    var isClosing: Bool { phase == .closing || phase == .closed }

    /// What the peer presented, a line for each certificate, its own first.
    var certificates: [String] { transport.tls?.peerChain.lines ?? [] }

    // MARK: Bytes

    func receive(_ bytes: UnsafeRawBufferPointer) {
        guard phase != .closed else { return }
        let isStranger = trusted.isEmpty && !isInitiator
        pace.count(bytes.count, limit: isStranger ? federation.limits.rateBeforeLogin : federation.limits.rate)
        federation.trace(self, "in", bytes)
        do throws(StreamError) {
            try reader.read(bytes) { event throws(StreamError) in try handle(event) }
        } catch {
            close(error)
        }
        pace.keepPaceWithStorage()
    }

    func secured() {
        log.debug("Secured", metadata: ["tls": "\(transport.tls?.version ?? "")"])
        negotiator?.secured()
    }

    func connectionLost(_ reason: String) {
        if finish(reason) { log.debug("Connection lost", metadata: ["reason": "\(reason)"]) }
    }

    private func handle(_ event: StreamEvent) throws(StreamError) -> Bool {
        switch event {
        case .opened(let header):
            guard phase == .awaitingHeader else { throw StreamError(.badFormat) }
            phase = .open
            language = header.language ?? language
            try negotiator?.opened(header)
        case .element(let element):
            if pace.isSuspended { held.append(element) } else { try handle(element) }
        case .closed:
            if pace.isSuspended { endIsHeld = true } else { endByPeer() }
        }
        return phase == .open || phase == .closing
    }

    private func handle(_ element: Element) throws(StreamError) {
        if element.namespace == .client { return try receive(stanza: element) }
        if element.is("error", .streams) { return endByError(StreamError(element)) }
        guard phase == .open else { return }
        switch element.namespace {
        case .sm: try acknowledgements.handle(element)
        case .dialback: try federation.dialback.handle(element, on: self)
        default: try negotiator?.handle(element)
        }
    }

    // MARK: Stanzas from the peer

    /// Notes that the peer has proved to be the remote domain of a pair.
    func prove(_ pair: DomainPair) {
        trust(pair.remote)
        proven.insert(pair)
    }

    /// Counts a claim that was not proved. To look at each takes as long as a handshake.
    func countFalseClaim() {
        falseClaims += 1
        if falseClaims >= 10 { close(StreamError(.policyViolation, "Too many domains were claimed and not proved.")) }
    }

    /// Takes stanzas of a domain that has been authenticated.
    func trust(_ domain: String) {
        if trusted.isEmpty {
            reader.limits = federation.limits.authenticated
            pace.forgetCounted(federation.loads.join(self, domain))
        }
        trusted.insert(domain)
    }

    private func receive(stanza element: Element) throws(StreamError) {
        guard !trusted.isEmpty else { throw StreamError(.notAuthorized, "Stanzas come after authentication.") }
        lastStanza = server.clock.now
        hasHeardStanzas = true
        acknowledgements.countReceived()
        let parsed: Stanza?
        do throws(StanzaError) { parsed = try Stanza.parse(element) } catch {
            let sender = try sender(element.jid("from"), of: element)
            if let refusal = Stanza(refusing: element, error, to: sender) { server.router.route(refusal) }
            return
        }
        let sender = try sender(parsed.map { $0.header.from } ?? element.jid("from"), of: element)
        guard var stanza = parsed else { throw StreamError(.unsupportedStanzaType) }
        guard let to = stanza.to else { throw StreamError(.improperAddressing) }
        // RFC 6120 §8.1.1.2, §4.9.3.6
        guard federation.serves(to.domainpart, for: sender.domainpart) else {
            // On a stream of several domains, one that no guest has to do with.
            if federation.serves(to.domainpart) { return }
            throw StreamError(.hostUnknown, "\(to.domainpart) is not served here.")
        }
        if stanza.header.language == nil { stanza.header.language = language }
        if federation.pings.take(stanza) { return }
        server.router.track(fence) { server.router.route(stanza) }
    }

    /// RFC 6120 §8.1.1.2, §8.1.2.2: both addresses are there, and the sender's is of the domain that has proved to be
    /// itself.
    private func sender(_ from: JID?, of element: Element) throws(StreamError) -> JID {
        guard let from, element["to"] != nil else { throw StreamError(.improperAddressing) }
        guard trusted.contains(from.domainpart) else {
            throw StreamError(.invalidFrom, "\(from.domainpart) has not been authenticated on this stream.")
        }
        return from
    }

    /// Calls `body` when everything that the peer sent so far is on disk, or lost.
    func whenDurable(_ body: @escaping @ServerActor (StorageError?) -> Void) { fence.whenDurable(body) }

    // MARK: To the peer

    /// Sends an element that is no stanza.
    func send(_ element: Element) {
        guard !isClosing else { return }
        server.encode({ $0.write(element, in: .client) }, to: write)
    }

    /// Sends a stanza; the caller has seen to it that the stream is authenticated for its domains.
    func send(_ stanza: Stanza) {
        guard !isClosing else { return }
        lastStanza = server.clock.now
        server.encode({ $0.write(stanza) }, to: write)
    }

    /// Sends an element of dialback. Some servers know the prefix only. XEP-0220 §2.
    func sendDialback(
        _ name: DialbackElement, _ attributes: [(StaticString, String)], key: String? = nil, error: StanzaError? = nil
    ) {
        guard !isClosing else { return }
        server.encode(
            { writer in
                writer.raw(name == .result ? "<db:result" : "<db:verify")
                for (name, value) in attributes { writer.attribute(name, value) }
                writer.raw(">")
                if let key { writer.text(key) }
                if let error { writer.write(error.element, in: .client) }
                writer.raw(name == .result ? "</db:result>" : "</db:verify>")
            }, to: write)
    }

    /// Opens this side of the stream. RFC 6120 §4.7.
    func sendHeader(from local: String?, to remote: String?, id: String? = nil) {
        headerWasSent = true
        server.encode(
            { writer in
                writer.write(StreamHeader(to: remote, from: local, id: id, language: nil, contentNamespace: .server))
            }, to: write)
    }

    private func write(_ bytes: [UInt8]) {
        guard phase != .closed else { return }
        bytes.withUnsafeBytes { federation.trace(self, "out", $0) }
        transport.write(bytes, isUrgent: true)
        // What waits is bounded by the routes; this is for a peer that provokes answers and never reads.
        if transport.backlog > federation.limits.outputBacklog, finish("The peer does not read.") { transport.close() }
    }

    // MARK: Routes

    func attach(_ route: Route) { routes[route.pair] = route }

    // MARK: Negotiation

    /// Stops handling what arrives, because an answer needs time, until as many calls of ``resume()`` have followed.
    func suspend() { pace.suspend() }

    func resume() {
        guard pace.resume() else { return }
        while !pace.isSuspended, !held.isEmpty, phase != .closed {
            let element = held.removeFirst()
            do throws(StreamError) { try handle(element) } catch { close(error) }
        }
        if endIsHeld, !pace.isSuspended { endByPeer() }
        pace.update()
    }

    /// What was received of the old stream ends here; a new header is due from both. RFC 6120 §4.3.3.
    func restart() {
        reader.restart()
        held.removeAll()
        endIsHeld = false
        headerWasSent = false
        phase = .awaitingHeader
    }

    // MARK: The end

    /// Ends the stream, with an error or without. RFC 6120 §4.4, §4.9.1.
    ///
    /// - Parameter condition: what the error is in the words of another protocol. RFC 6120 §4.9.4.
    func close(_ error: StreamError? = nil, with condition: Element? = nil, reason: String? = nil) {
        guard !isClosing else { return }
        let text = reason ?? error.map { "\($0.condition.rawValue)" + ($0.text.map { ": \($0)" } ?? "") }
        self.reason = self.reason ?? text
        if !headerWasSent {
            let id = isInitiator ? nil : RandomToken.make()
            sendHeader(from: pair?.local ?? "", to: pair?.remote, id: id)
        }
        endedWell = error == nil && !isLost
        isCutOff = error.map { $0.condition != .connectionTimeout } ?? false
        if let error {
            log.info("Stream error", metadata: ["reason": "\(text ?? "")"])
            var element = error.element
            if let condition { element.append(condition) }
            send(element)
        }
        server.encode({ $0.raw("</stream:stream>") }, to: write)
        guard phase != .closed else { return }
        phase = .closing
        pace.isUnlimited = true
        if error != nil { return endTransport() }
        server.clock.after(.seconds(5)) { self.endTransport() }
    }

    private func endByError(_ error: StreamError) {
        // Idle streams are ended like this, too.
        isLost = error.condition != .connectionTimeout
        reason = "The peer ended the stream: \(error.condition.rawValue)" + (error.text.map { " (\($0))" } ?? "")
        log.info("The peer ended the stream", metadata: ["reason": "\(error.condition.rawValue): \(error.text ?? "")"])
        close()
        endTransport()
    }

    private func endByPeer() {
        guard !isClosing else { return endTransport() }
        endedWell = !isLost
        guard acknowledgements.owesLastWord else { return endAfterPeer() }
        whenDurable { [weak self] lost in
            guard let self, lost == nil else { return }
            self.acknowledgements.sayLastWord()
            self.endAfterPeer()
        }
        server.clock.after(.seconds(2)) { [weak self] in self?.endAfterPeer() }
    }

    private func endAfterPeer() {
        guard phase != .closed else { return }
        if !isClosing { server.encode({ $0.raw("</stream:stream>") }, to: write) }
        endTransport()
    }

    private func endTransport() {
        if finish(reason ?? "closed") { transport.close() }
    }

    /// Whether this call was the one that ended the stream.
    private func finish(_ reason: String) -> Bool {
        if phase == .closed { return false }
        phase = .closed
        held.removeAll()
        let reason = self.reason ?? reason
        dialback.failAll(reason)
        acknowledgements.stop()
        let routes = self.routes.values
        self.routes = [:]
        for route in routes { route.lost(self, reason) }
        negotiator?.ended(reason)
        negotiator = nil
        for body in onEnd { body(reason) }
        onEnd = []
        return true
    }
}

// MARK: - For tests

extension ServerStream {
    /// Loses the connection without a word.
    func breaks() {
        connectionLost("broken")
        transport.close()
    }
}
