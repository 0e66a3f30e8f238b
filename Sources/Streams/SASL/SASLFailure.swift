/// Why an authentication failed, in the words of RFC 6120 §6.5.
public struct SASLFailure: Error, Hashable, Sendable {
    /// The defined conditions; the raw value is the name of the element.
    public enum Condition: String, Hashable, Sendable, CaseIterable {
        /// The initiating entity gave up. RFC 6120 §6.5.1.
        case aborted
        /// The account is disabled for the time being. RFC 6120 §6.5.2.
        case accountDisabled = "account-disabled"
        /// The credentials were right once. RFC 6120 §6.5.3.
        case credentialsExpired = "credentials-expired"
        /// The mechanism needs a protected stream. RFC 6120 §6.5.4.
        case encryptionRequired = "encryption-required"
        /// The data is not base 64. RFC 6120 §6.5.5.
        case incorrectEncoding = "incorrect-encoding"
        /// The authorization identity is malformed or not the initiating entity's to take. RFC 6120 §6.5.6.
        case invalidAuthzid = "invalid-authzid"
        /// No such mechanism was offered. RFC 6120 §6.5.7.
        case invalidMechanism = "invalid-mechanism"
        /// The data breaks the mechanism's syntax or comes out of turn. RFC 6120 §6.5.8.
        case malformedRequest = "malformed-request"
        /// Policy asks for a stronger mechanism. RFC 6120 §6.5.9.
        case mechanismTooWeak = "mechanism-too-weak"
        /// The credentials are wrong, or the reason is not for the peer to know. RFC 6120 §6.5.10.
        case notAuthorized = "not-authorized"
        /// The server cannot tell just now. RFC 6120 §6.5.11.
        case temporaryAuthFailure = "temporary-auth-failure"

        /// The condition of an element received; what is unknown counts as not-authorized. RFC 6120 §6.5.
        public init(element name: String) {
            self = Condition(rawValue: name) ?? .notAuthorized
        }
    }

    public var condition: Condition
    /// A sentence in English for a human, without a secret in it.
    public var text: String?

    public init(_ condition: Condition, _ text: String? = nil) {
        self.condition = condition
        self.text = text
    }

    public static let aborted = SASLFailure(.aborted)
    public static let accountDisabled = SASLFailure(.accountDisabled)
    public static let credentialsExpired = SASLFailure(.credentialsExpired)
    public static let encryptionRequired = SASLFailure(.encryptionRequired)
    public static let incorrectEncoding = SASLFailure(.incorrectEncoding)
    public static let invalidAuthzid = SASLFailure(.invalidAuthzid)
    public static let invalidMechanism = SASLFailure(.invalidMechanism)
    public static let malformedRequest = SASLFailure(.malformedRequest)
    public static let mechanismTooWeak = SASLFailure(.mechanismTooWeak)
    public static let notAuthorized = SASLFailure(.notAuthorized)
    public static let temporaryAuthFailure = SASLFailure(.temporaryAuthFailure)

    static func malformedRequest(_ text: String) -> SASLFailure { SASLFailure(.malformedRequest, text) }
    static func notAuthorized(_ text: String) -> SASLFailure { SASLFailure(.notAuthorized, text) }
}
