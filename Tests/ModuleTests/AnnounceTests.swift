import ServerKit
import TestKit
import Testing

@testable import Modules

@Suite("Announcements") struct AnnounceTests {
    private static let modules: [any Module.Type] = [
        Announce.self, Disco.self, Commands.self, Messages.self, Offline.self, PresenceExchange.self,
    ]
    private static let others = "disco: on, commands: on, messages: on, offline: on, presence: on"
    private static let config =
        "admins: [friar@montague.example]\n"
        + "hosts: { montague.example: { admins: [nurse@montague.example] }, capulet.example: {} }"

    @Test("Everybody online hears it, on every device")
    func online() async throws {
        try await play(modules: Self.modules, config: Self.config) { stage in
            let friar = try await stage.enter("friar@montague.example/cell")
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            try await stage.account("tybalt@montague.example")
            let absent = try await stage.enter("mercutio@montague.example/x", presence: false)
            try await Self.write(friar, "announce/online", "<subject>Now</subject><body>We close.</body>")
            for actor in [friar, romeo] {
                try await actor.receives(
                    "<message from='montague.example' type='headline'><subject>Now</subject>"
                        + "<body>We close.</body></message>")
            }
            try await Self.write(friar, "announce/all-hosts/online", "<body>All!</body>")
            for actor in [friar, romeo, juliet] {
                try await actor.receives("<message from='montague.example'><body>All!</body></message>")
            }
            try await absent.staysSilent()
            // Nothing is kept for those who are not there.
            let tybalt = try await stage.enter("tybalt@montague.example/x")
            try await tybalt.staysSilent()
            try await stage.staysSilent()
        }
    }

