/// Where a client wants its notifications sent: a node of a push service. XEP-0357 §5.
public struct PushTarget: Codable, Sendable, Hashable {
    /// The push service.
    public let service: JID
    /// What the service calls the client.
    public let node: String?
    /// The form with publish options, as the client wrote it; mostly it holds a secret.
    public let publishOptions: String?

    private static let formType = "http://jabber.org/protocol/pubsub#publish-options"

    public init(service: JID, node: String?, publishOptions: String?) {
        self.service = service
        self.node = node
        self.publishOptions = publishOptions
    }

    /// Reads an `<enable/>`.
    public init(_ enable: Element, sizeLimit: Int) throws(StanzaError) {
        guard let address = enable["jid"] else { throw .badRequest("The address of the push service is missing.") }
        guard let service = JID(address) else { throw .jidMalformed }
        self.service = service
        node = enable["node"]
        var options: Element?
        for element in enable.children("x", .dataForms) {
            let form = try DataForm(element)
            guard form.kind == .submit, form.formType == Self.formType, options == nil else {
                throw .badRequest("A form with publish options was expected.")
            }
            options = element
        }
        publishOptions = options?.xml
        let size = (node?.utf8.count ?? 0) + (publishOptions?.utf8.count ?? 0)
        guard size <= sizeLimit else { throw .policyViolation("A registration has at most \(sizeLimit) bytes.") }
    }

    /// Service and node together: what is enabled again replaces what was. XEP-0357 §5.
    public var key: String { "\(service)\n\(node ?? "")" }

    /// Tells whether a target is one of those that a `<disable/>` means. XEP-0357 §6.
    public static func meant(by disable: Element) throws(StanzaError) -> (PushTarget) -> Bool {
        guard let address = disable["jid"] else { throw .badRequest("The address is missing.") }
        guard let service = JID(address) else { throw .jidMalformed }
        let node = disable["node"]
        return { $0.service == service && (node == nil || $0.node == node) }
    }

    /// The request that tells the service. XEP-0357 §7.
    public func publish(_ notification: Element) -> IQ {
        IQ(.set, to: service, id: "") {
            Element("pubsub", .pushPubSub) {
                Element("publish", nil, ["node": node]) {
                    Element("item") { notification }
                }
                if let form = publishOptions.flatMap({ try? Element.parse($0) }) {
                    Element("publish-options") { form }
                }
            }
        }
    }
}

extension StanzaError {
    /// Whether a push service that answers with this need not be tried again: it knows the node or the server no more.
    /// Whatever else goes wrong may pass, in another server or on the way to it. XEP-0357 §7.1.
    public var endsPushRegistration: Bool {
        guard kind != .wait else { return false }
        switch condition {
        case .badRequest, .conflict, .featureNotImplemented, .forbidden, .gone, .itemNotFound, .jidMalformed,
            .notAcceptable, .notAllowed, .notAuthorized, .policyViolation, .redirect, .registrationRequired,
            .subscriptionRequired:
            return true
        case .internalServerError, .recipientUnavailable, .remoteServerNotFound, .remoteServerTimeout,
            .resourceConstraint, .serviceUnavailable, .undefinedCondition, .unexpectedRequest:
            return false
        }
    }
}

extension Namespace {
    /// XEP-0357 §11.1.
    public static let push: Namespace = "urn:xmpp:push:0"
    /// XEP-0060, of which push services understand a part.
    public static let pushPubSub: Namespace = "http://jabber.org/protocol/pubsub"
}
