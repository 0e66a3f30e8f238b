import ServerKit

/// In-Band Registration (XEP-0077): users change their password and remove their account; strangers sign up where the
/// administrator allows it.
final class Register: Module {
    static let info = ModuleInfo(
        "register", "Lets users change their password, remove their account, and sign up where that is allowed",
        implements: [.xep(77, "2.4").partial("no redirection to a web page, no key element")])

    struct Options: ModuleOptions {
        let allowsRegistration: Bool
        let perAddress: Rate
        let reservedUsernames: Set<String>
        let usernameLength: Int
        let passwordLength: Int

        init(_ config: inout OptionReader) {
            allowsRegistration = config.bool(
                "allow_registration", default: false, "Whether strangers may make accounts with their client.")
            perAddress = config.rate(
                "per_address", default: Rate(5, per: .seconds(3600)),
                "Names that may be tried from one address; beyond that nobody signs up from there for a while.")
            let reserved = config.parsedList(
                "reserved_usernames", default: Self.reserved, as: "a username",
                "Names that nobody may sign up with.") { Register.username($0) }
            reservedUsernames = Set(reserved)
            // RFC 7622 §3.3: a localpart has at most 1023 bytes.
            usernameLength = config.int(
                "username_length", default: 64, in: 1...1_023, "Bytes that a new username may have.")
            passwordLength = config.int(
                "password_length", default: 8, in: 1...64, "Characters that a new password must have.")
        }

        /// Names under which people look for those who run a service (RFC 2142), and that look like them.
        private static let reserved = [
            "abuse", "admin", "administrator", "contact", "help", "hostmaster", "info", "mailer-daemon", "moderator",
            "noreply", "operator", "postmaster", "root", "security", "server", "service", "staff", "support",
            "sysadmin", "system", "webmaster", "xmpp",
        ]
    }

    let options: Options

    init(options: Options) {
        self.options = options
    }

    func load(into host: ModuleHost) {
        // An account that ends with its stream has nothing to register.
        guard !host.host.isAnonymous else { return }
        host.advertise(.register, on: .host)
        let own = AccountRegistration(host: host, options: options)
        for target in [IQTarget.account, .host] {
            let access: IQAccess = target == .account ? .owner : .local
            host.answer(.get, "query", .register, on: target, from: access) { try own.describe($0) }
            host.answer(.set, "query", .register, on: target, from: access) { try await own.change($0) }
        }
        let signUp = SignUp(host: host, options: options)
        host.streamFeature { signUp.feature(for: $0) }
        host.streamIQ("query", .register) { signUp.take($0, $1, $2) }
        host.every(options.perAddress.interval) { signUp.forgetOldAttempts() }
    }

    /// The localpart of a username, nil when it cannot be one. RFC 7622 §3.3.
    nonisolated static func username(_ text: String) -> String? {
        (try? JID(localpart: text, domainpart: "localhost"))?.localpart
    }
}

/// What a request says, in a data form or in the fields of old, of which the form takes precedence. XEP-0077 §4.
struct RegistrationFields {
    let username: String?
    let password: String?
    /// The FORM_TYPE, nil without a form.
    let formType: String?

    init(_ query: Element) throws(StanzaError) {
        if let form = try DataForm.find(in: query) {
            guard form.kind == .submit else { throw .badRequest("A submitted form was expected.") }
            (username, password) = (form.text("username"), form.text("password"))
            formType = form.formType ?? ""
        } else {
            (username, password) = (query.text(of: "username"), query.text(of: "password"))
            formType = nil
        }
    }
}

extension Register.Options {
    /// Refuses passwords that are easily guessed. RFC 6120 §13.9.4.
    func check(password: String, username: String) throws(StanzaError) {
        guard let prepared = try? PRECIS.opaqueString(password) else {
            throw .notAcceptable("The password has characters that are not allowed.")
        }
        guard prepared.count >= passwordLength else {
            throw .notAcceptable("The password needs at least \(passwordLength) characters.")
        }
        guard prepared.utf8.count <= 1_023 else { throw .notAcceptable("The password is too long.") }
        guard prepared.lowercased() != username.lowercased(), Set(prepared).count > 1 else {
            throw .notAcceptable("The password is too easy to guess.")
        }
    }
}

extension Namespace {
    static let registerFeature: Namespace = "http://jabber.org/features/iq-register"
}
