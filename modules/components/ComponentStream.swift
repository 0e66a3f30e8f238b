import ServerKit

/// A stream with an external component, from its first byte to its last. XEP-0114 §3.
@ServerActor
final class ComponentStream: StreamEndpoint {
    private enum Phase {
        case awaitingHeader, awaitingHandshake, open
        /// This side has sent its end tag and waits for the peer's.
        case closing
        case closed
    }

    let transport: any StreamTransport
    let startedAt: Duration
    private(set) var lastReceived: Duration
    private(set) var lastSent: Duration

    private let port: ComponentPort
    private let server: Server
    private let baseLog: Logger
    private let fence: DurabilityFence
    private let reader: StreamReader
    private var phase = Phase.awaitingHeader
    /// The stream's id, unpredictable: it is what makes the proof one for this stream only.
    private var id = ""
    private var domain: (any ExternalDomain)?
    private var headerWasSent = false
    private let pace: ReadingPace
    private var onEnd: [@ServerActor () -> Void] = []

    init(_ port: ComponentPort, server: Server, log: Logger, transport: any StreamTransport) {
        self.port = port
        self.server = server
        self.transport = transport
        baseLog = log
        fence = DurabilityFence(storage: server.storage)
        pace = ReadingPace(server: server, transport: transport)
        reader = StreamReader(pool: server.parsers, limits: port.options.limits.unauthenticated)
        startedAt = server.clock.now
        lastReceived = startedAt
        lastSent = startedAt
    }

    /// Calls `body` once, when the stream has come to its end.
    func onEnd(_ body: @escaping @ServerActor () -> Void) { onEnd.append(body) }

    /// Whether the component has proved itself, and stanzas go both ways.
    var isOpen: Bool { phase == .open }

    private var isClosing: Bool { phase == .closing || phase == .closed }

    private var log: Logger {
        var log = baseLog
        log[metadataKey: "peer"] = "\(transport.peerAddress)"
        if let domain { log[metadataKey: "jid"] = "\(domain.jid)" }
        if !id.isEmpty { log[metadataKey: "stream"] = "\(id.prefix(8))" }
        return log
    }

    // MARK: Bytes

    func receive(_ bytes: UnsafeRawBufferPointer) {
        guard phase != .closed else { return }
        lastReceived = server.clock.now
        let limits = port.options.limits
        pace.count(bytes.count, limit: isOpen ? limits.rate : limits.rateBeforeLogin)
        trace("in", bytes)
        do throws(StreamError) {
            try reader.read(bytes) { event throws(StreamError) in try handle(event) }
        } catch {
            close(error)
        }
        pace.keepPaceWithStorage()
    }

    func secured() {}

    func connectionLost(_ reason: String) {
        let log = self.log
        if finish() { log.info("Component gone", metadata: ["reason": "\(reason)"]) }
    }

    private func trace(_ direction: String, _ bytes: UnsafeRawBufferPointer) {
        guard let domain, server.isTraced(domain.jid) else { return }
        let xml = String(decoding: bytes, as: UTF8.self)
        log.notice("Trace", metadata: ["direction": "\(direction)", "xml": "\(xml)"])
    }

    private func handle(_ event: StreamEvent) throws(StreamError) -> Bool {
        switch event {
        case .opened(let header): try open(header)
        case .element(let element): try handle(element)
        case .closed: endByPeer()
        }
        return phase != .closed
    }

    // MARK: Header and handshake

    private func open(_ header: StreamHeader) throws(StreamError) {
        id = RandomToken.make()
        // The answer is from the component's own name. XEP-0114 §3.
        let name = header.to.flatMap { JID(domain: $0)?.domainpart }
        sendHeader(from: name)
        guard header.contentNamespace == .component else {
            throw StreamError(.invalidNamespace, "Components speak jabber:component:accept here.")
        }
        guard let name else { throw StreamError(.improperAddressing, "The stream header needs a \"to\".") }
        guard let domain = server.component(name)?.service((any ExternalDomain).self) else {
            throw StreamError(.hostUnknown, "\(name) is no external component here.")
        }
        self.domain = domain
        phase = .awaitingHandshake
    }

    private func sendHeader(from name: String?) {
        headerWasSent = true
        // No version: stream features would be expected to follow.
        let header = StreamHeader(from: name, id: id, version: nil, contentNamespace: .component)
        server.encode({ $0.write(header) }, to: write)
    }

