import ServerKit

/// Resource binding (RFC 6120 §7), and the session that older clients ask for (RFC 3921 §3).
final class Bind: Module, ResourceBinding {
    static let info = ModuleInfo(
        "bind", "Gives each client of an account its address", implements: [.rfc(6120)], group: .core)

    struct Options: ModuleOptions {
        /// What becomes of two clients that want the same resource. RFC 6120 §7.7.2.2.
        enum Conflict: String, CaseIterable {
            case replace, refuse, rename
        }

        let conflict: Conflict
        let resources: Int

        init(_ config: inout OptionReader) {
            conflict = config.choice(
                "conflict", default: Conflict.replace,
                "When a resource is taken: the old client has to go, the new one is refused, or it gets another name.")
            resources = config.int(
                "resources", default: 20, in: 1...1_000, "Clients that an account may connect at a time.")
        }
    }

    private let options: Options
    /// RFC 6120 §7.7.3: at least five and no more than ten.
    private static let retryLimit = 10

    init(options: Options) {
        self.options = options
    }

    func load(into host: ModuleHost) {
        host.provide((any ResourceBinding).self, self)
        host.streamFeature { $0.isAwaitingBind ? Element("bind", .bind) : nil }
        host.streamIQ("bind", .bind) { self.bind($0, $1, $2) }
        // RFC 6120 §7.1: one resource for each stream.
        host.answer(.set, "bind", .bind, from: .owner) { _ in throw StanzaError.notAllowed }
        host.answer(.set, "bind", .bind, on: .host, from: .local) { _ in throw StanzaError.notAllowed }

        // COMPAT RFC 3921 §3: RFC 6121 has no sessions any more, but some clients wait for one.
        host.streamFeature { stream in
            stream.isAwaitingBind ? Element("session", .session) { Element("optional") } : nil
        }
        host.answer(.set, "session", .session, from: .owner) { _ in nil }
        host.answer(.set, "session", .session, on: .host, from: .local) { _ in nil }
    }

    private func bind(_ stream: ClientStream, _ iq: IQ, _ query: Element) {
        guard stream.isAwaitingBind else { return stream.close(StreamError(.notAuthorized)) }
        guard iq.isRequest else { return }
        guard iq.kind == .set else { return refuse(stream, iq, .badRequest) }
        stream.suspend()
        Task { @ServerActor in
            self.bind(stream, iq, query, await stream.account())
            stream.resume()
        }
    }

    private func bind(_ stream: ClientStream, _ iq: IQ, _ query: Element, _ account: Account?) {
        guard !stream.isClosing else { return }
        do throws(StanzaError) {
            guard let account else { throw StanzaError(.internalServerError, .wait) }
            // RFC 6120 §7.6.2.2. It may have been locked since the client authenticated.
            guard !account.isLocked else { throw .notAllowed("This account has been locked.") }
            let resourcepart = try claim(requested(query, account), of: account)
            _ = account.bind(resourcepart, link: stream) { resource in
                stream.bind(resource)
                // The first the client gets on its new address.
                stream.deliver(.iq(iq.result(Element("bind", .bind) { Element("jid", text: "\(resource.jid)") })))
            }
            stream.log.info("Resource bound")
        } catch {
            refuse(stream, iq, error)
        }
    }

    /// The resourcepart the client asks for, prepared; nil when it leaves that to the server (RFC 6120 §7.6).
    private func requested(_ query: Element, _ account: Account) throws(StanzaError) -> String? {
        guard let text = query.text(of: "resource"), !text.isEmpty else { return nil }
        // RFC 6120 §7.7.2.1.
        guard let full = try? account.jid.with(resource: text) else {
            throw .badRequest("The resource is too long or has characters that are not allowed.")
        }
        return full.resourcepart
    }

    /// A free resourcepart, which may have to be made free.
    private func claim(_ requested: String?, of account: Account) throws(StanzaError) -> String {
        let rival = requested.flatMap { account.resource($0) }
        let others = account.resources.count - (rival == nil || options.conflict == .rename ? 0 : 1)
        // RFC 6120 §7.6.2.1.
        guard others < options.resources else { throw .resourceConstraint("Too many clients are connected.") }
        guard let requested else { return free(in: account) }
        guard let rival else { return requested }
        switch options.conflict {
        case .rename: return free(in: account)
        case .refuse: throw StanzaError(.conflict, .modify)
        case .replace:
            rival.close(StreamError(.conflict, "Another client has taken this resource."))
            guard account.resource(requested) == nil else { throw StanzaError(.conflict, .modify) }
            return requested
        }
    }

    /// For Bind 2 and its like.
    func bind(
        _ stream: ClientStream, to account: Account, as name: String, or alternative: String, instead rivals: [Resource]
    ) throws(StanzaError) -> Resource {
        // RFC 6120 §7.6.2.2. It may have been locked since the client authenticated.
        guard !account.isLocked else { throw .notAllowed("This account has been locked.") }
        let others = account.resources.count { other in !rivals.contains { $0 === other } }
        // RFC 6120 §7.6.2.1.
        guard others < options.resources else { throw .resourceConstraint("Too many clients are connected.") }
        for rival in rivals { rival.close(StreamError(.conflict, "The same client has begun a new session.")) }
        let resource = account.bind(account.resource(name) == nil ? name : alternative, link: stream) { resource in
            stream.bind(resource)
        }
        stream.log.info("Resource bound")
        return resource
    }

    /// RFC 6120 §7.5: random, so that nobody can guess who is online.
    private func free(in account: Account) -> String {
        var name = RandomToken.make(bytes: 8)
        while account.resource(name) != nil { name = RandomToken.make(bytes: 8) }
        return name
    }

    private func refuse(_ stream: ClientStream, _ iq: IQ, _ error: StanzaError) {
        stream.log.debug("Bind refused", metadata: ["reason": "\(error.condition.rawValue)"])
        stream.deliver(.iq(iq.bounced(error)))
        stream[RefusalCount.self] += 1
        guard stream[RefusalCount.self] >= Self.retryLimit else { return }
        // RFC 6120 §7.7.3.
        stream.close(StreamError(.policyViolation, "Too many failed attempts to bind a resource."))
    }

    private enum RefusalCount: StreamKey {
        static let defaultValue = 0
    }
}

extension ClientStream {
    /// RFC 6120 §7.4.
    fileprivate var isAwaitingBind: Bool { authenticated != nil && resource == nil }
}
