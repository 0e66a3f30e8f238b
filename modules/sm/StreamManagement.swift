import ServerKit

/// Stream Management (XEP-0198): acknowledges stanzas, and lets a client whose connection broke go on where it was.
///
/// What a client has not acknowledged stays in the queue of its ``ManagedSession``. If the client resumes, it gets the
/// rest; if it does not come back in time, the rest goes to the user's other clients, to offline storage or back to its
/// senders (``Handover``). At a clean stop of the server the sessions are stored (``SessionArchive``) and afterwards
/// resumed as if nothing had been.
final class StreamManagement: Module {
    static let info = ModuleInfo(
        "sm", "Loses nothing when a connection breaks, and lets clients resume",
        implements: [.xep(198, "1.6.3")],
        group: .recommended, requires: ["bind"])

    struct Options: ModuleOptions {
        let resume: Duration
        let queue: Int
        let queueSize: Int
        let detached: Int
        let silence: Duration
        let acknowledge: Duration

        init(_ config: inout OptionReader) {
            resume = config.duration(
                "resume", default: .minutes(10), in: .seconds(10)...(.seconds(604_800)),
                "How long a client whose connection broke may take to come back.")
            queue = config.int(
                "queue", default: 5_000, in: 10...1_000_000, "Stanzas that may wait for a client's acknowledgement.")
            queueSize = config.size(
                "queue_size", default: 8_388_608, in: 65_536...1_000_000_000, "What these may take in memory.")
            detached = config.int(
                "detached", default: 10, in: 1...1_000,
                "Clients of an account that may be away at a time; the one that is away longest has to go.")
            silence = config.duration(
                "silence", default: .seconds(10), in: .seconds(1)...(.seconds(3_600)),
                "After how long without an acknowledgement the user is notified otherwise, such as by a push.")
            acknowledge = config.duration(
                "acknowledge", default: .seconds(90), in: .seconds(5)...(.seconds(86_400)),
                "After how long without an acknowledgement a connection is taken for broken.")
        }
    }

    /// XEP-0198 §4.
    static let request = Element("r", .sm)

    private(set) var options: Options
    private var host: ModuleHost?
    /// The sessions that can be resumed.
    private var sessions: [String: ManagedSession] = [:]
    /// Those that were asked for an acknowledgement; looked through now and then.
    private var asked: [ObjectIdentifier: ManagedSession] = [:]
    /// Those that are to be asked soon.
    private var askedLater: [ManagedSession] = []
    private var past = PastSessions()
    private var archive: SessionArchive?
    private var isStopping = false

    init(options: Options) {
        self.options = options
    }

    func reconfigure(_ options: Options) -> Bool {
        self.options = options
        return true
    }

    func load(into host: ModuleHost) {
        self.host = host
        let archive = SessionArchive(host)
        self.archive = archive
        // XEP-0198 §2.
        host.streamFeature { $0.authenticated != nil && $0.resource == nil ? Element("sm", .sm) : nil }
        host.streamElement("enable", .sm) { stream, element throws(StreamError) in try self.enable(stream, element) }
        host.streamElement("resume", .sm) { stream, element throws(StreamError) in self.resume(stream, element) }
        host.streamElement("r", .sm) { stream, _ throws(StreamError) in stream.session?.answer() }
        host.streamElement("a", .sm) { stream, element throws(StreamError) in
            try self.acknowledge(stream, element)
        }
        // XEP-0198 §9.
        host.inline(.bind, "enable", .sm, feature: Element("feature", nil, ["var": Namespace.sm.uri])) {
            InlineAnswer(self.enable($0.resource, $0, $1))
        }
        host.inline(.authentication, "resume", .sm, feature: Element("sm", .sm)) { stream, request in
            let outcome = await self.outcome(of: request, on: stream)
            return InlineAnswer(outcome.element) { outcome.session?.goOn(stream) }
        }
        host.claim(.resourceDetaching) { self.detach($0.resource) }
        host.observe(.resourceClosed) { self.end($0.resource) }
        host.every(.seconds(2)) { self.sweep() }
        archive.load { self.restore($0, $1, $2) }
        host.onStop { self.store() }
        host.onUnload { self.letGo() }
    }

    // MARK: Enabling

    private func enable(_ stream: ClientStream, _ request: Element) throws(StreamError) {
        // XEP-0198 §3: a second attempt ends the stream.
        if stream.session != nil { throw StreamError(.policyViolation, "Stream management is enabled already.") }
        stream.send(enable(stream.resource, stream, request))
    }

