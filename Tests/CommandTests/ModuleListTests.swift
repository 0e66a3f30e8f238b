import ServerKit
import Testing

@testable import MartletCommand

private final class Rooms: Module {
    static let info = ModuleInfo("rooms", "Rooms", scope: .component, subdomain: "conference")
    struct Options: ModuleOptions {
        init(_ config: inout OptionReader) { _ = config.int("size", default: 50, in: 1...100, "How many fit in.") }
    }
    init(options: Options) {}
    func load(into host: ModuleHost) {}
}

private final class Ears: Module {
    static let info = ModuleInfo("ears", "Hears", scope: .domain)
    init(options: NoOptions) {}
    func load(into host: ModuleHost) {}
}

private final class Wings: Module {
    static let info = ModuleInfo("wings", "Flies")
    init(options: NoOptions) {}
    func load(into host: ModuleHost) {}
}

@Suite("What the manual says about components") struct ModuleListTests {
    private let modules: [any Module.Type] = [Rooms.self, Ears.self, Wings.self]

    @Test("The list shows what each host and component has")
    func list() throws {
        let config = "hosts: { a.example: {} }\ncomponents: { rooms.a.example: { module: rooms } }\n"
        let (configuration, problems) = ServerConfiguration.read(
            bytes: Array(config.utf8), file: "f.yaml", listeners: ServerConfiguration.knownListeners)
        #expect(problems.isEmpty)
        let rows = ModulesList.rows(modules, configuration)
        let on = rows.map { row in "\(row.name): \(row.isOn.filter(\.value).keys.sorted().joined(separator: ", "))" }
        #expect(on == ["ears: a.example, rooms.a.example", "rooms: rooms.a.example", "wings: a.example"])
        #expect(rows.map(\.isComponent) == [false, true, false])
    }

    @Test("Manual and sample say where a component's options belong")
    func manual() throws {
        let text = ModuleManual(Rooms.self).text
        #expect(text.contains("Serves a domain of its own, named under \"components:\""))
        #expect(text.contains("\"components: { conference.example.org: { module: rooms, … } }\""))
        #expect(ModuleManual(Rooms.self).markdown.contains("Rooms. Serves a domain of its own"))
        #expect(ModuleManual(Wings.self).markdown.contains("Flies. On by default."))
        let sample = SampleConfiguration(modules: modules).text
        #expect(sample.contains("\ncomponents:\n  # Rooms.\n  conference.example.org:\n    module: rooms\n"))
        #expect(!sample.contains("\n  #rooms:"))
        // Without modules of that kind the option stands there as it is.
        #expect(SampleConfiguration(modules: [Wings.self]).text.contains("\n#components:"))
    }
}
