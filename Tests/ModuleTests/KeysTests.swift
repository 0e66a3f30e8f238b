import PubSub
import ServerKit
import TestKit
import Testing

@testable import Modules

@Suite("Key care") struct KeysTests {
    private static let modules: [any Module.Type] = [
        Disco.self, Caps.self, Roster.self, PresenceExchange.self, Messages.self, Offline.self, Commands.self,
        PubSub.self, Keys.self,
    ]
    private static let romeo = "romeo@montague.example"
    private static let legacy = "eu.siacs.conversations.axolotl.devicelist"
    private static let omemo2 = "urn:xmpp:omemo:2:devices"

    private static func config(_ keys: String) -> String {
        let others = modules.dropLast().map { "  \($0.info.name): on\n" }.joined()
        return "modules:\n\(others)  keys: \(keys)\n"
    }

    private static func perform(
        _ keys: String = "on", _ body: @escaping @ServerActor @Sendable (Stage, TestKit.Actor) async throws -> Void
    ) async throws {
        try await TestKit.play(modules: modules, config: config(keys)) { stage in
            try await body(stage, try await stage.enter(romeo + "/phone"))
        }
    }

    private static func list(_ ids: [String]) -> String {
        "<list xmlns='eu.siacs.conversations.axolotl'>" + ids.map { "<device id='\($0)'/>" }.joined() + "</list>"
    }

    private static func devices(_ ids: [String]) -> String {
        "<devices xmlns='urn:xmpp:omemo:2'>" + ids.map { "<device id='\($0)' label='x'/>" }.joined() + "</devices>"
    }

    private static func legacyBundle(keys: Int) -> String {
        let preKeys = (0..<keys).map { "<preKeyPublic preKeyId='\($0)'>AAAA</preKeyPublic>" }.joined()
        return "<bundle xmlns='eu.siacs.conversations.axolotl'><identityKey>AA==</identityKey>"
            + "<prekeys>\(preKeys)</prekeys></bundle>"
    }

    private static func bundle(keys: Int) -> String {
        let preKeys = (0..<keys).map { "<pk id='\($0)'>AAAA</pk>" }.joined()
        return "<bundle xmlns='urn:xmpp:omemo:2'><ik>AA==</ik><prekeys>\(preKeys)</prekeys></bundle>"
    }

    @ServerActor
    private static func report(_ stage: Stage) async throws -> KeyLogReport {
        let host = try #require(stage.server.host("montague.example"))
        let logs = try #require(host.service((any KeyLogs).self))
        return try await logs.report(of: "romeo")
    }

    /// The bodies of the messages that the host sent.
    @ServerActor
    private static func notices(_ actor: TestKit.Actor) async -> [String] {
        await actor.everything().filter { $0.name == "message" && $0["from"] == "montague.example" }
            .compactMap { $0.text(of: "body") }
    }

    @Test("Every change of a list is recorded, and nothing else, restarts included")
    func recorded() async throws {
        try await Self.perform { stage, romeo in
            try await romeo.publishes(Self.list(["4223", "31415"]), id: "current", at: Self.legacy)
            try await romeo.publishes(Self.list(["31415", "4223", "4223", "x", "-1"]), id: "current", at: Self.legacy)
            try await romeo.publishes(Self.devices(["7"]), id: "current", at: Self.omemo2)
            try await stage.restart()
            let again = try await stage.enter(Self.romeo + "/laptop")
            try await again.publishes(Self.list(["4223", "5"]), id: "current", at: Self.legacy)
            try await again.owns("delete", Self.omemo2)
            let report = try await Self.report(stage)
            #expect(report.problem == nil)
            #expect(report.entries.map(\.number) == [1, 2, 3, 4])
            #expect(report.entries.map(\.added) == [["4223", "31415"], ["7"], ["5"], []])
            #expect(report.entries.map(\.removed) == [[], [], ["31415"], ["7"]])
            #expect(report.entries.map(\.node) == [Self.legacy, Self.omemo2, Self.legacy, Self.omemo2])
            #expect(report.entries[0].publisher == Self.romeo + "/phone")
            #expect(report.entries[2].publisher == Self.romeo + "/laptop")
            #expect(report.entries[0].previous == "" && report.entries[1].previous == report.entries[0].hash)
            #expect(report.head == report.entries[3].hash)
            #expect(report.devices[Self.legacy] == ["5", "4223"] && report.devices[Self.omemo2] == [])
        }
    }

