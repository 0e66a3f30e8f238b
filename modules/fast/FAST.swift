import ServerKit

/// FAST (XEP-0484): a client that has logged in once gets a token, with which it logs in from then on, in one round
/// trip and without its password.
final class FAST: Module {
    static let info = ModuleInfo(
        "fast", "Gives clients tokens, with which they log in quickly from then on",
        implements: [.xep(484, "0.2.0")],
        requires: ["sasl2"])

    struct Options: ModuleOptions {
        let lifetime: Duration
        let rotation: Duration
        let clients: Int

        init(_ config: inout OptionReader) {
            lifetime = config.duration(
                "lifetime", default: .days(30), in: .minutes(10)...(.days(366)),
                "How long a client may stay away and still log in with its token.")
            rotation = config.duration(
                "rotation", default: .days(1), in: .minutes(1)...(.days(366)),
                "After what time a token is replaced when it is used.")
            clients = config.int(
                "clients", default: 20, in: 1...1_000,
                "Clients of an account that may have a token; with one more, the one that was away longest loses its.")
            if rotation > lifetime { config.report("rotation", "tokens must be replaced before they expire.") }
        }
    }

    private let options: Options

    init(options: Options) {
        self.options = options
    }

    func load(into host: ModuleHost) {
        // Guests have no account to come back to.
        guard !host.host.isAnonymous else { return }
        host.provide((any TokenAuthority).self, TokenKeeper(host: host, options: options))
    }
}

extension Namespace {
    static let fast: Namespace = "urn:xmpp:fast:0"
}
