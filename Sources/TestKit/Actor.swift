import NIOCore
import ServerKit

/// A client in a play. What it says and expects is XML, to be held against the specification.
@ServerActor
public final class Actor {
    public let domain: String
    /// The server's side of the stream, for a look behind the scenes.
    public var stream: ClientStream? { connection?.serverStream }
    public var resource: Resource? { stream?.resource }
    public var jid: JID? { resource?.jid }
    /// Whether the server has closed the connection.
    public private(set) var isClosed = false

    /// How often it spoke and then heard something, or what its user would have waited for.
    public private(set) var roundTrips = 0

    private unowned let stage: Stage
    private var awaitsAnswer = false
    private var connection: (any StageConnection)?
    private let reader = StreamReader(pool: ParserPool(), limits: XMLLimits(elementBytes: 10_000_000))
    private var inbox: [Element] = []
    private var waiter: CheckedContinuation<Void, Never>?
    private var requestCount = 0

    init(domain: String, stage: Stage) {
        self.domain = domain
        self.stage = stage
    }

    func open(secure: Bool) async throws {
        let server = stage.server
        if let listener = stage.listener {
            connection = try await listener.connect(to: server, actor: self, serverName: domain)
        } else {
            connection = MemoryTransport(server: server, actor: self, isSecure: secure)
        }
    }

    /// Takes the account's place without SASL and bind, whose modules may not be loaded.
    func becomes(_ localpart: String, _ resourcepart: String, _ host: Host) async throws {
        try await opensStream()
        stream?.authenticate(localpart)
        try await opensStream()
        let account = await host.accounts.account(localpart)
        guard let stream, let account else { throw AccountError.unknown }
        stream.bind(account.bind(resourcepart, link: stream))
    }

    /// Logs in, with ANONYMOUS or as somebody with a password, and binds a resource.
    func becomesGuest(_ login: (localpart: String, password: String)?, _ place: StageError.Place) async throws {
        try await opensStream()
        let mechanism = login == nil ? "ANONYMOUS" : "PLAIN"
        let data = login.map { Base64.encode(Array("\0\($0.localpart)\0\($0.password)".utf8)) } ?? ""
        try await sends("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='\(mechanism)'>\(data)</auth>")
        let answer = try await next("an outcome", place)
        guard answer.is("success", .sasl) else { throw StageError("Not let in: \(answer)", place) }
        try await opensStream()
        try await asks(.set, "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>", file: place.file, line: place.line)
    }

