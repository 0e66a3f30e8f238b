import ServerKit

/// The authentication of one stream, from `<authenticate/>` to `<success/>` or `<failure/>`. XEP-0388 §2.
@ServerActor
final class SASL2Negotiation {
    /// Where a stream keeps it while it lasts.
    enum Key: StreamKey {
        static var defaultValue: SASL2Negotiation? { nil }
    }

    private enum Phase {
        /// The mechanism's messages are exchanged.
        case exchange
        /// The client was asked to bring keys up to date.
        case tasks(UpgradeTasks)
        /// Nothing more is expected of the client.
        case concluding
        /// It failed at a task: this stream has had its authentication. XEP-0388 §4.8.
        case over
    }

    private unowned let stream: ClientStream
    private let host: ModuleHost
    private let service: any AuthenticationService
    private let sessions: InlineSession
    private let upgrades: [SCRAMHash]
    private var request: AuthenticateRequest?
    private var phase = Phase.exchange

    init(stream: ClientStream, host: ModuleHost, service: any AuthenticationService, sessions: InlineSession) {
        self.stream = stream
        self.host = host
        self.service = service
        self.sessions = sessions
        upgrades = service.offer(to: stream)?.upgrades(for: host) ?? []
    }

    // MARK: What the client says

    func begin(_ element: Element) {
        do throws(SASLFailure) {
            let request = try AuthenticateRequest(element)
            self.request = request
            let tokens = host.service((any TokenAuthority).self)
            let token = try tokens?.attempt(
                element, initialResponse: request.initialResponse, agentID: request.agentID, on: stream)
            if let token {
                send(.beginWithToken(token))
            } else {
                send(.begin(mechanism: request.mechanism, initialResponse: request.initialResponse))
            }
        } catch {
            send(.invalid(error))
        }
    }

    /// XEP-0388 §2.4: what comes out of turn ends the stream.
    func take(_ element: Element) throws(StreamError) {
        switch (phase, element.name) {
        case (.exchange, "response"):
            do throws(SASLFailure) { send(.response(try element.saslData())) } catch { send(.invalid(error)) }
        case (.exchange, "abort"): send(.abort)
        case (.tasks, "abort"): fail(.aborted)
        case (.tasks(let tasks), "next"): perform(tasks) { tasks throws(SASLFailure) in try tasks.begin(element) }
        case (.tasks(let tasks), "task-data"): perform(tasks) { tasks throws(SASLFailure) in try tasks.finish(element) }
        default: throw StreamError(.policyViolation, "This does not fit the state of the authentication.")
        }
    }

    private func send(_ request: AuthenticationRequest) {
        // The negotiation lives until it has been answered, whatever the stream does.
        service.take(request, on: stream) { reply in self.take(reply) }
    }

    private func take(_ reply: AuthenticationReply) {
        switch reply {
        case .challenge(let data): stream.send(Element("challenge", .sasl2, text: Base64.encode(data)))
        case .failure(let failure): fail(failure)
        case .success(let success): succeed(success)
        }
    }

    // MARK: Outcomes

    private func fail(_ failure: SASLFailure) {
        if case .exchange = phase {
            // XEP-0388 §2.6: the stream is as it was before.
            end()
        } else {
            phase = .over
        }
        stream.send(failure.sasl2Element)
    }

    private func end() {
        stream[Key.self] = nil
        stream.exclusiveNamespace = nil
    }

    private func succeed(_ success: AuthenticationSuccess) {
        // XEP-0388 §4.4: the identity asked for is the one of the header; who leaves it out asks for the account's.
        if let username = success.username, let claimed = stream.claimedAddress?.localpart, claimed != username {
            return send(.invalid(.invalidAuthzid))
        }
        guard let request, let tasks = UpgradeTasks(request.upgrades, offered: upgrades, success) else {
            return conclude(success, success.additionalData)
        }
        proceed(tasks, success.additionalData)
    }