    /// XEP-0198 §3.
    private func enable(_ resource: Resource?, _ stream: ClientStream, _ request: Element) -> Element {
        guard let resource, resource[ManagedSession.Key.self] == nil else { return .failed(.unexpectedRequest) }
        // The address of an anonymous user cannot be proved again.
        let resumes = request.flag("resume") && !resource.account.isTemporary
        let wanted = request["max"].flatMap { UInt32($0) }.flatMap { $0 > 0 ? Duration.seconds(Int64($0)) : nil }
        let timeout = min(options.resume, wanted ?? options.resume)
        let id = resumes ? RandomToken.make(bytes: 16) : nil
        let session = ManagedSession(
            resource, id: id, timeout: timeout, link: .attached(stream), owner: self)
        resource[ManagedSession.Key.self] = session
        resource.attach(session)
        if let id { sessions[id] = session }
        return Element(
            "enabled", .sm,
            ["id": id, "resume": id.map { _ in "true" }, "max": id.map { _ in "\(timeout.components.seconds)" }])
    }

    // MARK: Acknowledgements

    private func acknowledge(_ stream: ClientStream, _ element: Element) throws(StreamError) {
        guard let session = stream.session else { return }
        guard let h = element["h"].flatMap({ UInt32($0) }) else {
            throw StreamError(.policyViolation, "An acknowledgement needs a number.")
        }
        do throws(UnacknowledgedQueue.HandledCountTooHigh) {
            try session.acknowledge(h)
        } catch {
            stream.close(error)
        }
        if session.askedAt == nil { asked[ObjectIdentifier(session)] = nil }
    }

    func awaitAcknowledgement(_ session: ManagedSession) {
        asked[ObjectIdentifier(session)] = session
    }

    /// How often a client is asked at most, unless it was sent a lot.
    static let askInterval = Duration.seconds(1)

    /// Asks for an acknowledgement in a moment, together with others.
    func askLater(_ session: ManagedSession) {
        guard let host else { return }
        if askedLater.isEmpty {
            host.clock.after(Self.askInterval) { [weak self] in
                let sessions = self?.askedLater ?? []
                self?.askedLater = []
                for session in sessions { session.askNow() }
            }
        }
        askedLater.append(session)
    }

    /// Looks for clients that owe an acknowledgement.
    private func sweep() {
        guard let now = host?.clock.now else { return }
        past.removeOld(now: now)
        for (key, session) in asked {
            guard let askedAt = session.askedAt, let stream = session.stream else {
                asked[key] = nil
                continue
            }
            if now - askedAt >= options.acknowledge {
                stream.close(StreamError(.connectionTimeout, "No acknowledgement came."))
            } else if now - askedAt >= options.silence {
                session.announceDelays()
            }
        }
    }

    func isOver(_ queue: UnacknowledgedQueue) -> Bool {
        queue.items.count > options.queue || queue.size > options.queueSize
    }

    // MARK: Resuming

    private func resume(_ stream: ClientStream, _ request: Element) {
        // XEP-0198 §3: not before authentication, nor beside another session.
        guard stream.authenticated != nil, stream.resource == nil else {
            return stream.send(.failed(.unexpectedRequest))
        }
        stream.suspend()
        Task { @ServerActor in
            let outcome = await self.outcome(of: request, on: stream)
            stream.send(outcome.element)
            outcome.session?.goOn(stream)
            stream.resume()
        }
    }

    /// Takes a session up. XEP-0198 §5.
    private func outcome(
        of request: Element, on stream: ClientStream
    ) async -> (element: Element, session: ManagedSession?) {
        guard let id = request["previd"], let h = request["h"].flatMap({ UInt32($0) }) else {
            return (.failed(.badRequest), nil)
        }
        await archive?.restore(stream)
        guard let session = sessions[id], session.belongs(to: stream), !isStopping else {
            // Those of others are not there, for all that the client can learn.
            return (.failed(.itemNotFound, h: past.received(id, by: stream.owner)), nil)
        }
        switch session.queue.position(of: h) {
        case .inside: break
        case .passed:
            // The client has forgotten what it acknowledged: what it misses is not there any more.
            return (.failed(.itemNotFound, h: session.received), nil)
        case .ahead:
            stream.close(UnacknowledgedQueue.HandledCountTooHigh(h: h, sent: session.queue.sent))
            return (.failed(.badRequest), nil)
        }
        return await takeOver(session, id, h, on: stream)
    }

    private func takeOver(
        _ session: ManagedSession, _ id: String, _ h: UInt32, on stream: ClientStream
    ) async -> (element: Element, session: ManagedSession?) {
        // Of two that resume at a time the later one has its way: it is where the client is.
        var lost: StorageError?
        repeat {
            session.prepareToResume()
            // What was acknowledged is durable, also in this way.
            lost = await session.resource.isDurable()
            guard sessions[id] === session, !isStopping else {
                return (.failed(.itemNotFound, h: past.received(id, by: stream.owner)), nil)
            }
        } while !session.isDetached
        guard lost == nil else {
            expire(session)
            return (.failed(.internalServerError), nil)
        }
        do throws(UnacknowledgedQueue.HandledCountTooHigh) {
            guard !stream.isClosing else {
                session.wait()
                return (.failed(.itemNotFound), nil)
            }
            try session.acknowledge(h)
        } catch {
            session.wait()
            stream.close(error)
            return (.failed(.badRequest), nil)
        }
        session.attach(stream)
        stream.bind(session.resource)
        stream.log.info("Resumed")
        return (Element("resumed", .sm, ["previd": id, "h": "\(session.received)"]), session)
    }

