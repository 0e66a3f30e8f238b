@testable import ServerKit
import TestKit
import Testing

/// What the component below was told. Tests of this suite run one after the other.
@ServerActor private var journal: [String] = []

/// A parrot: it repeats what is said to any address of its domain.
private final class Parrot: Module {
    static let info = ModuleInfo(
        "parrot", "Repeats what it hears", scope: .component, subdomain: "zoo", requires: ["ears"])

    struct Options: ModuleOptions {
        let word: String
        let volume: Int
        init(_ config: inout OptionReader) {
            word = config.string("word", default: "Hello", "What it says of its own accord.")
            volume = config.int("volume", default: 3, in: 1...9, "How loud it is.")
        }
    }

    private var options: Options
    init(options: Options) { self.options = options }

    func load(into host: ModuleHost) {
        journal.append("\(host.domain) in")
        host.onUnload { journal.append("\(host.domain) out") }
        host.identify("conference", "text", name: "Parrots", on: .host)
        host.answer(.get, "word", .parrot, on: .host) { _ in Element("word", .parrot, text: self.options.word) }
        host.answer(.get, "secret", .parrot, on: .host, from: .admin) { _ in nil }
        host.answer(.get, "food", .parrot, on: .host, from: .local) { _ in nil }
        host.command(AdHocCommand("feed", "Feed the parrot") { _ in .done(note: "Yum") })
        host.claim(.hostPresence) { event in
            journal.append("\(event.presence.kind) from \(event.presence.from?.description ?? "")")
            return true
        }
        let store = host.store("memory", of: String.self)
        host.claim(.addressArrived) { event in
            switch event.stanza {
            case .message(var message):
                (message.to, message.from) = (message.from, message.to)
                host.router.route(message)
                return true
            case .presence(let presence):
                journal.append("\(presence.kind) for \(presence.to?.description ?? "")")
                return true
            case .iq(let iq):
                guard iq.isRequest, let query = iq.query, query.namespace == .parrot else { return false }
                switch query.name {
                case "say": host.answer(iq) { Element("said", .parrot, text: "\($0.query.text)!") }
                case "remember":
                    host.answer(iq) { request in
                        store.set(request.query.text, for: iq.to?.localpart ?? "")
                        return nil
                    }
                case "recall":
                    host.answer(iq) { _ in
                        Element("said", .parrot, text: try await store.value(for: iq.to?.localpart ?? ""))
                    }
                case "bite": host.answer(iq) { _ in throw StanzaError.notAllowed("Ouch.") }
                default: return false
                }
                return true
            }
        }
    }

    func reconfigure(_ options: Options) -> Bool {
        guard options.volume == self.options.volume else { return false }
        self.options = options
        return true
    }
}

/// Makes sense on any domain.
private final class Ears: Module {
    static let info = ModuleInfo("ears", "Hears", scope: .domain)
    init(options: NoOptions) {}
    func load(into host: ModuleHost) {
        host.answer(.get, "ears", .parrot, on: .host) { _ in Element("ears", .parrot, text: host.domain) }
    }
}

/// Is for hosts with accounts, and brings their messages.
private final class Wings: Module {
    static let info = ModuleInfo("wings", "Carries messages")
    init(options: NoOptions) {}
    func load(into host: ModuleHost) {
        host.claim(.messageArrived) { event in
            event.account.resources.first { $0.jid == event.message.to }?.send(event.message)
            return true
        }
    }
}

extension Namespace {
    fileprivate static let parrot: Namespace = "urn:example:parrot"
}

@Suite("Components: domains that a module serves", .serialized) struct ComponentTests {
    private static let modules: [any Module.Type] = [Parrot.self, Ears.self, Wings.self]
    private let zoo = "components: { zoo.montague.example: { module: parrot } }\n"
    private let hosts = "hosts: { montague.example: {} }\n"
    private let xmlns = "xmlns='urn:example:parrot'"

    @ServerActor private func clear() { journal = [] }