    private func opensStream() async throws {
        restart()
        try await sends(
            "<?xml version='1.0'?><stream:stream to='\(domain)' version='1.0' xmlns='jabber:client'"
                + " xmlns:stream='http://etherx.jabber.org/streams'>")
        _ = try await next("stream features", .init(file: #fileID, line: #line))
    }

    // MARK: What it does

    /// Sends XML. Stanzas without a namespace are in the stream's.
    public func sends(_ xml: String) async throws {
        awaitsAnswer = true
        connection?.send(Array(xml.utf8))
        // Its turn is over before the next one's begins.
        await Task.yield()
    }

    /// Begins a new stream on the same connection: what comes next is a header.
    public func restart() {
        reader.restart()
    }

    /// Sends a request and returns the payload of its result.
    ///
    /// - Throws: the ``StanzaError`` it is answered with.
    @discardableResult
    public func asks(
        _ kind: IQ.Kind, _ payload: String, to: String? = nil, file: String = #fileID, line: Int = #line
    ) async throws -> Element? {
        let answer = try await request(kind, payload, to, .init(file: file, line: line))
        if answer["type"] == "error" { throw StanzaError(answer.child("error") ?? Element("error")) }
        return answer.firstChild
    }

    /// Sends a request that must fail, and returns how it does.
    @discardableResult
    public func isRefused(
        _ kind: IQ.Kind, _ payload: String, to: String? = nil, file: String = #fileID, line: Int = #line
    ) async throws -> StanzaError {
        let place = StageError.Place(file: file, line: line)
        let answer = try await request(kind, payload, to, place)
        guard answer["type"] == "error", let error = answer.child("error") else {
            throw StageError("Expected an error, got \(answer)", place)
        }
        return StanzaError(error)
    }

    private func request(
        _ kind: IQ.Kind, _ payload: String, _ to: String?, _ place: StageError.Place
    ) async throws -> Element {
        requestCount += 1
        let id = "request-\(requestCount)"
        let address = to.map { " to='\($0)'" } ?? ""
        try await sends("<iq type='\(kind.rawValue)' id='\(id)'\(address)>\(payload)</iq>")
        // Other stanzas may come first and stay for later.
        for _ in 0..<10_000 {
            if let index = inbox.firstIndex(where: { $0.name == "iq" && $0["id"] == id && $0["type"] != "set" }) {
                return inbox.remove(at: index)
            }
            let count = inbox.count
            await waitForMore(than: count)
            guard inbox.count > count else { break }
        }
        throw StageError("No answer to \(payload); got \(inbox)", place)
    }

    /// Ends its stream and its connection.
    public func leaves() async {
        try? await sends("</stream:stream>")
        await stage.settle()
        drop()
    }

    /// Loses its connection without a word.
    public func vanishes() async {
        connection?.cut()
        await stage.settle()
    }

    /// The server is gone, and learns nothing of that.
    func losesServer() {
        connection?.abandon()
        connection = nil
    }

    func drop() {
        connection?.cut()
        connection = nil
    }

    // MARK: What it sees

    /// The next element must match a pattern: what it names must be there, extras are allowed unless `exactly`.
    @discardableResult
    public func receives(
        _ pattern: String, exactly: Bool = false, file: String = #fileID, line: Int = #line
    ) async throws -> Element {
        let place = StageError.Place(file: file, line: line)
        let expected = try Element.parse(pattern)
        let element = try await next(pattern, place)
        guard element.matches(expected, exactly: exactly) else {
            throw StageError("Expected \(expected)\n  got \(element)", place)
        }
        return element
    }

    /// One of the unread elements must match; the others stay. For stanzas whose order is not fixed.
    @discardableResult
    public func receivesAnywhere(
        _ pattern: String, file: String = #fileID, line: Int = #line
    ) async throws -> Element {
        let expected = try Element.parse(pattern)
        for _ in 0..<10_000 {
            if let index = inbox.firstIndex(where: { $0.matches(expected) }) { return inbox.remove(at: index) }
            let count = inbox.count
            await waitForMore(than: count)
            guard inbox.count > count else { break }
        }
        throw StageError("Expected \(expected)\n  among \(inbox)", .init(file: file, line: line))
    }

    /// Everything unread once things have settled.
    public func everything() async -> [Element] {
        await stage.settle()
        defer { inbox = [] }
        return inbox
    }

    /// Everything unread so far, without waiting for more.
    public func takeInbox() -> [Element] {
        defer { inbox = [] }
        return inbox
    }

    /// Fails if something unread is left once things have settled.
    public func staysSilent(file: String = #fileID, line: Int = #line) async throws {
        await stage.settle()
        try hasNothing(.init(file: file, line: line))
    }

    /// The stream must end with this error, and the connection with it.
    public func isClosed(
        with condition: StreamError.Condition, file: String = #fileID, line: Int = #line
    ) async throws {
        let place = StageError.Place(file: file, line: line)
        for _ in 0..<1_000 {
            let element = try await next("stream error \(condition.rawValue)", place)
            guard element.is("error", .streams) else { continue }
            let found = StreamError(element)
            guard found.condition == condition else {
                throw StageError("Expected \(condition.rawValue), got \(element)", place)
            }
            await stage.settle()
            guard isClosed else { throw StageError("The connection is still open", place) }
            return
        }
    }

    func hasNothing(_ place: StageError.Place) throws {
        if let first = inbox.first { throw StageError("\(jid?.description ?? domain) got \(first)", place) }
    }

    func forgetAll() {
        inbox = []
    }

    func forgetPresence(of jid: JID) {
        inbox.removeAll { $0.name == "presence" && $0["from"] == jid.description }
    }

    private func next(_ wanted: String, _ place: StageError.Place) async throws -> Element {
        if inbox.isEmpty { await waitForMore(than: 0) }
        guard !inbox.isEmpty else { throw StageError("Expected \(wanted), got nothing", place) }
        return inbox.removeFirst()
    }

    /// Returns when there is more to read, when the connection has ended, or after a long time: machines may be busy.
    private func waitForMore(than count: Int) async {
        guard inbox.count <= count, !isClosed else { return }
        let timeout = ServerActor.loop.scheduleTask(in: .seconds(40)) { ServerActor.assumeIsolated { self.wake() } }
        await withCheckedContinuation { waiter = $0 }
        timeout.cancel()
    }

    private func wake() {
        waiter?.resume()
        waiter = nil
    }

    // MARK: From the connection

    func receive(_ bytes: [UInt8]) {
        if awaitsAnswer { roundTrips += 1 }
        awaitsAnswer = false
        let isReadable = bytes.withUnsafeBytes { raw in
            do throws(StreamError) {
                try reader.read(raw) { event throws(StreamError) in
                    if case .element(let element) = event { inbox.append(element) }
                    return true
                }
                return true
            } catch {
                return false
            }
        }
        if !isReadable { inbox.append(Element("unreadable", .client, text: String(decoding: bytes, as: UTF8.self))) }
        wake()
    }

    func closed() {
        isClosed = true
        wake()
    }
}
