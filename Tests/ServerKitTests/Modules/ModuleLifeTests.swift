@testable import ServerKit
import TestKit
import Testing

/// What the modules below did, in order. Tests of this suite run one after the other.
@ServerActor private var journal: [String] = []

/// Registers one of everything.
@ServerActor private func register(_ name: String, _ host: ModuleHost) {
    host.onUnload { journal.append("\(name) out") }
    journal.append("\(name) in")
    host.filter(.messageSent) { _ in
        journal.append("\(name) filter")
        return .pass
    }
    host.transform(.messageSent) { event in
        event.message.payload["seen"] = (event.message.payload["seen"] ?? "") + name
    }
    host.claim(.messageSent) { event in
        journal.append("\(name) claim")
        return event.message.id == name
    }
    host.observe(.messageSent) { journal.append("\(name) observe \($0.message.payload["seen"] ?? "")") }
    host.advertise(Namespace("urn:example:\(name)"), on: .host)
    host.advertise("urn:example:shared", on: .host)
    host.identify("test", name, on: .host)
    host.onConfigurationChange { journal.append("\(name) changed") }
    host.every(.seconds(10)) { journal.append("\(name) tick") }
    host.after(.seconds(15)) { journal.append("\(name) once") }
    host.answer(.get, name, "urn:example:letters") { _ in Element(name, "urn:example:letters") }
    host.streamElement(name, "urn:example:letters") { _, _ throws(StreamError) in }
    host.streamFeature { _ in Element(name, "urn:example:letters") }
}

private final class A: Module {
    static let info = ModuleInfo("a", "First by name, after c", after: ["c"])
    init(options: NoOptions) {}
    func load(into host: ModuleHost) { register("a", host) }
}

private final class B: Module {
    static let info = ModuleInfo("b", "Second", requires: ["c"])
    struct Options: ModuleOptions {
        let size: Int
        let colour: String
        init(_ config: inout OptionReader) {
            size = config.int("size", default: 1, in: 1...9, "How large.")
            colour = config.string("colour", default: "red", "Which colour.")
        }
    }
    private var options: Options
    init(options: Options) { self.options = options }
    func load(into host: ModuleHost) { register("b", host) }
    func reconfigure(_ options: Options) -> Bool {
        journal.append("b size \(options.size)")
        guard options.colour == self.options.colour else { return false }
        self.options = options
        return true
    }
}

private final class C: Module {
    static let info = ModuleInfo("c", "Third")
    init(options: NoOptions) {}
    func load(into host: ModuleHost) { register("c", host) }
}

/// Answers what `a` answers.
private final class Rival: Module {
    static let info = ModuleInfo("rival", "Answers twice", after: ["a"])
    init(options: NoOptions) {}
    func load(into host: ModuleHost) {
        host.advertise("urn:example:rival", on: .host)
        host.answer(.get, "a", "urn:example:letters") { _ in nil }
    }
}

private final class Broken: Module {
    static let info = ModuleInfo("broken", "Does not load", defaultOn: false)
    init(options: NoOptions) {}
    func load(into host: ModuleHost) throws {
        register("broken", host)
        throw ModuleError("The moon is full.")
    }
    func unload() { journal.append("broken unload") }
}

@Suite("Modules come, change and go", .serialized) struct ModuleLifeTests {
    private let one = "hosts: { montague.example: {} }\n"

    @ServerActor private func clear() { journal = [] }

    private func letters(_ stage: Stage) async throws -> String {
        await clear()
        let romeo = try await stage.enter("romeo@montague.example/phone", presence: false)
        try await romeo.sends("<message to='romeo@montague.example' id='b'/>")
        await stage.settle()
        await romeo.leaves()
        return await journal.joined(separator: ", ")
    }

    @Test("Within a verb, modules run after those they need or name, otherwise by name; the first taker wins")
    func order() async throws {
        try await play(modules: [A.self, B.self, C.self], config: one) { stage in
            // Whoever claims a message keeps it from those who observe what is sent.
            #expect(try await letters(stage) == "c filter, a filter, b filter, c claim, a claim, b claim")
            let romeo = try await stage.enter("romeo@montague.example/phone", presence: false)
            journal = []
            try await romeo.sends("<message to='romeo@montague.example' id='x'/>")
            await stage.settle()
            #expect(journal.suffix(3) == ["c observe cab", "a observe cab", "b observe cab"])
        }
    }

    @Test("The order holds when a module comes later")
    func orderAfterReload() async throws {
        let config = one + "modules: { a: off, b: on, c: on }\n"
        try await play(modules: [A.self, B.self, C.self], config: config) { stage in
            #expect(try await letters(stage) == "c filter, b filter, c claim, b claim")
            try stage.reload(one + "modules: { a: on, b: on, c: on }\n")
            #expect(try await letters(stage) == "c filter, a filter, b filter, c claim, a claim, b claim")
        }
    }

