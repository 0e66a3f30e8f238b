import ServerKit

/// What a client takes up along with its authentication: a stream that was cut, or a resource (XEP-0386).
@ServerActor
final class InlineSession {
    /// What came of it.
    struct Outcome {
        /// The bare JID, or the full one of the resource. XEP-0388 §2.6.1.
        var identity: String
        /// The answers, which go into the `<success/>`.
        var elements: [Element] = []
        /// What is done once that was sent.
        var afterwards: [@ServerActor () -> Void] = []
        /// Whether the session is one that was there before.
        var isResumed = false
    }

    private let host: ModuleHost
    /// Bytes of a `<tag/>`; longer ones are left out.
    private static let tagLength = 100

    init(host: ModuleHost) {
        self.host = host
    }

    // MARK: The offer

    /// What may come along, according to the modules that are loaded. XEP-0388 §2.1.
    func features(for stream: ClientStream) -> [Element] {
        var features = host.host.inline.features(.authentication)
        if let tokens = host.service((any TokenAuthority).self)?.feature(for: stream) { features.append(tokens) }
        if host.service((any ResourceBinding).self) != nil { features.append(bindFeature) }
        return features
    }

    /// XEP-0386 §3.1.
    private var bindFeature: Element {
        let namespaces = host.host.inline.namespaces(.bind)
        return Element("bind", .bind2) {
            if !namespaces.isEmpty {
                Element("inline") {
                    for namespace in namespaces { Element("feature", nil, ["var": namespace.uri]) }
                }
            }
        }
    }

    // MARK: The request

    /// Does what the client asked for; it is authenticated.
    func begin(_ request: AuthenticateRequest, _ login: ClientLogin, on stream: ClientStream) async -> Outcome {
        var outcome = Outcome(identity: "\(stream.authenticated ?? "")@\(host.domain)")
        await answer(.authentication, in: request.element, on: stream, &outcome)
        if stream.resource != nil {
            // XEP-0386 §3.2: a request to bind is ignored when a stream was resumed.
            outcome.isResumed = true
        } else if let bind = request.bind, !stream.isClosing {
            await self.bind(bind, request, login, on: stream, &outcome)
        }
        if let resource = stream.resource { outcome.identity = resource.jid.description }
        return outcome
    }

    /// Lets modules answer what is for them.
    private func answer(
        _ step: InlineStep, in parent: Element, on stream: ClientStream, _ outcome: inout Outcome
    ) async {
        var answered: Set<Namespace> = []
        for child in parent.children {
            guard !stream.isClosing else { return }
            guard let handler = host.host.inline.handler(step, for: child),
                answered.insert(child.namespace).inserted,
                let answer = await handler(stream, child)
            else { continue }
            if let element = answer.element { outcome.elements.append(element) }
            if let body = answer.afterwards { outcome.afterwards.append(body) }
        }
    }

    // MARK: Binding

    /// XEP-0386 §3.2.
    private func bind(
        _ bind: Element, _ request: AuthenticateRequest, _ login: ClientLogin, on stream: ClientStream,
        _ outcome: inout Outcome
    ) async {
        guard let binding = host.service((any ResourceBinding).self) else { return }
        guard let account = await stream.account() else { return stream.close(StreamError(.internalServerError)) }
        let rivals = account.resources.filter { rival in
            login.client != nil && rival[ClientLogin.Key.self]?.client == login.client
        }
        let tag = bind.text(of: "tag", .bind2)
        // Nothing may reach the client before it knows its address.
        stream.holdOutput()
        do throws(StanzaError) {
            let stable = request.agentID.map { stableName(for: $0, tag, account) }
            _ = try binding.bind(
                stream, to: account, as: name(stable ?? randomName, tag, account),
                or: name(randomName, tag, account), instead: rivals)
        } catch {
            // XEP-0386 has no word for it. The client sees that it has no resource, and may ask as in RFC 6120 §7.
            stream.log.debug("Bind refused", metadata: ["reason": "\(error.condition.rawValue)"])
            return
        }
        guard stream.resource != nil else { return }
        var bound = Outcome(identity: "")
        await answer(.bind, in: bind, on: stream, &bound)
        let reports = await host.host.inline.reports(to: stream)
        outcome.afterwards += bound.afterwards
        outcome.elements.append(Element("bound", .bind2) { bound.elements + reports })
    }

    private var randomName: String { RandomToken.make(bytes: 6) }

    /// The same for every bind of an installation with this tag, and no way to find out its id. XEP-0386 §3.2.1.
    private func stableName(for agentID: String, _ tag: String?, _ account: Account) -> String {
        let text = "resource\0\(account.jid)\0\(agentID)\0\(tag ?? "")"
        return Hex.encode(Digest.hmac(.sha256, key: host.server.secret, Array(text.utf8)).prefix(6))
    }

    /// The tag comes first, if it can be part of a resource. XEP-0386 §3.2.1.
    private func name(_ generated: String, _ tag: String?, _ account: Account) -> String {
        guard let tag, !tag.isEmpty, tag.utf8.count <= Self.tagLength,
            let full = try? account.jid.with(resource: "\(tag)/\(generated)"), let name = full.resourcepart
        else { return generated }
        return name
    }
}
