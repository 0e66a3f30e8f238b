import ServerKit

/// What users do with the account they have: look at it, change its password, remove it. XEP-0077 §3.2, §3.3.
///
/// That their stream is protected, as XEP-0077 §3.3 wants for passwords, they proved by logging in.
@ServerActor
final class AccountRegistration {
    private let host: ModuleHost
    private let options: Register.Options

    init(host: ModuleHost, options: Register.Options) {
        self.host = host
        self.options = options
    }

    /// XEP-0077 §3.1: who asks is registered already.
    func describe(_ request: IQRequest) throws(StanzaError) -> Element {
        let account = try request.origin().account
        return Element("query", .register) {
            Element("registered")
            Element("instructions", text: "Choose another password, or remove the account.")
            Element("username", text: account.name)
            Element("password")
        }
    }

    func change(_ request: IQRequest) async throws -> Element? {
        let origin = try request.origin()
        do {
            if request.query.has("remove") {
                try await remove(request, origin)
            } else {
                try await changePassword(request, origin.account)
            }
        } catch let error as StanzaError {
            // XEP-0077 §3.3: passwords are not sent back.
            throw error.withoutRequest()
        }
        return nil
    }

    /// XEP-0077 §3.2.
    private func remove(_ request: IQRequest, _ origin: Resource) async throws {
        guard request.query.children.count == 1 else {
            throw StanzaError.badRequest("Nothing else goes along with a removal.")
        }
        let account = origin.account
        guard !account[IsChanging.self] else { throw StanzaError(.resourceConstraint, .wait) }
        account[IsChanging.self] = true
        defer { account[IsChanging.self] = false }
        do {
            // The result goes first, since its stream ends with the account.
            try await host.accounts.remove(account.name) { origin.send(request.iq.result()) }
        } catch AccountError.unknown {
            throw StanzaError.registrationRequired
        }
        host.log.info("Account removed", metadata: ["jid": "\(account.jid)"])
    }

    /// XEP-0077 §3.3.
    private func changePassword(_ request: IQRequest, _ account: Account) async throws {
        let fields = try RegistrationFields(request.query)
        guard let username = fields.username, let password = fields.password, !password.isEmpty else {
            throw StanzaError.badRequest("A username and a new password are needed.")
        }
        // XEP-0077 §3.3 has the localpart in its fields and the bare JID in its form.
        guard Register.username(username) == account.name || JID(username) == account.jid else {
            throw StanzaError.notAllowed("This is another account.")
        }
        try options.check(password: password, username: account.name)
        // Keys take milliseconds to derive: one password of an account at a time.
        guard !account[IsChanging.self] else { throw StanzaError(.resourceConstraint, .wait) }
        account[IsChanging.self] = true
        defer { account[IsChanging.self] = false }
        do {
            try await host.accounts.setPassword(password, of: account.name)
        } catch AccountError.badPassword {
            throw StanzaError.notAcceptable
        } catch AccountError.unknown {
            throw StanzaError.registrationRequired
        }
        host.log.info("Password changed", metadata: ["jid": "\(account.jid)"])
    }

    /// Whether a change of the account is on its way.
    private enum IsChanging: AccountKey {
        static let defaultValue = false
    }
}
