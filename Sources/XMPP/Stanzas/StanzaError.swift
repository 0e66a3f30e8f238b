/// An error that answers a stanza. RFC 6120 §8.3.
public struct StanzaError: Error, Sendable, Hashable {
    /// The defined conditions. RFC 6120 §8.3.3.
    public enum Condition: String, Sendable, CaseIterable {
        case badRequest = "bad-request"
        case conflict
        case featureNotImplemented = "feature-not-implemented"
        case forbidden
        case gone
        case internalServerError = "internal-server-error"
        case itemNotFound = "item-not-found"
        case jidMalformed = "jid-malformed"
        case notAcceptable = "not-acceptable"
        case notAllowed = "not-allowed"
        case notAuthorized = "not-authorized"
        case policyViolation = "policy-violation"
        case recipientUnavailable = "recipient-unavailable"
        case redirect
        case registrationRequired = "registration-required"
        case remoteServerNotFound = "remote-server-not-found"
        case remoteServerTimeout = "remote-server-timeout"
        case resourceConstraint = "resource-constraint"
        case serviceUnavailable = "service-unavailable"
        case subscriptionRequired = "subscription-required"
        case undefinedCondition = "undefined-condition"
        case unexpectedRequest = "unexpected-request"
    }

    /// What the sender may do about it. RFC 6120 §8.3.2.
    public enum Kind: String, Sendable, CaseIterable {
        /// Retry after providing credentials.
        case auth
        /// Do not retry.
        case cancel
        /// Proceed; it was only a warning.
        case `continue`
        /// Retry after changing what was sent.
        case modify
        /// Retry after waiting.
        case wait
    }

    public var condition: Condition
    public var kind: Kind
    /// A sentence for people.
    public var text: String?
    /// The language of ``text``.
    public var language: String?
    /// The new address that `gone` and `redirect` carry.
    public var address: String?
    /// Whether the answer leaves out what was asked because there was a secret in it. RFC 6120 §8.3.1 allows both.
    public private(set) var omitsRequest = false
    /// The serialised application-specific condition. RFC 6120 §8.3.4.
    private var application: String?
    private var applicationElement: ElementBox?

    public init(_ condition: Condition, _ kind: Kind? = nil, _ text: String? = nil) {
        self.condition = condition
        self.kind = kind ?? condition.defaultKind
        self.text = text
    }

    /// This error with an application-specific condition. RFC 6120 §8.3.4.
    public func with(_ element: Element) -> StanzaError {
        var error = self
        error.application = element.xml
        error.applicationElement = ElementBox(element: element)
        return error
    }

    /// This error for an answer that does not repeat what was asked.
    public func withoutRequest() -> StanzaError {
        var error = self
        error.omitsRequest = true
        return error
    }

    /// The application-specific condition.
    public var detail: Element? { applicationElement?.element }

    private struct ElementBox: Sendable, Hashable {
        let element: Element
        static func == (_: Self, _: Self) -> Bool { true }  // `application` holds what is compared.
        func hash(into _: inout Hasher) {}
    }
}

extension StanzaError {
    /// The `<error/>` element of a stanza of type "error".
    public var element: Element {
        // COMPAT XEP-0086: old clients, and Profanity when it looks for its device list, read the numeric code.
        Element("error", nil, ["type": kind.rawValue, "code": condition.legacyCode.map(String.init)]) {
            Element(condition.rawValue, .stanzaErrors, text: address)
            if let text { Element("text", .stanzaErrors, ["xml:lang": language ?? "en"], text: text) }
            if let detail { detail }
        }
    }

    /// Reads an `<error/>` element; an unknown condition becomes `undefined-condition` (RFC 6120 §8.3.3.21).
    public init(_ element: Element) {
        let conditions = element.children.filter { $0.namespace == .stanzaErrors }
        let condition = conditions.lazy.compactMap { Condition(rawValue: $0.name) }.first ?? .undefinedCondition
        self.init(condition, element["type"].flatMap(Kind.init), element.text(of: "text", .stanzaErrors))
        address = conditions.first { $0.name == condition.rawValue }.map(\.text).flatMap { $0.isEmpty ? nil : $0 }
        language = element.child("text", .stanzaErrors)?["xml:lang"]
        if let detail = element.children.first(where: { $0.namespace != .stanzaErrors }) { self = with(detail) }
    }
}