    // MARK: The end

    private func detach(_ resource: Resource) -> Bool {
        guard let session = resource[ManagedSession.Key.self], session.detach() else { return false }
        // Clients that come back after a restart of the server are not to blame for being away all at once.
        guard !resource.account.host.server.isStopping else { return true }
        let away = resource.account.resources.compactMap { $0[ManagedSession.Key.self] }.filter(\.isDetached)
        if away.count > options.detached,
            let longest = away.min(by: { $0.detachedAt ?? .zero < $1.detachedAt ?? .zero })
        {
            expire(longest)
        }
        return true
    }

    /// The client did not come back.
    func expire(_ session: ManagedSession) {
        session.resource.account.remove(session.resource)
    }

    private func end(_ resource: Resource) {
        guard let session = resource[ManagedSession.Key.self] else { return }
        asked[ObjectIdentifier(session)] = nil
        resource[ManagedSession.Key.self] = nil
        if let id = session.id {
            sessions[id] = nil
            remember(session, id)
        }
        let handover = Handover(resource)
        for item in session.end() { handover.take(item.stanza, since: item.time) }
    }

    /// A client that comes too late learns at least what of its stanzas arrived. XEP-0198 §5.
    private func remember(_ session: ManagedSession, _ id: String) {
        guard let clock = host?.clock else { return }
        let (received, owner) = (session.received, session.resource.account.jid)
        session.resource.fence.whenDurable { lost in
            if lost == nil { self.past.add(id, owner, received, now: clock.now) }
        }
    }

    /// Gives the streams their resources back, because the module is unloaded. Those who are away have to go.
    private func letGo() {
        archive = nil
        // When the server stops, those who are away wait in the storage.
        guard let host, !isStopping else { return }
        for resource in host.accounts.loadedAccounts.flatMap(\.resources) {
            guard let session = resource[ManagedSession.Key.self] else { continue }
            if let stream = session.stream {
                resource[ManagedSession.Key.self] = nil
                session.giveBack(stream)
            } else {
                expire(session)
            }
        }
        sessions = [:]
        asked = [:]
        askedLater = []
    }

    // MARK: Restarts

    private func store() {
        isStopping = true
        for session in sessions.values where session.isDetached {
            // What it is told to have received must be true.
            if session.resource.fence.isSettled {
                archive?.store(session)
                _ = session.end()
                session.resource[ManagedSession.Key.self] = nil
            } else {
                expire(session)
            }
        }
        sessions = [:]
    }

    private func restore(_ account: Account, _ id: String, _ stored: StoredSession) {
        guard let host, sessions[id] == nil else { return }
        guard let session = stored.restore(to: account, id: id, owner: self, clock: host.clock) else { return }
        sessions[id] = session
        // What it missed is not lost, though it cannot be resumed any more.
        if account.isLocked || stored.isOver(host.clock.date) { expire(session) }
    }
}

extension ManagedSession {
    /// Whether the one who authenticated on a stream is the one the session belongs to.
    fileprivate func belongs(to stream: ClientStream) -> Bool {
        stream.owner == resource.account.jid
    }
}

extension Resource {
    /// Waits until everything that the client sent is on disk.
    ///
    /// - Returns: the error, if some of it was lost.
    fileprivate func isDurable() async -> StorageError? {
        await withCheckedContinuation { continuation in fence.whenDurable { continuation.resume(returning: $0) } }
    }
}

extension ClientStream {
    /// The session whose resource the stream carries.
    fileprivate var session: ManagedSession? { resource?[ManagedSession.Key.self] }

    /// Who authenticated.
    fileprivate var owner: JID? {
        guard let authenticated, let host else { return nil }
        return try? JID(localpart: authenticated, domainpart: host.domain)
    }

    /// XEP-0198 §6.
    fileprivate func close(_ excess: UnacknowledgedQueue.HandledCountTooHigh) {
        let text = "You acknowledged \(excess.h) stanzas, but I only sent you \(excess.sent) so far."
        close(
            StreamError(.undefinedCondition, text),
            with: Element("handled-count-too-high", .sm, ["h": "\(excess.h)", "send-count": "\(excess.sent)"]))
    }
}

extension Element {
    /// XEP-0198 §6.
    fileprivate static func failed(_ error: StanzaError, h: UInt32? = nil) -> Element {
        Element("failed", .sm, ["h": h.map { "\($0)" }]) {
            Element(error.condition.rawValue, .stanzaErrors)
        }
    }

    /// An attribute of the type xs:boolean.
    fileprivate func flag(_ attribute: String) -> Bool {
        self[attribute] == "true" || self[attribute] == "1"
    }
}

extension Namespace {
    static let sm: Namespace = "urn:xmpp:sm:3"
}