    @Test("Whatever is done to a log is found out")
    func tampering() async throws {
        var entries: [KeyLogEntry] = []
        for number in 1...5 {
            entries.append(
                KeyLogEntry(
                    number: number, time: "2026-01-01T00:00:00Z", node: Self.legacy, added: ["\(number)"], removed: [],
                    publisher: Self.romeo, previous: entries.last?.hash ?? ""))
        }
        let head = KeyLog.Head(number: 5, hash: entries[4].hash, devices: [Self.legacy: ["1", "2", "3", "4", "5"]])
        #expect(KeyLog.problem(in: entries, head) == nil)
        #expect(KeyLog.problem(in: [], KeyLog.Head()) == nil)
        var without = entries
        without.remove(at: 2)
        var swapped = entries
        swapped.swapAt(1, 2)
        var forged = entries
        forged[2] = KeyLogEntry(
            number: 3, time: "2026-01-01T00:00:00Z", node: Self.legacy, added: ["666"], removed: [],
            publisher: Self.romeo, previous: entries[1].hash)
        let longer = entries + [
            KeyLogEntry(
                number: 6, time: "t", node: Self.legacy, added: ["6"], removed: [], publisher: "p",
                previous: entries[4].hash)
        ]
        for other in [without, swapped, forged, Array(entries.dropLast()), [], longer] {
            #expect(KeyLog.problem(in: other, head) != nil)
        }
        var otherHead = head
        otherHead.devices[Self.legacy]?.append("666")
        #expect(KeyLog.problem(in: entries, otherHead) != nil)
    }

