import ServerKit
import TestKit
import Testing

@testable import Modules

@Suite("Service administration (XEP-0133)") struct AdminTests {
    private static let modules: [any Module.Type] = [Disco.self, Commands.self, Admin.self, Roster.self, Messages.self]
    private static let config = "admins: [friar@montague.example]"

    @Test("Nobody but administrators sees or runs any of it")
    func access() async throws {
        try await play(modules: Self.modules, config: Self.config) { stage in
            let friar = try await stage.enter("friar@montague.example/cell")
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let query =
                "<query xmlns='http://jabber.org/protocol/disco#items'"
                + " node='http://jabber.org/protocol/commands'/>"
            let nodes = try #require(try await friar.asks(.get, query, to: "montague.example"))
                .children.compactMap { $0["node"] }
            #expect(nodes.count == 18 && nodes.allSatisfy { $0.hasPrefix("http://jabber.org/protocol/admin#") })
            #expect(try await romeo.asks(.get, query, to: "montague.example")?.children.isEmpty == true)
            for node in nodes {
                let command = CommandsTests.command(node)
                #expect(try await romeo.isRefused(.set, command, to: "montague.example").condition == .forbidden)
            }
            // An administrator of the server administers all hosts; one of a host only that.
            #expect(try await friar.asks(.get, query, to: "capulet.example")?.children.count == 18)
            try await stage.staysSilent()
        }
    }

    @Test("Accounts are made, once, with a password that was typed twice")
    func addUser() async throws {
        try await play(modules: Self.modules, config: Self.config) { stage in
            let friar = try await stage.enter("friar@montague.example/cell")
            var fields = ["accountjid": "juliet@montague.example", "password": "r0m30", "password-verify": "r0m30"]
            let form = try #require(try await Self.form("add-user", friar))
            #expect(form.formType == "http://jabber.org/protocol/admin")
            #expect(form.fields.compactMap(\.name) == ["FORM_TYPE", "accountjid", "password", "password-verify"])
            #expect(form["accountjid"]?.kind == .jidSingle && form["password"]?.kind == .textPrivate)
            let done = try await Self.run("add-user", fields, friar)
            #expect(done["status"] == "completed")
            let host = try #require(stage.server.host("montague.example"))
            let record = try #require(try await host.accounts.store.record(of: "juliet"))
            #expect(record.isLocked != true)
            #expect(try await Self.refusal("add-user", fields, friar).condition == .conflict)
            fields["accountjid"] = "nurse@montague.example"
            fields["password-verify"] = "R0m30"
            #expect(try await Self.refusal("add-user", fields, friar).condition == .notAcceptable)
            for password in ["", "a\u{7F}b"] {
                fields["password"] = password
                fields["password-verify"] = password
                let error = try await Self.refusal("add-user", fields, friar)
                #expect(error.condition == (password.isEmpty ? .badRequest : .notAcceptable))
            }
            for jid in ["nurse@capulet.example", "montague.example", "nurse@montague.example/x", "@", "example.org"] {
                fields = ["accountjid": jid, "password": "r0m30", "password-verify": "r0m30"]
                let error = try await Self.refusal("add-user", fields, friar)
                #expect(error.condition == (jid == "@" ? .badRequest : .itemNotFound))
            }
            #expect(try await host.accounts.store.count() == 2)
        }
    }

    @Test("A password is changed, and the session goes on")
    func password() async throws {
        try await play(modules: Self.modules, config: Self.config) { stage in
            let friar = try await stage.enter("friar@montague.example/cell")
            let juliet = try await stage.enter("juliet@montague.example/balcony")
            let store = try #require(stage.server.host("montague.example")?.accounts.store)
            let before = try await store.record(of: "juliet")
            let fields = ["accountjid": "juliet@montague.example", "password": "new"]
            #expect(try await Self.run("change-user-password", fields, friar)["status"] == "completed")
            #expect(try await store.record(of: "juliet") != before)
            #expect(!juliet.isClosed)
            let nobody = ["accountjid": "nobody@montague.example", "password": "new"]
            #expect(try await Self.refusal("change-user-password", nobody, friar).condition == .itemNotFound)
        }
    }

    @Test("An account is locked, which ends its sessions, unlocked and deleted")
    func lockAndDelete() async throws {
        try await play(modules: Self.modules, config: Self.config) { stage in
            let friar = try await stage.enter("friar@montague.example/cell")
            let juliet = try await stage.enter("juliet@montague.example/balcony")
            let store = try #require(stage.server.host("montague.example")?.accounts.store)
            let fields = ["accountjids": "juliet@montague.example"]
            #expect(try await Self.run("disable-user", fields, friar)["status"] == "completed")
            try await juliet.isClosed(with: .policyViolation)
            #expect(try await store.record(of: "juliet")?.isLocked == true)
            #expect(try await Self.values("get-disabled-users-num", "disabledusersnum", friar) == ["1"])
            #expect(
                try await Self.values("get-disabled-users-list", "disableduserjids", friar, ["max_items": "25"])
                    == ["juliet@montague.example"])
            #expect(try await Self.run("reenable-user", fields, friar)["status"] == "completed")
            #expect(try await store.record(of: "juliet")?.isLocked != true)
            let again = try await stage.enter("juliet@montague.example/balcony")
            #expect(try await Self.run("delete-user", fields, friar)["status"] == "completed")
            try await again.isClosed(with: .notAuthorized)
            #expect(try await store.record(of: "juliet") == nil)
            for command in ["delete-user", "disable-user", "reenable-user", "get-user-lastlogin"] {
                #expect(try await Self.refusal(command, fields, friar).condition == .itemNotFound)
            }
        }
    }

    @Test("If one of several accounts does not exist, none is touched")
    func allOrNothing() async throws {
        try await play(modules: Self.modules, config: Self.config) { stage in
            let friar = try await stage.enter("friar@montague.example/cell")
            try await stage.account("juliet@montague.example")
            for other in ["nobody@montague.example", "juliet@capulet.example"] {
                let fields = ["accountjids": "juliet@montague.example|\(other)"]
                #expect(try await Self.refusal("delete-user", fields, friar).condition == .itemNotFound)
            }
            let store = try #require(stage.server.host("montague.example")?.accounts.store)
            #expect(try await store.record(of: "juliet") != nil)
        }
    }

    @Test("One session is ended, or all")
    func endSessions() async throws {
        try await play(modules: Self.modules, config: Self.config) { stage in
            let friar = try await stage.enter("friar@montague.example/cell")
            let phone = try await stage.enter("romeo@montague.example/phone")
            let laptop = try await stage.enter("romeo@montague.example/laptop")
            let tablet = try await stage.enter("romeo@montague.example/tablet")
            let one = ["accountjids": "romeo@montague.example/phone"]
            #expect(try await Self.run("end-user-session", one, friar).child("note")?["type"] == "info")
            try await phone.isClosed(with: .policyViolation)
            #expect(!laptop.isClosed && !tablet.isClosed)
            _ = try await Self.run("end-user-session", ["accountjids": "romeo@montague.example"], friar)
            try await laptop.isClosed(with: .policyViolation)
            try await tablet.isClosed(with: .policyViolation)
            #expect(try await Self.run("end-user-session", one, friar).child("note")?["type"] == "error")
        }
    }

    @Test("Users are counted and listed")
    func reports() async throws {
        try await play(modules: Self.modules, config: Self.config) { stage in
            let friar = try await stage.enter("friar@montague.example/cell")
            let romeo = try await stage.enter("romeo@montague.example/phone")
            try await stage.account("juliet@montague.example")
            await stage.advance(by: .seconds(660))
            #expect(try await Self.values("get-registered-users-num", "registeredusersnum", friar) == ["3"])
            #expect(try await Self.values("get-online-users-num", "onlineusersnum", friar) == ["2"])
            #expect(try await Self.values("get-active-users-num", "activeusersnum", friar) == ["1"])
            #expect(try await Self.values("get-idle-users-num", "idleusersnum", friar) == ["1"])
            #expect(try await Self.values("get-disabled-users-num", "disabledusersnum", friar) == ["0"])
            let all = ["max_items": "none"]
            #expect(
                try await Self.values("get-registered-users-list", "registereduserjids", friar, all)
                    == ["friar@montague.example", "juliet@montague.example", "romeo@montague.example"])
            #expect(
                try await Self.values("get-online-users-list", "onlineuserjids", friar, [:])
                    == ["friar@montague.example", "romeo@montague.example"])
            #expect(
                try await Self.values("get-active-users", "activeuserjids", friar, all) == ["friar@montague.example"])
            #expect(try await Self.values("get-idle-users", "activeuserjids", friar, all) == ["romeo@montague.example"])
            let greedy = ["max_items": "1000000"]
            #expect(try await Self.refusal("get-online-users-list", greedy, friar).condition == .badRequest)
            await romeo.leaves()
            #expect(try await Self.values("get-online-users-num", "onlineusersnum", friar) == ["1"])
        }
    }

    @Test("A long list is cut, and says so")
    func longList() async throws {
        try await play(modules: Self.modules, config: Self.config) { stage in
            let friar = try await stage.enter("friar@montague.example/cell")
            let store = try #require(stage.server.host("montague.example")?.accounts.store)
            let record = try #require(try await store.record(of: "friar"))
            let records = stage.server.storage.values("accounts", on: "montague.example", of: AccountRecord.self)
            for number in 0..<40 { records.set(record, for: "user\(number)") }
            let done = try await Self.run("get-registered-users-list", ["max_items": "25"], friar)
            #expect(try DataForm.find(in: done)?["registereduserjids"]?.values.count == 25)
            #expect(done.text(of: "note") == "There are more.")
        }
    }

    @Test("What an account is up to")
    func statistics() async throws {
        try await play(modules: Self.modules, config: Self.config) { stage in
            let friar = try await stage.enter("friar@montague.example/cell")
            let romeo = try await stage.enter("romeo@montague.example/phone")
            try await romeo.asks(
                .set, "<query xmlns='jabber:iq:roster'><item jid='juliet@capulet.example'/></query>")
            let done = try await Self.run("user-stats", ["accountjid": "romeo@montague.example"], friar)
            let form = try #require(try DataForm.find(in: done))
            #expect(form["onlineresources"]?.values == ["phone"])
            #expect(form["rostersize"]?.values == ["1"])
            #expect(form["ipaddresses"]?.values.count == 1)
            let nobody = ["accountjid": "nobody@montague.example"]
            #expect(try await Self.refusal("user-stats", nobody, friar).condition == .itemNotFound)
            try await stage.account("juliet@montague.example")
            let both = ["accountjids": "romeo@montague.example|juliet@montague.example"]
            let logins = try #require(try DataForm.find(in: try await Self.run("get-user-lastlogin", both, friar)))
            #expect(logins["accountjids"]?.values == ["romeo@montague.example", "juliet@montague.example"])
            #expect(logins["lastlogin"]?.values == ["2025-06-15T15:06:40Z", ""])
        }
    }

    // MARK: Stanzas

    @ServerActor
    static func form(_ name: String, _ actor: Actor) async throws -> DataForm? {
        let command = CommandsTests.command("http://jabber.org/protocol/admin#\(name)")
        guard let answer = try await actor.asks(.set, command, to: "montague.example") else { return nil }
        return try DataForm.find(in: answer)
    }

    /// Begins a command and returns its submission with these fields; `|` parts values.
    @ServerActor
    private static func submission(
        _ name: String, _ fields: [String: String], _ actor: Actor
    ) async throws -> String {
        let node = "http://jabber.org/protocol/admin#\(name)"
        let begun = try await actor.asks(.set, CommandsTests.command(node), to: "montague.example")
        let id = try #require(begun?["sessionid"])
        let content = fields.map { name, value in
            let values = value.split(separator: "|", omittingEmptySubsequences: false).map { "<value>\($0)</value>" }
            return "<field var='\(name)'>\(values.joined())</field>"
        }
        return "<command xmlns='http://jabber.org/protocol/commands' node='\(node)' sessionid='\(id)'>"
            + "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>"
            + "<value>http://jabber.org/protocol/admin</value></field>\(content.joined())</x></command>"
    }

    @ServerActor
    static func run(_ name: String, _ fields: [String: String], _ actor: Actor) async throws -> Element {
        let xml = try await submission(name, fields, actor)
        return try #require(try await actor.asks(.set, xml, to: "montague.example"))
    }

    @ServerActor
    static func refusal(_ name: String, _ fields: [String: String], _ actor: Actor) async throws -> StanzaError {
        try await actor.isRefused(.set, try await submission(name, fields, actor), to: "montague.example")
    }

    /// The values of a result, of a command with a form or without.
    @ServerActor
    static func values(
        _ name: String, _ field: String, _ actor: Actor, _ fields: [String: String]? = nil
    ) async throws -> [String]? {
        guard let fields else { return try await form(name, actor)?[field]?.values }
        return try DataForm.find(in: try await run(name, fields, actor))?[field]?.values
    }
}