    private func handle(_ element: Element) throws(StreamError) {
        switch phase {
        case .awaitingHeader, .closing, .closed: return
        case .awaitingHandshake:
            guard element.is("handshake", .client) else {
                throw StreamError(.notAuthorized, "The handshake comes first.")
            }
            try shakeHands(element.text.trimmedXMLSpace)
        case .open:
            if element.is("error", .streams) { return endByError(StreamError(element)) }
            try receive(stanza: element)
        }
    }

    private func shakeHands(_ proof: String) throws(StreamError) {
        guard let domain else { return }
        let name = domain.jid.domainpart
        guard port.mayTry(name, from: transport.peerAddress) else {
            throw StreamError(.policyViolation, "Too many attempts.")
        }
        guard domain.accepts(proof: proof, ofStream: id) else {
            log.info("Component refused", metadata: ["reason": "The secret is wrong."])
            throw StreamError(.notAuthorized, "The handshake is not the one of this stream and the secret.")
        }
        port.succeeded(name, from: transport.peerAddress)
        try domain.admit()
        phase = .open
        reader.limits = port.options.limits.authenticated
        pace.forgetCounted()
        server.encode({ $0.write(Element("handshake", .client), in: .client) }, to: write)
        log.info("Component connected")
        domain.attach(self)
    }

    // MARK: Stanzas from the component

    private func receive(stanza element: Element) throws(StreamError) {
        guard let domain else { return }
        // XEP-0114 §3: both addresses, and the sender's is at the component's domain.
        guard let from = element.jid("from"), from.domainpart == domain.jid.domainpart else {
            throw StreamError(
                element["from"] == nil ? .improperAddressing : .invalidFrom,
                "A component writes as \(domain.jid) or an address below it.")
        }
        guard element["to"] != nil else { throw StreamError(.improperAddressing, "A stanza needs a receiver.") }
        let parsed: Stanza?
        do throws(StanzaError) { parsed = try Stanza.parse(element) } catch {
            if let refusal = Stanza(refusing: element, error, to: from) { server.router.route(refusal) }
            return
        }
        guard let stanza = parsed else { throw StreamError(.unsupportedStanzaType) }
        server.router.track(fence) { domain.take(stanza, from: self) }
    }

    // MARK: To the component

    func sendKeepalive() {
        server.encode({ $0.raw(" ") }, to: write)
    }

    private func write(_ bytes: [UInt8]) {
        guard phase != .closed else { return }
        lastSent = server.clock.now
        bytes.withUnsafeBytes { trace("out", $0) }
        transport.write(bytes, isUrgent: true)
        guard transport.backlog > port.options.limits.outputBacklog else { return }
        let log = self.log
        guard finish() else { return }
        log.info("Component gone", metadata: ["reason": "It does not read."])
        transport.close()
    }

    // MARK: The end

    private func endByError(_ error: StreamError) {
        log.info(
            "The component ended the stream", metadata: ["reason": "\(error.condition.rawValue): \(error.text ?? "")"])
        close(nil)
        endTransport()
    }

    private func endByPeer() {
        if !isClosing { server.encode({ $0.raw("</stream:stream>") }, to: write) }
        let log = self.log
        if isOpen { log.info("Component gone", metadata: ["reason": "It has closed the stream."]) }
        endTransport()
    }

    private func endTransport() {
        if finish() { transport.close() }
    }

    /// Whether this call was the one that ended the stream.
    private func finish() -> Bool {
        guard phase != .closed else { return false }
        phase = .closed
        domain?.detach(self)
        for body in onEnd { body() }
        onEnd = []
        return true
    }
}

extension ComponentStream: ComponentLink {
    var backlog: Int { transport.backlog }

    func send(_ stanza: Stanza) {
        guard isOpen else { return }
        server.encode({ $0.write(stanza) }, to: write)
    }

    /// RFC 6120 §4.4, §4.9.1.
    func close(_ error: StreamError?) {
        guard !isClosing else { return }
        if !headerWasSent {
            id = RandomToken.make()
            sendHeader(from: "")
        }
        if let error {
            log.info("Stream error", metadata: ["reason": "\(error.condition.rawValue): \(error.text ?? "")"])
            server.encode({ $0.write(error.element, in: .client) }, to: write)
        }
        server.encode({ $0.raw("</stream:stream>") }, to: write)
        guard phase != .closed else { return }
        phase = .closing
        pace.isUnlimited = true
        domain?.detach(self)
        if error != nil { return endTransport() }
        server.clock.after(.seconds(5)) { self.endTransport() }
    }
}
