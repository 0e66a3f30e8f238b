import ServerKit
import TestKit
import Testing

@testable import Modules

private let modules: [any Module.Type] = [
    SpamReports.self, Blocking.self, Messages.self, PresenceExchange.self, Disco.self, Commands.self, Offline.self,
]
private let spam = "urn:xmpp:reporting:spam"

private func report(_ jid: String, reason: String? = spam, _ content: String = "") -> String {
    let reason = reason.map { " reason='\($0)'" } ?? ""
    return block("<item jid='\(jid)'><report xmlns='urn:xmpp:reporting:1'\(reason)>\(content)</report></item>")
}

private func block(_ items: String) -> String { "<block xmlns='urn:xmpp:blocking'>\(items)</block>" }

private func play(
    _ options: String = "",
    _ body: @escaping @ServerActor @Sendable (Stage, TestKit.Actor, TestKit.Actor) async throws -> Void
) async throws {
    let others = modules.dropFirst().map { "\($0.info.name): on" }.joined(separator: ", ")
    let config = "admins: [friar@montague.example]\nmodules: { spam_reports: { \(options) }, \(others) }"
    try await TestKit.play(modules: modules, config: config) { stage in
        let friar = try await stage.enter("friar@montague.example/cell")
        let juliet = try await stage.enter("juliet@montague.example/chamber")
        try await body(stage, friar, juliet)
    }
}

/// Runs a command of one form.
@ServerActor
@discardableResult
private func run(
    _ node: String, _ actor: TestKit.Actor, _ values: [String: String] = [:]
) async throws -> Element {
    func command(_ rest: String, _ content: String = "") -> String {
        "<command xmlns='http://jabber.org/protocol/commands' node='\(node)'\(rest)>\(content)</command>"
    }
    let shown = try #require(try await actor.asks(.set, command(""), to: "montague.example"))
    let session = try #require(shown["sessionid"])
    let fields = values.map { "<field var='\($0)'><value>\($1)</value></field>" }.joined()
    return try #require(
        try await actor.asks(
            .set, command(" sessionid='\(session)'", "<x xmlns='jabber:x:data' type='submit'>\(fields)</x>"),
            to: "montague.example"))
}

/// The rows of the list, each as its values by the names of the columns.
@ServerActor
private func rows(_ actor: TestKit.Actor, _ values: [String: String] = [:]) async throws -> [[String: [String]]] {
    let done = try await run("spam_reports#list", actor, values)
    return try DataForm.find(in: done)?.items.map { row in
        Dictionary(uniqueKeysWithValues: row.map { ($0.name ?? "", $0.values) })
    } ?? []
}