    @Test(
        "Nobody else may",
        arguments: [
            "announce/online", "announce/all-hosts/online", "announce/motd", "announce/motd/update",
            "announce/motd/delete",
        ])
    func access(address: String) async throws {
        try await play(modules: Self.modules, config: Self.config) { stage in
            let nurse = try await stage.enter("nurse@montague.example/x")
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            for actor in [romeo, juliet] {
                try await Self.write(actor, address, "<body>Party!</body>")
                try await actor.receives(
                    "<message type='error' from='montague.example/\(address)'><error><forbidden"
                        + " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
            }
            // An administrator of one host does not speak to the others.
            if address == "announce/all-hosts/online" {
                try await Self.write(nurse, address, "<body>Party!</body>")
                try await nurse.receives("<message type='error'/>")
            }
            // Errors are answered by nobody.
            try await romeo.sends("<message type='error' to='montague.example/\(address)'><body>x</body></message>")
            try await stage.staysSilent()
        }
    }

    @Test("An announcement without words, or to no known address, comes back")
    func nonsense() async throws {
        try await play(modules: Self.modules, config: Self.config) { stage in
            let friar = try await stage.enter("friar@montague.example/cell")
            for (address, content) in [
                ("announce/online", "<subject>x</subject>"), ("announce/online", "<body/>"), ("announce/motd", ""),
                ("announce", "<body>x</body>"), ("announce/", "<body>x</body>"),
                ("announce/online/x", "<body>x</body>"),
            ] {
                try await Self.write(friar, address, content)
                try await friar.receives("<message type='error'/>")
            }
            try await stage.staysSilent()
        }
    }

    @Test("The message of the day is shown once to each account, across restarts, until it changes")
    func messageOfTheDay() async throws {
        try await play(modules: Self.modules, config: Self.config) { stage in
            let friar = try await stage.enter("friar@montague.example/cell")
            try await stage.account("romeo@montague.example")
            try await Self.write(friar, "announce/motd", "<body>Feast tonight</body>")
            try await friar.receives("<message from='montague.example'><body>Feast tonight</body></message>")
            let negative = "<presence><priority>-1</priority></presence>"
            let shy = try await Self.come(stage, "romeo@montague.example/shy", negative)
            #expect(await shy.everything().allSatisfy { $0.name != "message" })
            let romeo = try await Self.come(stage, "romeo@montague.example/phone")
            try await romeo.receivesAnywhere("<message><body>Feast tonight</body></message>")
            let laptop = try await Self.come(stage, "romeo@montague.example/laptop")
            #expect(await laptop.everything().allSatisfy { $0.name != "message" })
            try await stage.restart()
            let again = try await Self.come(stage, "romeo@montague.example/phone")
            #expect(await again.everything().allSatisfy { $0.name != "message" })
            let juliet = try await Self.come(stage, "juliet@montague.example/balcony")
            try await juliet.receivesAnywhere("<message><body>Feast tonight</body></message>")

            let nurse = try await stage.enter("nurse@montague.example/x")
            _ = await nurse.everything()
            _ = await again.everything()
            try await Self.write(nurse, "announce/motd/update", "<body>Feast tomorrow</body>")
            // Those who are here are left alone until they come again.
            try await again.staysSilent()
            await again.leaves()
            let back = try await Self.come(stage, "romeo@montague.example/phone")
            try await back.receivesAnywhere("<message><body>Feast tomorrow</body></message>")
            try await Self.write(nurse, "announce/motd/delete", "")
            let late = try await Self.come(stage, "benvolio@montague.example/phone")
            #expect(await late.everything().allSatisfy { $0.name != "message" })
        }
    }

    @Test("New accounts are welcomed, when they come")
    func welcome() async throws {
        let config = Self.config + "\nmodules: { announce: { welcome: Be merry }, \(Self.others) }"
        try await play(modules: Self.modules, config: config) { stage in
            try await stage.account("romeo@montague.example")
            await stage.settle()
            let romeo = try await Self.come(stage, "romeo@montague.example/phone")
            try await romeo.receivesAnywhere(
                "<message from='montague.example'><subject>Welcome</subject><body>Be merry</body></message>")
            let friar = try await stage.enter("friar@montague.example/cell")
            let form = try await AdminTests.form("set-welcome", friar)
            #expect(form?["welcome"]?.values == ["Be merry"])
            _ = try await AdminTests.run("set-welcome", ["welcome": "Hello|and good day"], friar)
            try await stage.account("juliet@montague.example")
            await stage.settle()
            try await stage.restart()
            let juliet = try await Self.come(stage, "juliet@montague.example/balcony")
            try await juliet.receivesAnywhere("<message><body>Hello\nand good day</body></message>")
            let again = try await stage.enter("friar@montague.example/cell")
            #expect(try await Self.run("delete-welcome", again)?["status"] == "completed")
            let paris = try await Self.come(stage, "paris@montague.example/x")
            #expect(await paris.everything().allSatisfy { $0.name != "message" })
        }
    }

    @Test("The commands do the same")
    func commands() async throws {
        try await play(modules: Self.modules, config: Self.config) { stage in
            let friar = try await stage.enter("friar@montague.example/cell")
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let none = CommandsTests.command("http://jabber.org/protocol/admin#edit-motd")
            #expect(try await friar.isRefused(.set, none, to: "montague.example").condition == .itemNotFound)
            #expect(try await romeo.isRefused(.set, none, to: "montague.example").condition == .forbidden)
            _ = try await AdminTests.run("announce", ["announcement": "One|Two"], friar)
            try await romeo.receives("<message type='headline'><body>One\nTwo</body></message>")
            _ = try await AdminTests.run("set-motd", ["motd": "Feast"], friar)
            try await romeo.receives("<message><body>Feast</body></message>")
            #expect(try await AdminTests.form("edit-motd", friar)?["motd"]?.values == ["Feast"])
            _ = try await AdminTests.run("edit-motd", ["motd": "Fest"], friar)
            try await romeo.staysSilent()
            let juliet = try await Self.come(stage, "juliet@montague.example/x")
            try await juliet.receivesAnywhere("<message><body>Fest</body></message>")
            #expect(try await Self.run("delete-motd", friar)?["status"] == "completed")
            let again = CommandsTests.command("http://jabber.org/protocol/admin#delete-motd")
            #expect(try await friar.isRefused(.set, again, to: "montague.example").condition == .itemNotFound)
            #expect(try await AdminTests.refusal("set-motd", ["motd": ""], friar).detail?.name == "bad-payload")
        }
    }

    @Test("Unloaded, it leaves neither addresses nor commands")
    func unload() async throws {
        try await play(modules: Self.modules, config: Self.config) { stage in
            let friar = try await stage.enter("friar@montague.example/cell")
            try await Self.write(friar, "announce/motd", "<body>Feast</body>")
            _ = await friar.everything()
            try stage.reload(
                Self.config + "\nmodules: { announce: off, \(Self.others) }")
            try await Self.write(friar, "announce/online", "<body>x</body>")
            try await friar.receives(
                "<message type='error'><error><service-unavailable"
                    + " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
            let command = CommandsTests.command("http://jabber.org/protocol/admin#announce")
            #expect(try await friar.isRefused(.set, command, to: "montague.example").condition == .itemNotFound)
            let romeo = try await Self.come(stage, "romeo@montague.example/phone")
            #expect(await romeo.everything().allSatisfy { $0.name != "message" })
        }
    }

    // MARK: Stanzas

    @ServerActor
    private static func write(_ actor: Actor, _ address: String, _ content: String) async throws {
        try await actor.sends("<message to='montague.example/\(address)'>\(content)</message>")
    }

    @ServerActor
    private static func run(_ name: String, _ actor: Actor) async throws -> Element? {
        try await actor.asks(
            .set, CommandsTests.command("http://jabber.org/protocol/admin#\(name)"), to: "montague.example")
    }

    /// Enters, and keeps what initial presence brings.
    @ServerActor
    private static func come(
        _ stage: Stage, _ jid: String, _ presence: String = "<presence/>"
    ) async throws -> Actor {
        let actor = try await stage.enter(jid, presence: false)
        try await actor.sends(presence)
        await stage.settle()
        return actor
    }
}