    @Test("Unloading takes everything back, those who need others before those they need")
    func unloading() async throws {
        try await play(modules: [A.self, B.self, C.self], config: one) { stage in
            let host = try #require(stage.server.host("montague.example"))
            journal = []
            try stage.reload(one + "modules: { a: off, b: off, c: off }\n")
            #expect(journal == ["b out", "a out", "c out"])
            #expect(host.disco.features(of: .host).isEmpty)
            #expect(host.disco.identities(of: .host).isEmpty)
            #expect(host.negotiation.handler(for: Element("a", "urn:example:letters")) == nil)
            await stage.advance(by: .seconds(60))
            #expect(journal.count == 3)
            #expect(try await letters(stage).isEmpty)
            let romeo = try await stage.enter("romeo@montague.example/phone", presence: false)
            let error = try await romeo.isRefused(.get, "<a xmlns='urn:example:letters'/>")
            #expect(error.condition == .serviceUnavailable)
            let wire = Wire(stage.server)
            #expect(wire.says(Wire.header()).contains("<stream:features/>"))
        }
    }

    @Test("A feature that two modules advertise stays until both are gone")
    func sharedFeature() async throws {
        try await play(modules: [A.self, B.self, C.self], config: one) { stage in
            let host = try #require(stage.server.host("montague.example"))
            try stage.reload(one + "modules: { a: off, b: on, c: on }\n")
            let features = host.disco.features(of: .host).map(\.uri)
            #expect(features == ["urn:example:b", "urn:example:c", "urn:example:shared"])
        }
    }

    @Test("Timers run until the module goes, and reload tells who asked")
    func timers() async throws {
        try await play(modules: [C.self], config: one) { stage in
            journal = []
            await stage.advance(by: .seconds(30))
            #expect(journal == ["c tick", "c once", "c tick", "c tick"])
            try stage.reload(one)
            #expect(journal.last == "c changed")
        }
    }

    @Test("Changed options go to the module, or it is loaded anew; unchanged ones do nothing")
    func options() async throws {
        try await play(modules: [B.self, C.self], config: one + "modules: { c: on, b: { size: 2 } }\n") { stage in
            journal = []
            try stage.reload(one + "modules: { c: on, b: { size: 2 } }\n")
            #expect(journal == ["b changed", "c changed"] || journal == ["c changed", "b changed"])
            journal = []
            try stage.reload(one + "modules: { c: on, b: { size: 3 } }\n")
            #expect(journal.filter { !$0.hasSuffix("changed") } == ["b size 3"])
            journal = []
            try stage.reload(one + "modules: { c: on, b: { size: 3, colour: blue } }\n")
            #expect(journal.filter { !$0.hasSuffix("changed") } == ["b size 3", "b out", "b in"])
        }
    }

    @Test("Wrong configurations are refused as a whole, with a way out", arguments: [
        ("modules: { c: on, b: { sise: 3 } }", "modules.b.sise: no such option. Did you mean \"size\"?"),
        ("components: { rooms.example.org: { module: b } }", "rooms.example.org: the module b serves no domain of its own."),
        ("modules: { c: on, b: { size: 10 } }", "modules.b.size: "),
        ("modules: { c: on, bb: on }", "modules.bb: no such module."),
        ("modules: { c: off }", "the module b needs the module c, which is off."),
    ])
    func problems(_ config: String, _ text: String) async throws {
        try await play(modules: [B.self, C.self], config: one) { stage in
            let error = #expect(throws: ConfigProblems.self) { try stage.reload(one + config + "\n") }
            #expect("\(error.map { "\($0)" } ?? "")".contains(text), "\(String(describing: error))")
            #expect(stage.server.loadedModules(on: "montague.example") == ["b", "c"])
        }
    }

    @Test("Two answers to one payload are an error that names both modules; the second leaves nothing")
    func rivals() async throws {
        try await play(modules: [A.self, Rival.self], config: one + "modules: { rival: off }\n") { stage in
            let error = #expect(throws: ModuleError.self) { try stage.reload(one + "modules: { rival: on }\n") }
            let text = error?.description ?? ""
            #expect(text.contains("The modules a and rival both answer"), "\(text)")
            #expect(stage.server.loadedModules(on: "montague.example") == ["a"])
            let features = stage.server.host("montague.example")?.disco.features(of: .host).map(\.uri)
            #expect(features == ["urn:example:a", "urn:example:shared"])
            let romeo = try await stage.enter("romeo@montague.example/phone", presence: false)
            #expect(try await romeo.asks(.get, "<a xmlns='urn:example:letters'/>")?.name == "a")
        }
    }

    @Test("A module that cannot load leaves nothing, and does not keep the others from what was asked")
    func broken() async throws {
        try await play(modules: [A.self, Broken.self, C.self], config: one + "modules: { c: off }\n") { stage in
            journal = []
            let error = #expect(throws: ModuleError.self) {
                try stage.reload(
                    "hosts: { montague.example: {}, capulet.example: {} }\nmodules: { broken: on, c: on }\n")
            }
            let text = error?.description ?? ""
            #expect(text.contains("broken cannot be loaded on montague.example: The moon is full."))
            #expect(journal.contains("broken out") && journal.contains("broken unload"))
            for host in ["montague.example", "capulet.example"] {
                #expect(stage.server.loadedModules(on: host) == ["a", "c"])
                #expect(stage.server.host(host)?.disco.features(of: .host).contains("urn:example:broken") == false)
            }
        }
    }

    @Test("A server that cannot start says why, and leaves nothing")
    func brokenStart() async throws {
        await clear()
        await #expect(throws: ModuleError.self) {
            try await play(modules: [C.self, Broken.self], config: one + "modules: { broken: on }\n") { _ in }
        }
        #expect(await journal.last == "c out")
    }
}