    /// Asks for the next upgrade, or is done. XEP-0480 §2.2.
    private func proceed(_ tasks: UpgradeTasks, _ data: [UInt8]? = nil) {
        guard let next = tasks.next else { return conclude(tasks.success, data) }
        phase = .tasks(tasks)
        stream.send(
            Element("continue", .sasl2) {
                if let data { Element("additional-data", text: Base64.encode(data)) }
                Element("tasks") { Element("task", text: next.upgradeTask) }
            })
    }

    private func perform(
        _ tasks: UpgradeTasks, _ body: (inout UpgradeTasks) throws(SASLFailure) -> UpgradeTasks.Step
    ) {
        var tasks = tasks
        do throws(SASLFailure) {
            switch try body(&tasks) {
            case .send(let salt):
                phase = .tasks(tasks)
                stream.send(Element("task-data", .sasl2) { salt })
            case .store(let credentials):
                let rest = tasks
                wait { await self.store(credentials, rest) }
            }
        } catch {
            fail(error)
        }
    }

    /// Keeps the new keys beside the others. XEP-0480 §4.
    private func store(_ credentials: SCRAMCredentials, _ tasks: UpgradeTasks) async {
        let success = tasks.success
        do {
            let version = success.record?.passwordVersion ?? 0
            try await host.accounts.add(credentials, of: version, to: success.localpart)
        } catch is AccountError {
            // Removed, or its password was changed in the meantime.
            return fail(.credentialsExpired)
        } catch {
            host.log.error("Keys cannot be kept", metadata: ["account": "\(success.localpart)", "reason": "\(error)"])
            return fail(.temporaryAuthFailure)
        }
        guard !stream.isClosing else { return }
        stream.log.info("Keys added", metadata: ["mechanism": "SCRAM-\(credentials.hash.rawValue)"])
        proceed(tasks)
    }

    // MARK: Success

    private func conclude(_ success: AuthenticationSuccess, _ data: [UInt8]?) {
        wait { await self.finish(success, data) }
    }

    private func wait(_ body: @escaping @ServerActor () async -> Void) {
        let stream = self.stream
        phase = .concluding
        stream.suspend()
        Task { @ServerActor in
            await body()
            stream.resume()
        }
    }

    private func finish(_ success: AuthenticationSuccess, _ data: [UInt8]?) async {
        guard let request else { return }
        let stream = self.stream
        let client = request.agentID.map { UserAgent.client($0, of: success.localpart, on: host.host) }
        let login = success.login(by: request.userAgent, client: success.record == nil ? nil : client)
        var token: Element?
        do throws(SASLFailure) {
            token = try await host.service((any TokenAuthority).self)?.conclude(
                success, request.element, agent: request.userAgent, client: client, on: stream)
        } catch {
            phase = .exchange
            return send(.invalid(error))
        }
        // Whoever knew the password when it was asked for may be locked out by now, and all sessions with it.
        stream[ClientLogin.Key.self] = login
        stream.authenticate(
            success.localpart, username: success.username, mechanism: success.mechanism, restarts: false)
        guard !stream.isClosing else { return }
        let session = await sessions.begin(request, login, on: stream)
        guard !stream.isClosing else { return }

        end()
        stream.releaseOutput {
            stream.send(
                Element("success", .sasl2) {
                    if let data { Element("additional-data", text: Base64.encode(data)) }
                    Element("authorization-identifier", text: session.identity)
                    session.elements
                    token
                })
            // XEP-0198 §9.2: a stream that goes on where another one was cut has no features.
            if !session.isResumed { stream.sendFeatures() }
        }
        for body in session.afterwards { body() }
    }
}

extension SASLFailure {
    /// XEP-0388 §2.6.2.
    fileprivate var sasl2Element: Element {
        Element("failure", .sasl2) {
            Element(condition.rawValue, .sasl)
            if let text { Element("text", nil, ["xml:lang": "en"], text: text) }
        }
    }
}
