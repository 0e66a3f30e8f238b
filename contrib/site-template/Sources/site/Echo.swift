import ServerKit

/// Sends messages to the host back to where they came from.
final class Echo: Module {
    static let info = ModuleInfo("echo", "Sends messages to the host back", group: .optional)

    struct Options: ModuleOptions {
        let prefix: String

        init(_ config: inout OptionReader) {
            prefix = config.string("prefix", default: "", "What stands in front of what is sent back.")
        }
    }

    private let options: Options

    init(options: Options) {
        self.options = options
    }

    func load(into host: ModuleHost) {
        host.claim(.hostMessage) { self.answer($0) }
    }

    /// Takes the messages that have a body. Errors are never answered: RFC 6120 §8.3.1.
    private func answer(_ event: HostMessageEvent) -> Bool {
        guard event.message.kind != .error, let sender = event.message.from, let body = event.message.body else {
            return false
        }
        event.host.router.route(
            Message(to: sender, from: event.host.jid, kind: event.message.kind) {
                Element("body", text: options.prefix + body)
            })
        return true
    }
}
