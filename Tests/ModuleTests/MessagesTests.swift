import ServerKit
import TestKit
import Testing

@testable import Modules

/// As much of presence as these plays need: what a client broadcasts is recorded.
final class StagePresence: Module {
    static let info = ModuleInfo("stage_presence", "Records presence")
    init(options: NoOptions) {}

    func load(into host: ModuleHost) {
        host.claim(.presenceSent) { event in
            guard event.presence.to == nil, let resource = event.origin else { return false }
            resource.setPresence(event.presence.kind == .available ? event.presence : nil)
            return true
        }
    }
}

/// Notes what observers of delivery are told.
final class StageObserver: Module {
    static let info = ModuleInfo("stage_observer", "Watches delivery")
    private static var notes: [String] = []
    init(options: NoOptions) { Self.notes = [] }

    static func read() -> [String] {
        defer { notes = [] }
        return notes
    }

    func load(into host: ModuleHost) {
        host.observe(.messageDelivered) { event in
            guard event.account.name == "juliet" else { return }
            let resources = event.reached.compactMap(\.jid.resourcepart).sorted().joined(separator: ",")
            Self.notes.append("\(event.message.body ?? "-"): \(resources)")
        }
    }
}

@Suite("Message delivery (RFC 6121 §8.5)", .serialized) struct MessagesTests {
    /// Who of Juliet's clients are there, with their priorities; nil has sent no presence.
    enum Scene: String, CaseIterable {
        case nobody, connected, negative, one, many

        var resources: [(name: String, priority: Int?)] {
            switch self {
            case .nobody: []
            case .connected: [("silent", nil)]
            case .negative: [("bot", -1)]
            case .one: [("balcony", 0)]
            case .many: [("balcony", 0), ("chamber", 5), ("bot", -1), ("silent", nil)]
            }
        }
    }

    struct Case: CustomStringConvertible {
        let scene: Scene
        let address: String
        let kind: String
        /// The resources that get it, in order; "error" if it is returned; empty for silence.
        let outcome: String
        var description: String { "\(kind) to \(address.isEmpty ? "bare JID" : address), \(scene)" }
    }

    static let cases: [Case] = {
        /// The outcomes for normal, chat, groupchat, headline, error.
        let rows: [(Scene, String, [String])] = [
            (.nobody, "", ["error", "error", "error", "", ""]),
            (.nobody, "/gone", ["error", "error", "error", "", ""]),
            (.connected, "", ["error", "error", "error", "", ""]),
            (.connected, "/silent", ["silent", "silent", "silent", "silent", "silent"]),
            (.connected, "/gone", ["error", "error", "error", "", ""]),
            (.negative, "", ["error", "error", "error", "", ""]),
            (.negative, "/bot", ["bot", "bot", "bot", "bot", "bot"]),
            (.negative, "/gone", ["error", "error", "error", "", ""]),
            (.one, "", ["balcony", "balcony", "error", "balcony", ""]),
            (.one, "/balcony", ["balcony", "balcony", "balcony", "balcony", "balcony"]),
            (.one, "/gone", ["error", "balcony", "error", "", ""]),
            (.many, "", ["balcony,chamber", "balcony,chamber", "error", "balcony,chamber", ""]),
            (.many, "/chamber", ["chamber", "chamber", "chamber", "chamber", "chamber"]),
            (.many, "/bot", ["bot", "bot", "bot", "bot", "bot"]),
            (.many, "/silent", ["silent", "silent", "silent", "silent", "silent"]),
            (.many, "/gone", ["error", "balcony,chamber", "error", "", ""]),
        ]
        let kinds = ["normal", "chat", "groupchat", "headline", "error"]
        return rows.flatMap { scene, address, outcomes in
            zip(kinds, outcomes).map { Case(scene: scene, address: address, kind: $0, outcome: $1) }
        }
    }()

    @Test("Each message goes where the table in §8.5.4 says", arguments: Scene.allCases)
    func table(scene: Scene) async throws {
        try await play(modules: [Messages.self, StagePresence.self, StageObserver.self]) { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            try await stage.account("juliet@capulet.example")
            var clients: [(name: String, actor: Actor)] = []
            for (name, priority) in scene.resources {
                let jid = "juliet@capulet.example/\(name)"
                let content = priority.map { "<priority>\($0)</priority>" } ?? ""
                clients.append((name, try await stage.enter(jid, presence: priority != nil, with: content)))
            }
            _ = StageObserver.read()
            for test in Self.cases where test.scene == scene {
                let to = "juliet@capulet.example" + test.address
                try await romeo.sends("<message to='\(to)' type='\(test.kind)' id='m'><body>Hark</body></message>")
                var reached: [String] = []
                for client in clients {
                    guard let got = await client.actor.everything().first else { continue }
                    reached.append(client.name)
                    // RFC 6121 §8.5.2.1.1: the address is not rewritten.
                    #expect(got["to"] == to && got["from"] == "romeo@montague.example/orchard", "\(test)")
                    #expect(got["type"] == (test.kind == "normal" ? nil : test.kind), "\(test)")
                }
                let answers = await romeo.everything()
                let expected = test.outcome == "error" ? "" : test.outcome
                #expect(reached.joined(separator: ",") == expected, "\(test)")
                #expect(answers.count == (test.outcome == "error" ? 1 : 0), "\(test)")
                if let answer = answers.first {
                    #expect(answer["type"] == "error" && answer["from"] == to && answer["id"] == "m", "\(test)")
                    #expect(StanzaError(answer.child("error") ?? Element("error")) == .serviceUnavailable, "\(test)")
                }
                // Observers learn who got it, and hear nothing of what nobody got.
                #expect(StageObserver.read() == (expected.isEmpty ? [] : ["Hark: \(expected)"]), "\(test)")
            }
        }
    }

    @Test(
        "Messages to nobody are returned, but headlines and errors are not",
        arguments: [("normal", true), ("chat", true), ("groupchat", true), ("headline", false), ("error", false)])
    func noSuchUser(kind: String, isReturned: Bool) async throws {
        try await play(modules: [Messages.self]) { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            for to in ["nobody@capulet.example", "nobody@capulet.example/gone"] {
                try await romeo.sends("<message to='\(to)' type='\(kind)'><body>Hark</body></message>")
                if isReturned {
                    let error = try await romeo.receives("<message from='\(to)' type='error'/>")
                    #expect(StanzaError(error.child("error") ?? Element("error")) == .serviceUnavailable)
                }
                try await stage.staysSilent()
            }
        }
    }

    @Test("An unknown type counts as normal, and a message without an address is for the own account")
    func oddities() async throws {
        try await play(modules: [Messages.self, StagePresence.self]) { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            try await romeo.sends("<message to='romeo@montague.example' type='bogus'><body>1</body></message>")
            try await romeo.receives("<message><body>1</body></message>")
            // RFC 6120 §10.3.1.
            try await romeo.sends("<message type='chat'><body>2</body></message>")
            try await romeo.receives("<message to='romeo@montague.example' type='chat'><body>2</body></message>")
            // An error to an address that is not there is not answered, and neither is the answer to the answer.
            try await romeo.sends("<message to='romeo@montague.example/gone' type='error'><error/></message>")
            try await romeo.sends("<message to='romeo@montague.example/gone'><error/><body>3</body></message>")
            try await romeo.receives("<message type='error' from='romeo@montague.example/gone'/>")
            try await stage.staysSilent()
        }
    }

    @Test("A claimed message is not returned, and observers hear of it")
    func claimed() async throws {
        try await play(modules: [Messages.self, StageKeeper.self, StageObserver.self]) { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            try await stage.account("juliet@capulet.example")
            _ = StageObserver.read()
            try await romeo.sends("<message to='juliet@capulet.example'><body>keep</body></message>")
            try await romeo.sends("<message to='juliet@capulet.example'><body>no</body></message>")
            try await romeo.receives("<message type='error'><body>no</body></message>")
            try await stage.staysSilent()
            #expect(StageObserver.read() == ["keep: "])
        }
    }

    @Test("What arrives while an account is suspended comes afterwards, in order, and not without limit")
    func suspended() async throws {
        try await play(modules: [Messages.self, StagePresence.self]) { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            guard let account = juliet.resource?.account else { return }
            account.suspend()
            account.suspend()
            for number in 1...1_001 {
                try await romeo.sends("<message to='juliet@capulet.example/balcony' id='\(number)'/>")
            }
            let refused = try await romeo.receives("<message type='error' id='1001'/>")
            #expect(StanzaError(refused.child("error") ?? Element("error")).condition == .resourceConstraint)
            account.resume()
            try await stage.staysSilent()
            account.resume()
            let got = await juliet.everything()
            #expect(got.map { $0["id"] } == (1...1_000).map { "\($0)" })
            try await romeo.sends("<message to='juliet@capulet.example' id='more'/>")
            try await juliet.receives("<message id='more'/>")
            // More than was suspended does no harm.
            account.resume()
            try await romeo.sends("<message to='juliet@capulet.example' id='last'/>")
            try await juliet.receives("<message id='last'/>")
        }
    }
}

/// Keeps what asks for it.
private final class StageKeeper: Module {
    static let info = ModuleInfo("stage_keeper", "Keeps messages")
    init(options: NoOptions) {}

    func load(into host: ModuleHost) {
        host.claim(.messageUndelivered) { $0.message.body == "keep" }
    }
}