@Suite("Spam reports (XEP-0377)") struct SpamReportsTests {
    @Test("Who blocks somebody and says why is heard by the administrators, after a restart too (§4 to §6)")
    func example() async throws {
        try await play { stage, friar, juliet in
            try await juliet.asks(
                .set,
                report(
                    "romeo@example.net",
                    """
                    <stanza-id xmlns='urn:xmpp:sid:0' by='romeo@example.net' id='28482-98726-73623'/>
                    <stanza-id xmlns='urn:xmpp:sid:0' by='romeo@example.net' id='38383-38018-18385'/>
                    <text xml:lang='en'>
                      Never came trouble to my house like this.
                    </text>
                    <report-origin/><third-party/>
                    """))
            let blocked = try await juliet.asks(.get, "<blocklist xmlns='urn:xmpp:blocking'/>")
            #expect(blocked?.firstChild?["jid"] == "romeo@example.net")
            let told = try await friar.receives("<message from='montague.example' to='friar@montague.example'/>")
            #expect(
                told.text(of: "body") == "juliet@montague.example blocked romeo@example.net because of spam: "
                    + "Never came trouble to my house like this.")
            try await stage.staysSilent()
            try await stage.restart()
            let again = try await stage.enter("friar@montague.example/cell")
            let found = try await rows(again)
            #expect(found.count == 1)
            #expect(found.first?["reporter"] == ["juliet@montague.example"])
            #expect(found.first?["reported"] == ["romeo@example.net"])
            #expect(found.first?["reason"] == ["spam"])
            #expect(found.first?["text"] == ["Never came trouble to my house like this."])
            #expect(
                found.first?["messages"] == [
                    "28482-98726-73623 (romeo@example.net)", "38383-38018-18385 (romeo@example.net)",
                ])
            #expect(found.first?["agreed"] == ["report-origin", "third-party"])
            #expect(found.first?["time"]?.first.flatMap { Timestamp($0) } != nil)
        }
    }

    @Test("The address is blocked whatever the report is like (§6)", arguments: [
        report("romeo@example.net", reason: nil), report("romeo@example.net", reason: ""),
        report("romeo@example.net", reason: String(repeating: "x", count: 300)),
        block("<item jid='romeo@example.net'><report xmlns='urn:xmpp:reporting:0'><spam/></report></item>"),
        block("<item jid='romeo@example.net'><report xmlns='urn:example:x' reason='\(spam)'/></item>"),
        block("<item jid='romeo@example.net'/>"),
    ])
    func unusable(request: String) async throws {
        try await play { stage, friar, juliet in
            try await juliet.asks(.set, request)
            #expect(try await juliet.asks(.get, "<blocklist xmlns='urn:xmpp:blocking'/>")?.children.count == 1)
            try await stage.staysSilent()
            #expect(try await rows(friar).isEmpty)
        }
    }

    @Test("A block that fails reports nothing")
    func refused() async throws {
        try await play { stage, friar, juliet in
            let good = "<item jid='a.example'><report xmlns='urn:xmpp:reporting:1' reason='\(spam)'/></item>"
            try await juliet.isRefused(.set, block(good + "<item jid='@'/>"))
            try await stage.staysSilent()
            #expect(try await rows(friar).isEmpty)
        }
    }

    @Test("Each address has its own report; another one by the same user takes its place")
    func several() async throws {
        try await play("notify: off") { stage, friar, juliet in
            let items = ["a@a.example", "b@a.example/x", "c.example"].map {
                "<item jid='\($0)'><report xmlns='urn:xmpp:reporting:1' reason='urn:xmpp:reporting:abuse'/></item>"
            }
            try await juliet.asks(.set, block(items.joined() + "<item jid='d.example'/>"))
            try await juliet.asks(.set, report("a@a.example", reason: "urn:example:other"))
            let tybalt = try await stage.enter("tybalt@montague.example/x")
            try await tybalt.asks(.set, report("a@a.example"))
            try await stage.staysSilent()
            let all = try await rows(friar)
            #expect(all.map { $0["reported"] } == [["a@a.example"], ["a@a.example"], ["c.example"], ["b@a.example/x"]])
            #expect(all.map { $0["reason"] } == [["spam"], ["urn:example:other"], ["abuse"], ["abuse"]])
            #expect(try await rows(friar, ["count": "2"]).count == 2)
            #expect(try await rows(friar, ["count": "-1"]).count == 1)
            #expect(try await rows(friar, ["jid": "b@a.example"]).count == 1)
            #expect(try await rows(friar, ["jid": "a.example"]).count == 3)
            #expect(try await rows(friar, ["jid": "b.example"]).isEmpty)
            let note = try await run("spam_reports#clear", friar, ["jid": "a.example"])
            #expect(note.text(of: "note") == "Reports deleted: 3.")
            #expect(try await rows(friar).map { $0["reported"] } == [["c.example"]])
            try await run("spam_reports#clear", friar)
            #expect(try await run("spam_reports#list", friar).text(of: "note") == "There are no reports.")
        }
    }

    @Test("Only administrators read and delete reports")
    func access() async throws {
        try await play { _, _, juliet in
            for node in ["spam_reports#list", "spam_reports#clear"] {
                let error = try await juliet.isRefused(
                    .set, "<command xmlns='http://jabber.org/protocol/commands' node='\(node)'/>",
                    to: "montague.example")
                #expect(error.condition == .forbidden)
            }
        }
    }

    @Test("Many reports make few messages")
    func notices() async throws {
        try await play("notify_interval: 10 minutes") { stage, friar, juliet in
            for number in 1...4 { try await juliet.asks(.set, report("\(number).example")) }
            let first = try await friar.receives("<message/>")
            #expect(first.text(of: "body") == "juliet@montague.example blocked 1.example because of spam.")
            try await stage.staysSilent()
            await stage.advance(by: .minutes(10))
            let second = try await friar.receives("<message/>")
            #expect(second.text(of: "body")?.hasSuffix(": 3.") == true)
            try await juliet.asks(.set, report("5.example"))
            try await stage.staysSilent()
            await stage.advance(by: .minutes(10))
            #expect(try await friar.receives("<message/>").text(of: "body")?.hasSuffix(": 1.") == true)
            await stage.advance(by: .minutes(60))
            try await stage.staysSilent()
            // Calm has returned.
            try await juliet.asks(.set, report("6.example"))
            #expect(try await friar.receives("<message/>").text(of: "body")?.contains("6.example") == true)
        }
    }

    @Test("What users can make the server keep is limited")
    func limits() async throws {
        try await play("max_reports: 10, max_text: 5, rate: 12 per hour, notify: off") { stage, friar, juliet in
            for number in 1...14 {
                try await juliet.asks(.set, report("\(number).example", "<text>Hear, hear</text>"))
            }
            let kept = try await rows(friar)
            #expect(kept.map { $0["reported"]?.first } == (3...12).reversed().map { "\($0).example" })
            #expect(kept.first?["text"] == ["Hear,"])
            // All were blocked.
            let blocked = try await juliet.asks(.get, "<blocklist xmlns='urn:xmpp:blocking'/>")
            #expect(blocked?.children.count == 14)
            await stage.advance(by: .minutes(61))
            try await juliet.asks(.set, report("15.example"))
            #expect(try await rows(friar).first?["reported"] == ["15.example"])
            try await stage.restart()
            let again = try await stage.enter("juliet@montague.example/chamber")
            try await again.asks(.set, report("16.example"))
            let admin = try await stage.enter("friar@montague.example/cell")
            #expect(try await rows(admin).count == 10)
        }
    }

    @Test("The host says so, and when the module is gone nothing is left of it")
    func reload() async throws {
        let others = modules.dropFirst().map { "\($0.info.name): on" }.joined(separator: ", ")
        let (on, off) = ("spam_reports: on", "spam_reports: off")
        func config(_ state: String) -> String {
            "admins: [friar@montague.example]\nmodules: { \(state), \(others) }"
        }
        try await TestKit.play(modules: modules, config: config(on)) { stage in
            let friar = try await stage.enter("friar@montague.example/cell")
            for state in [on, off, on] {
                try stage.reload(config(state))
                let info = try await friar.asks(.get, DiscoTests.info, to: "montague.example")
                #expect(info?.features.contains("urn:xmpp:reporting:1") == (state == on))
                let command = stage.server.host("montague.example")?.commands["spam_reports#list"]
                #expect((command != nil) == (state == on))
                try await friar.asks(.set, report("\(state == on).example"))
                #expect(await friar.everything().count == (state == on ? 1 : 0))
            }
            #expect(try await rows(friar).count == 1)
        }
    }
}