    @Test("What was changed on disk is found out, by command too")
    func tamperingOnDisk() async throws {
        try await Self.perform { stage, romeo in
            try await romeo.publishes(Self.list(["1"]), id: "current", at: Self.legacy)
            try await romeo.publishes(Self.list(["1", "2"]), id: "current", at: Self.legacy)
            let store = stage.server.storage.archive("keys", on: "montague.example", of: KeyLogEntry.self)
            let last = try #require(try await store.last(of: "romeo"))
            let forged = KeyLogEntry(
                number: 2, time: last.value.time, node: Self.legacy, added: ["3"], removed: [],
                publisher: last.value.publisher, previous: last.value.previous)
            store.append(NewArchiveItem(id: last.id, time: last.time, value: forged), to: "romeo")
            await stage.settle()
            #expect(try await Self.report(stage).problem != nil)
            let answer = try await romeo.asks(
                .set, "<command xmlns='http://jabber.org/protocol/commands' node='urn:martlet:keys'/>",
                to: "montague.example")
            let form = try DataForm(try #require(answer?.child("x", .dataForms)))
            #expect(form["verdict"]?.value?.contains("tampered") == true)
        }
    }

    @Test("The owner is told of a new device, not of the first list, and once for both versions")
    func told() async throws {
        try await Self.perform { stage, romeo in
            try await romeo.publishes(Self.list(["1"]), id: "current", at: Self.legacy)
            try await romeo.publishes(Self.devices(["1"]), id: "current", at: Self.omemo2)
            #expect(await Self.notices(romeo).isEmpty)
            let laptop = try await stage.enter(Self.romeo + "/laptop")
            try await laptop.publishes(Self.list(["1", "99"]), id: "current", at: Self.legacy)
            try await laptop.publishes(Self.devices(["1", "99"]), id: "current", at: Self.omemo2)
            let told = await Self.notices(romeo)
            #expect(told.count == 1)
            #expect(told.first?.contains("99") == true && told.first?.contains("Your client \"laptop\"") == true)
            // One that went and comes back is new again; one that goes is no news.
            _ = await laptop.everything()
            try await laptop.publishes(Self.list(["1"]), id: "current", at: Self.legacy)
            try await laptop.publishes(Self.devices(["1"]), id: "current", at: Self.omemo2)
            #expect(await Self.notices(romeo).isEmpty)
            try await laptop.publishes(Self.devices(["1", "99", "100"]), id: "current", at: Self.omemo2)
            let again = await Self.notices(romeo)
            #expect(again.count == 1 && again.first?.contains("99, 100") == true)
        }
    }

    @Test("Who is away reads it later; who does not want it is not told")
    func away() async throws {
        try await Self.perform { stage, romeo in
            let laptop = try await stage.enter(Self.romeo + "/laptop", presence: false)
            try await laptop.publishes(Self.list(["1"]), id: "current", at: Self.legacy)
            await romeo.leaves()
            try await laptop.publishes(Self.list(["1", "2"]), id: "current", at: Self.legacy)
            await stage.settle()
            let phone = try await stage.enter(Self.romeo + "/phone", presence: false)
            try await phone.sends("<presence/>")
            #expect(await Self.notices(phone).count == 1)
            try stage.reload(Self.config("{ notify: off }"))
            try await laptop.publishes(Self.list(["1", "2", "3"]), id: "current", at: Self.legacy)
            #expect(await Self.notices(phone).isEmpty)
            #expect(try await Self.report(stage).entries.count == 3)
        }
    }

    @Test("Devices without keys are noticed, once, and again when they lose them")
    func keyless() async throws {
        try await Self.perform { stage, romeo in
            // The client publishes the list first and the keys later, as clients do.
            try await romeo.publishes(Self.list(["1", "2", "3"]), id: "current", at: Self.legacy)
            try await romeo.publishes(Self.devices(["1", "4"]), id: "current", at: Self.omemo2)
            _ = await romeo.everything()
            let bundles = "eu.siacs.conversations.axolotl.bundles:"
            try await romeo.publishes(Self.legacyBundle(keys: 3), id: "current", at: bundles + "1")
            try await romeo.publishes(Self.legacyBundle(keys: 0), id: "current", at: bundles + "2")
            try await romeo.publishes(Self.bundle(keys: 2), id: "1", at: "urn:xmpp:omemo:2:bundles")
            #expect(await Self.notices(romeo).isEmpty)
            await stage.advance(by: .minutes(6))
            let told = await Self.notices(romeo)
            #expect(told.count == 1 && told.first?.contains("Your devices 2, 3, 4 have published no keys") == true)
            try await romeo.publishes(Self.legacyBundle(keys: 0), id: "current", at: bundles + "2")
            await stage.advance(by: .minutes(10))
            #expect(await Self.notices(romeo).isEmpty)
            try await romeo.publishes(Self.legacyBundle(keys: 5), id: "current", at: bundles + "2")
            try await romeo.owns("delete", bundles + "1")
            await stage.advance(by: .minutes(6))
            #expect(await Self.notices(romeo).first?.contains("Your device 1 has published no keys") == true)
            try await romeo.publishes(Self.legacyBundle(keys: 0), id: "current", at: bundles + "2")
            await stage.advance(by: .minutes(6))
            #expect(await Self.notices(romeo).first?.contains("Your device 2 has published no keys") == true)
        }
    }

    @Test("The owner sees the log by command, and nobody else's")
    func command() async throws {
        try await Self.perform { stage, romeo in
            try await romeo.publishes(Self.list(["1"]), id: "current", at: Self.legacy)
            let commands = "http://jabber.org/protocol/commands"
            let list = "<query xmlns='http://jabber.org/protocol/disco#items' node='\(commands)'/>"
            let items = try await romeo.asks(.get, list, to: "montague.example")
            #expect(items?.children.contains { $0["node"] == "urn:martlet:keys" } == true)
            let command = "<command xmlns='http://jabber.org/protocol/commands' node='urn:martlet:keys'/>"
            let answer = try #require(try await romeo.asks(.set, command, to: "montague.example"))
            #expect(answer["status"] == "completed")
            let form = try DataForm(try #require(answer.child("x", .dataForms)))
            #expect(form["verdict"]?.value == "The log is complete and unchanged.")
            #expect(form[Self.legacy]?.value == "1")
            #expect(form.items.map { $0.first { $0.name == "added" }?.value } == ["1"])
            let paris = try await stage.enter("paris@montague.example/tomb")
            let other = try #require(try await paris.asks(.set, command, to: "montague.example"))
            let empty = try DataForm(try #require(other.child("x", .dataForms)))
            #expect(empty.items.isEmpty && empty["verdict"]?.value == "Nothing was recorded yet.")
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            #expect(try await juliet.isRefused(.set, command, to: "montague.example").condition == .forbidden)
        }
    }

    @Test("Lists without end, changes without end and messages without end there are not")
    func limits() async throws {
        try await Self.perform("{ max_devices: 20, max_entries: 12, messages_per_day: 3 }") { stage, romeo in
            let many = (1...21).map { "\($0)" }
            let error = try await romeo.cannotPublish(Self.list(many), id: "current", at: Self.legacy)
            #expect(error.condition == .policyViolation)
            #expect(try await Self.report(stage).entries.isEmpty)
            for number in 1...12 {
                try await romeo.publishes(Self.list(["\(number)"]), id: "current", at: Self.legacy)
            }
            #expect(await Self.notices(romeo).count == 3)
            // A full log grows slowly.
            try await romeo.publishes(Self.list(["12", "13"]), id: "current", at: Self.legacy)
            let full = try await romeo.cannotPublish(Self.list(["14"]), id: "current", at: Self.legacy)
            #expect(full.condition == .resourceConstraint)
            // What changes nothing, or takes a device away, may be published at all times.
            try await romeo.publishes(Self.list(["12", "13"]), id: "current", at: Self.legacy)
            try await romeo.publishes(Self.list(["13"]), id: "current", at: Self.legacy)
            var report = try await Self.report(stage)
            #expect(report.entries.count == 14 && report.problem == nil)
            #expect(report.devices[Self.legacy] == ["13"])
            await stage.advance(by: .seconds(3_600))
            try await romeo.publishes(Self.list(["13", "14"]), id: "current", at: Self.legacy)
            report = try await Self.report(stage)
            #expect(report.entries.count == 15 && report.problem == nil)
        }
    }

    @Test(
        "Payloads of another kind are no lists", arguments: ["<list xmlns='urn:x'><device id='1'/></list>", "<list/>"])
    func otherPayloads(payload: String) async throws {
        try await Self.perform { stage, romeo in
            try await romeo.publishes(payload, id: "current", at: Self.legacy)
            #expect(try await Self.report(stage).entries.isEmpty)
            try await romeo.publishes(Self.list(["1"]), id: "current", at: Self.legacy)
            try await romeo.publishes(payload, id: "current", at: Self.legacy)
            #expect(try await Self.report(stage).entries.map(\.removed) == [[], ["1"]])
        }
    }

    @Test("Unloading leaves no trace, and loading it again goes on where it was")
    func reload() async throws {
        try await Self.perform { stage, romeo in
            try await romeo.publishes(Self.list(["1"]), id: "current", at: Self.legacy)
            try stage.reload(Self.config("off"))
            let host = try #require(stage.server.host("montague.example"))
            #expect(host.service((any KeyLogs).self) == nil && host.commands["urn:martlet:keys"] == nil)
            try await romeo.publishes(Self.list(["1", "2"]), id: "current", at: Self.legacy)
            try stage.reload(Self.config("on"))
            await stage.settle()
            try await romeo.publishes(Self.list(["1", "2", "3"]), id: "current", at: Self.legacy)
            let report = try await Self.report(stage)
            #expect(report.problem == nil)
            #expect(report.entries.map(\.added) == [["1"], ["2", "3"]])
        }
    }
}