    @Test("A component answers for its domain, with those modules beside it that make sense there")
    func domain() async throws {
        await clear()
        try await play(modules: Self.modules, config: zoo) { stage in
            #expect(stage.server.loadedModules(on: "zoo.montague.example") == ["ears", "parrot"])
            #expect(stage.server.loadedModules(on: "montague.example") == ["ears", "wings"])
            #expect(stage.server.host("zoo.montague.example") == nil)
            #expect(stage.server.allHosts.map(\.domain) == ["capulet.example", "montague.example"])
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let word = try await romeo.asks(.get, "<word \(xmlns)/>", to: "zoo.montague.example")
            #expect(word?.text == "Hello")
            let ears = try await romeo.asks(.get, "<ears \(xmlns)/>", to: "zoo.montague.example")
            #expect(ears?.text == "zoo.montague.example")
            // What the host answers and what the component answers are two things.
            let error = try await romeo.isRefused(.get, "<word \(xmlns)/>", to: "montague.example")
            #expect(error.condition == .serviceUnavailable)
            try await romeo.sends("<presence to='zoo.montague.example'/>")
            try await romeo.sends("<presence to='zoo.montague.example' type='subscribe'/>")
            await stage.settle()
            #expect(journal.suffix(2) == ["available from romeo@montague.example/phone",
                "subscribe from romeo@montague.example/phone"])
            try await romeo.sends("<message to='zoo.montague.example'><body>Who?</body></message>")
            try await romeo.receives("<message type='error' from='zoo.montague.example'/>")
        }
    }

    @Test("Addresses with a localpart go to the module: messages, presence, requests")
    func addresses() async throws {
        await clear()
        try await play(modules: Self.modules, config: zoo) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            try await romeo.sends("<message to='polly@zoo.montague.example/cage'><body>Hi</body></message>")
            try await romeo.receives("<message from='polly@zoo.montague.example/cage'><body>Hi</body></message>")
            try await romeo.sends("<presence to='polly@zoo.montague.example'/>")
            await stage.settle()
            #expect(journal.last == "available for polly@zoo.montague.example")
            let polly = "polly@zoo.montague.example"
            #expect(try await romeo.asks(.get, "<say \(xmlns)>Hi</say>", to: polly)?.text == "Hi!")
            try await romeo.asks(.set, "<remember \(xmlns)>Nuts</remember>", to: polly)
            // Nothing of what it wrote is still on its way when the answer comes.
            #expect(stage.server.storage.committed == stage.server.storage.lastEnqueued)
            #expect(try await romeo.asks(.get, "<recall \(xmlns)/>", to: polly)?.text == "Nuts")
            #expect(try await romeo.isRefused(.set, "<bite \(xmlns)/>", to: polly).condition == .notAllowed)
            // What it does not take is answered as for an account that does not exist.
            #expect(try await romeo.isRefused(.get, "<fly \(xmlns)/>", to: polly).condition == .serviceUnavailable)
            try await romeo.sends("<iq type='result' id='x' to='\(polly)'/>")
            try await stage.staysSilent()
        }
    }

    @Test("Nobody logs in to a component, nor gets an account there")
    func accounts() async throws {
        try await play(modules: Self.modules, config: zoo) { stage in
            let stranger = try await stage.connect(to: "zoo.montague.example")
            try await stranger.sends(
                "<stream:stream to='zoo.montague.example' version='1.0' xmlns='jabber:client'"
                    + " xmlns:stream='http://etherx.jabber.org/streams'>")
            try await stranger.isClosed(with: .hostUnknown)
            let component = try #require(stage.server.component("zoo.montague.example"))
            await #expect(throws: AccountError.self) { try await component.accounts.create("polly", password: "x") }
            #expect(await component.accounts.account("polly") == nil)
        }
    }

    @Test("The administrators of the server are those of its components; local are all users of the server")
    func access() async throws {
        let config = zoo + "admins: [nurse@capulet.example]\n"
            + "hosts: { montague.example: { admins: [abram@montague.example] }, capulet.example: {} }\n"
        try await play(modules: Self.modules, config: config) { stage in
            let nurse = try await stage.enter("nurse@capulet.example/x")
            let abram = try await stage.enter("abram@montague.example/x")
            let zoo = "zoo.montague.example"
            try await nurse.asks(.get, "<secret \(xmlns)/>", to: zoo)
            #expect(try await abram.isRefused(.get, "<secret \(xmlns)/>", to: zoo).condition == .forbidden)
            try await nurse.asks(.get, "<food \(xmlns)/>", to: zoo)
            try await abram.asks(.get, "<food \(xmlns)/>", to: zoo)
            #expect(stage.server.component(zoo)?.allows(.local, from: JID("zoo.montague.example")!) == false)
            #expect(stage.server.component(zoo)?.allows(.local, from: JID("x@elsewhere.example")!) == false)
        }
    }

    @Test("Components come, change and go while clients stay")
    func reload() async throws {
        await clear()
        try await play(modules: Self.modules, config: hosts) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            func word(_ domain: String) async throws -> String? {
                try await romeo.asks(.get, "<word \(xmlns)/>", to: domain)?.text
            }
            try stage.reload(hosts + "components: { zoo.montague.example: { module: parrot, word: Hi } }\n")
            #expect(try await word("zoo.montague.example") == "Hi")
            #expect(journal == ["zoo.montague.example in"])
            // Options that the module takes as they come.
            try stage.reload(hosts + "components: { zoo.montague.example: { module: parrot, word: Ho } }\n")
            #expect(try await word("zoo.montague.example") == "Ho")
            #expect(journal == ["zoo.montague.example in"])
            // Options that want it loaded anew, and a second one; what holds for both is said once.
            try stage.reload(
                hosts + "components: { zoo.montague.example: { module: parrot, volume: 4 },"
                    + " b.example: { module: parrot, word: B } }\nmodules: { parrot: { word: All } }\n")
            #expect(try await word("zoo.montague.example") == "All")
            #expect(try await word("b.example") == "B")
            #expect(journal == ["zoo.montague.example in", "zoo.montague.example out", "zoo.montague.example in",
                "b.example in"])
            try stage.reload(hosts)
            #expect(journal.suffix(2).sorted() == ["b.example out", "zoo.montague.example out"])
            let error = try await romeo.isRefused(.get, "<word \(xmlns)/>", to: "zoo.montague.example")
            #expect(error.condition == .remoteServerNotFound)
            #expect(stage.server.allComponents.isEmpty)
            #expect(romeo.isClosed == false)
        }
    }

    @Test("A domain changes from a component to a host and back")
    func change() async throws {
        let both = "components: { b.example: { module: parrot } }\n" + hosts
        try await play(modules: Self.modules, config: both) { stage in
            try stage.reload("hosts: { montague.example: {}, b.example: {} }\n")
            #expect(stage.server.component("b.example") == nil)
            #expect(stage.server.loadedModules(on: "b.example") == ["ears", "wings"])
            _ = try await stage.enter("polly@b.example/x")
            try stage.reload(both)
            #expect(stage.server.host("b.example") == nil)
            #expect(stage.server.loadedModules(on: "b.example") == ["ears", "parrot"])
        }
    }

    @Test("A component that is taken away leaves no trace in memory")
    func memory() async throws {
        try await play(modules: Self.modules, config: hosts + zoo) { stage in
            weak let component = stage.server.component("zoo.montague.example")
            #expect(component != nil)
            try stage.reload(hosts)
            #expect(component == nil)
        }
    }

    @Test("Wrong components are refused as a whole, with line numbers and a way out", arguments: [
        ("components:\n  z.example:\n    module: parrot\n    wort: Hi",
            "play.yaml:4: components.z.example.wort: no such option. Did you mean \"word\"?"),
        ("components:\n  z.example: { module: parrot, volume: 10 }", "play.yaml:2: components.z.example.volume:"),
        ("components:\n  z.example: { module: wings }", "the module wings serves no domain of its own."),
        ("components:\n  z.example: { module: ears }", "the module ears serves no domain of its own."),
        ("components:\n  z.example: { module: parot }", "there is no module \"parot\". Did you mean \"parrot\"?"),
        ("components:\n  z.example: { module: parrot }\nmodules:\n  parrot: off",
            "play.yaml:2: components.z.example: the module parrot is switched off on line 4."),
        ("components:\n  z.example: { module: parrot }\nmodules:\n  ears: off",
            "play.yaml:2: modules: the module parrot needs the module ears, which is off."),
        ("modules:\n  parrot: on",
            "play.yaml:2: modules.parrot: the module parrot serves a domain of its own, which belongs under"),
        ("components:\n  montague.example: { module: parrot }", "the domain montague.example was given before"),
    ])
    func problems(_ config: String, _ text: String) async throws {
        try await play(modules: Self.modules, config: hosts) { stage in
            let error = #expect(throws: ConfigProblems.self) { try stage.reload(config + "\n" + hosts) }
            #expect("\(error.map { "\($0)" } ?? "")".contains(text), "\(String(describing: error))")
            #expect(stage.server.allComponents.isEmpty)
        }
    }

    @Test("A host's own modules name none that serve domains")
    func misplaced() async throws {
        try await play(modules: Self.modules, config: hosts) { stage in
            let error = #expect(throws: ConfigProblems.self) {
                try stage.reload("hosts:\n  montague.example:\n    modules: { parrot: on }\n")
            }
            #expect("\(error.map { "\($0)" } ?? "")".contains("play.yaml:3: hosts.montague.example.modules.parrot: "))
        }
    }

    @Test("A component is shown by the hosts it belongs to", arguments: [
        ("rooms.a.example", ["a.example", "sub.a.example"]), ("rooms.sub.a.example", ["sub.a.example"]),
        ("x.rooms.a.example", ["a.example", "sub.a.example"]),
        ("rooms.example", ["a.example", "b.example", "sub.a.example"]),
        ("rooms.test", ["a.example", "b.example", "sub.a.example"]),
        ("test", ["a.example", "b.example", "sub.a.example"]),
    ])
    func shown(_ domain: String, _ hosts: [String]) async throws {
        let config = "hosts: { a.example: {}, b.example: {}, sub.a.example: {} }\n"
            + "components: { \(domain): { module: parrot } }\n"
        try await play(modules: Self.modules, config: config) { stage in
            let showing = stage.server.allHosts.filter { host in
                stage.server.components(of: host).contains { $0.domain == domain }
            }
            #expect(showing.map(\.domain) == hosts)
        }
    }

    @Test("Requests of a component are its own, and answered to it")
    func asks() async throws {
        try await play(modules: Self.modules, config: zoo) { stage in
            let component = try #require(stage.server.component("zoo.montague.example"))
            let romeo = try await stage.enter("romeo@montague.example/phone")
            var replies: [IQ.Kind] = []
            let ping = IQ(.get, to: JID("romeo@montague.example/phone"), id: "") { Element("ping", "urn:xmpp:ping") }
            component.ask(ping) { replies.append($0.kind) }
            let asked = try await romeo.receives("<iq type='get' from='zoo.montague.example'/>")
            try await romeo.sends("<iq type='result' to='zoo.montague.example' id='\(asked["id"] ?? "")'/>")
            await stage.settle()
            #expect(replies == [.result])
        }
    }
}
