import TestKit

@testable import MUC
@testable import Modules
@testable import ServerKit

/// Makes a domain that is on stage without a host.
private final class Domain: Module {
    static let info = ModuleInfo("elsewhere", "Another server.", scope: .component)
    init(options: NoOptions) {}
    func load(into host: ModuleHost) {}
}

/// Another server in a play, and its users.
@ServerActor
final class Elsewhere {
    nonisolated static let domain = "verona.example"

    /// What arrived, requests of rooms aside.
    private(set) var inbox: [Stanza] = []
    /// The requests of rooms.
    private(set) var requests: [IQ] = []
    /// What becomes of everything that arrives; nil to take it.
    var error: StanzaError?
    /// How a client answers requests; nil for a client that says nothing.
    var answer: ((IQ) -> IQ?)? = { $0.result() }
    private let stage: Stage

    init(_ stage: Stage) {
        self.stage = stage
        attach()
    }

    private var host: Host? { stage.server.component(Self.domain) }

    /// Takes its place on the stage again, after a restart.
    func attach() {
        _ = host?.hooks.list(.addressArrived).claim(rank: 0) { event in
            self.receive(event.stanza)
            return true
        }
    }

    private func receive(_ stanza: Stanza) {
        if let error { return stage.server.router.bounce(stanza, error) }
        guard case .iq(let iq) = stanza, iq.isRequest else { return inbox.append(stanza) }
        requests.append(iq)
        if let reply = answer?(iq) { stage.server.router.route(reply) }
    }

    /// Sends a stanza, whose `from` says who does.
    func sends(_ xml: String) async throws {
        guard let stanza = try Stanza.parse(Element.parse(xml)) else {
            throw StageError("No stanza: \(xml)", file: #fileID, line: #line)
        }
        stage.server.router.route(stanza)
        await stage.settle()
    }

    /// A user enters a room.
    func enters(_ room: String = coven, as nick: String, from jid: String) async throws {
        try await sends(
            "<presence from='\(jid)' to='\(room)/\(nick)'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
    }

    /// What arrived since it was asked last.
    func takes() async -> [Element] {
        await stage.settle()
        defer { (inbox, requests) = ([], []) }
        return inbox.map(\.element)
    }
}

/// A play with rooms and with another server.
func playWithOthers(
    _ options: String = "", _ body: @escaping @ServerActor @Sendable (Stage, Elsewhere) async throws -> Void
) async throws {
    let config = """
        hosts: { montague.example: {}, capulet.example: {} }
        components:
          \(conference): { module: muc\(options.isEmpty ? "" : ", \(options)") }
          \(Elsewhere.domain): { module: elsewhere }

        """
    try await play(modules: roomModules + [Domain.self], config: config) { try await body($0, Elsewhere($0)) }
}

/// The texts of messages.
func bodies(_ elements: [Element]) -> [String] { elements.compactMap { $0.text(of: "body") } }

extension Stage {
    /// The service of the play, for a look behind the scenes.
    var rooms: Rooms? { server.component(conference)?.service(Rooms.self) }
}