extension StanzaError.Condition {
    /// The type that RFC 6120 §8.3.3 suggests.
    public var defaultKind: StanzaError.Kind {
        switch self {
        case .badRequest, .jidMalformed, .notAcceptable, .policyViolation, .redirect: .modify
        case .forbidden, .notAuthorized, .registrationRequired, .subscriptionRequired: .auth
        case .recipientUnavailable, .remoteServerTimeout, .resourceConstraint, .unexpectedRequest: .wait
        case .conflict, .featureNotImplemented, .gone, .internalServerError, .itemNotFound, .notAllowed,
            .remoteServerNotFound, .serviceUnavailable, .undefinedCondition:
            .cancel
        }
    }

    /// The code of the time before XMPP. XEP-0086 §3.
    var legacyCode: Int? {
        switch self {
        case .badRequest, .jidMalformed, .unexpectedRequest: 400
        case .conflict: 409
        case .featureNotImplemented: 501
        case .forbidden: 403
        case .gone, .redirect: 302
        case .internalServerError, .resourceConstraint, .undefinedCondition: 500
        case .itemNotFound, .recipientUnavailable, .remoteServerNotFound: 404
        case .notAcceptable: 406
        case .notAllowed: 405
        case .notAuthorized: 401
        case .policyViolation: nil
        case .registrationRequired, .subscriptionRequired: 407
        case .remoteServerTimeout: 504
        case .serviceUnavailable: 503
        }
    }
}

extension StanzaError {
    public static let badRequest = StanzaError(.badRequest)
    public static let conflict = StanzaError(.conflict)
    public static let featureNotImplemented = StanzaError(.featureNotImplemented)
    public static let forbidden = StanzaError(.forbidden)
    public static let gone = StanzaError(.gone)
    public static let internalServerError = StanzaError(.internalServerError)
    public static let itemNotFound = StanzaError(.itemNotFound)
    public static let jidMalformed = StanzaError(.jidMalformed)
    public static let notAcceptable = StanzaError(.notAcceptable)
    public static let notAllowed = StanzaError(.notAllowed)
    public static let notAuthorized = StanzaError(.notAuthorized)
    public static let policyViolation = StanzaError(.policyViolation)
    public static let recipientUnavailable = StanzaError(.recipientUnavailable)
    public static let registrationRequired = StanzaError(.registrationRequired)
    public static let remoteServerNotFound = StanzaError(.remoteServerNotFound)
    public static let remoteServerTimeout = StanzaError(.remoteServerTimeout)
    public static let resourceConstraint = StanzaError(.resourceConstraint)
    public static let serviceUnavailable = StanzaError(.serviceUnavailable)
    public static let subscriptionRequired = StanzaError(.subscriptionRequired)
    public static let undefinedCondition = StanzaError(.undefinedCondition)
    public static let unexpectedRequest = StanzaError(.unexpectedRequest)

    public static func badRequest(_ text: String) -> StanzaError { StanzaError(.badRequest, nil, text) }
    public static func conflict(_ text: String) -> StanzaError { StanzaError(.conflict, nil, text) }
    public static func forbidden(_ text: String) -> StanzaError { StanzaError(.forbidden, nil, text) }
    public static func notAcceptable(_ text: String) -> StanzaError { StanzaError(.notAcceptable, nil, text) }
    public static func notAllowed(_ text: String) -> StanzaError { StanzaError(.notAllowed, nil, text) }
    public static func policyViolation(_ text: String) -> StanzaError { StanzaError(.policyViolation, nil, text) }
    public static func resourceConstraint(_ text: String) -> StanzaError { StanzaError(.resourceConstraint, nil, text) }
}
