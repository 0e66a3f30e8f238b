import ServerKit
import TestKit
import Testing

@testable import Modules

@Suite("Ad-hoc commands (XEP-0050)") struct CommandsTests {
    private static let namespace = "http://jabber.org/protocol/commands"

    @Test("Everybody sees the commands that are for them")
    func list() async throws {
        try await play(modules: [Disco.self, Commands.self, Errands.self], config: Self.admins) { stage in
            let friar = try await stage.enter("friar@montague.example/cell")
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let all = ["config", "list", "secret"]
            for (actor, nodes) in [(friar, all), (romeo, ["config", "list"]), (juliet, ["list"])] {
                let items = try #require(try await actor.asks(.get, Self.query("items"), to: "montague.example"))
                #expect(items["node"] == Self.namespace)
                #expect(items.children.compactMap { $0["node"] }.sorted() == nodes)
                #expect(items.children.allSatisfy { $0["jid"] == "montague.example" && $0["name"] != nil })
            }
            let info = try #require(try await romeo.asks(.get, Self.query("info"), to: "montague.example"))
            #expect(info.has(identity: "automation", "command-list"))
            let host = try #require(try await romeo.asks(.get, DiscoTests.info, to: "montague.example"))
            #expect(host.features.contains(Self.namespace))
            try await stage.staysSilent()
        }
    }

    @Test("A command describes itself to those who may run it")
    func describe() async throws {
        try await play(modules: [Disco.self, Commands.self, Errands.self], config: Self.admins) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let info = try #require(try await romeo.asks(.get, Self.query("info", "config"), to: "montague.example"))
            #expect(info.child("identity")?["name"] == "Configure")
            #expect(info.has(identity: "automation", "command-node"))
            #expect(info.features == [Self.namespace, "jabber:x:data"])
            let items = try await romeo.asks(.get, Self.query("items", "config"), to: "montague.example")
            #expect(items?.children.isEmpty == true)
            let secret = try await romeo.isRefused(.get, Self.query("info", "secret"), to: "montague.example")
            #expect(secret.condition == .forbidden)
            let other = try await romeo.isRefused(.get, Self.query("info", "nothing"), to: "montague.example")
            #expect(other.condition == .itemNotFound)
        }
    }

    @Test("A command without a form is done at once")
    func oneStep() async throws {
        try await play(modules: [Disco.self, Commands.self, Errands.self]) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let done = try #require(try await romeo.asks(.set, Self.command("list"), to: "montague.example"))
            #expect(done["status"] == "completed" && done["node"] == "list" && done["sessionid"]?.isEmpty == false)
            #expect(done.child("note")?["type"] == "info")
            #expect(done.text(of: "note") == "for romeo@montague.example/phone")
            #expect(!done.has("actions"))
            let id = done["sessionid"] ?? ""
            let error = try await romeo.isRefused(.set, Self.command("list", id, "next"), to: "montague.example")
            #expect(error.condition == .notAllowed && error.detail?.name == "session-expired")
        }
    }

    @Test("Forward, back, forward to the end")
    func stages() async throws {
        try await play(modules: [Disco.self, Commands.self, Errands.self]) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let first = try #require(
                try await romeo.asks(.set, Self.command("config", nil, "execute"), to: "montague.example"))
            let id = try #require(first["sessionid"])
            #expect(first["status"] == "executing")
            #expect(first.child("actions")?["execute"] == "next")
            #expect(first.child("actions")?.children.map(\.name) == ["next"])
            #expect(try DataForm.find(in: first)?.kind == .form)

            let second = try #require(
                try await romeo.asks(.set, Self.command("config", id, nil, "service", "httpd"), to: "montague.example"))
            #expect(second["sessionid"] == id)
            #expect(second.child("actions")?["execute"] == "complete")
            #expect(second.child("actions")?.children.map(\.name).sorted() == ["complete", "prev"])

            let back = try #require(
                try await romeo.asks(.set, Self.command("config", id, "prev"), to: "montague.example"))
            #expect(back.child("actions")?.children.map(\.name) == ["next"])
            #expect(try DataForm.find(in: back)?["service"]?.value == "httpd")

            try await romeo.asks(.set, Self.command("config", id, "next", "service", "jabberd"), to: "montague.example")
            let last = Self.command("config", id, "complete", "state", "on")
            let done = try #require(try await romeo.asks(.set, last, to: "montague.example"))
            #expect(done["status"] == "completed")
            #expect(done.text(of: "note") == "jabberd is on")
            try await stage.staysSilent()
        }
    }

    @Test("What was begun can be given up")
    func cancel() async throws {
        try await play(modules: [Disco.self, Commands.self, Errands.self]) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let id = try await Self.begin(romeo)
            let canceled = try await romeo.asks(.set, Self.command("config", id, "cancel"), to: "montague.example")
            #expect(canceled?["status"] == "canceled" && canceled?["sessionid"] == id)
            let error = try await romeo.isRefused(.set, Self.command("config", id, "cancel"), to: "montague.example")
            #expect(error.detail?.name == "session-expired")
        }
    }

    @Test("A failure is completed with an error for people, and errors leave the stage as it was")
    func failures() async throws {
        try await play(modules: [Disco.self, Commands.self, Errands.self]) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let id = try await Self.begin(romeo)
            let refused = try await romeo.isRefused(
                .set, Self.command("config", id, "next", "service", "conflict"), to: "montague.example")
            #expect(refused.condition == .conflict)
            let failed = try await romeo.asks(
                .set, Self.command("config", id, "next", "service", "broken"), to: "montague.example")
            #expect(failed?["status"] == "completed" && failed?.child("note")?["type"] == "error")
        }
    }

    @Test(
        "What is wrong with a request is said as the table has it",
        arguments: [
            ("<command xmlns='\(namespace)'/>", StanzaError.Condition.badRequest, nil),
            ("<command xmlns='\(namespace)' node=''/>", .badRequest, nil),
            (command("nothing"), .itemNotFound, nil), (command("secret"), .forbidden, nil),
            (command("config", nil, "dance"), .badRequest, "malformed-action"),
            (command("config", nil, ""), .badRequest, "malformed-action"),
            (command("config", nil, "next"), .badRequest, "bad-action"),
            (command("config", nil, "cancel"), .badRequest, "bad-action"),
            (command("config", "", "next"), .badRequest, "bad-sessionid"),
            (command("config", "x", "next"), .badRequest, "bad-sessionid"),
            (command("config", "ÿ&amp;&lt;", "cancel"), .badRequest, "bad-sessionid"),
            (command("config", "ID", "prev"), .badRequest, "bad-action"),
            (command("config", "ID", "complete"), .badRequest, "bad-action"),
            (command("config", "ID", "next"), .badRequest, "bad-payload"),
            (command("config", "ID", "next", "other", "httpd"), .badRequest, "bad-payload"),
            (command("config", "ID", "next", "service", "apache"), .badRequest, "bad-payload"),
            (command("list", "ID", "next"), .badRequest, "bad-sessionid"),
            (
                "<command xmlns='\(namespace)' node='config' sessionid='ID'><x xmlns='jabber:x:data'/></command>",
                .badRequest, "bad-payload"
            ),
            (
                "<command xmlns='\(namespace)' node='config' sessionid='ID'>"
                    + "<x xmlns='jabber:x:data' type='form'/></command>",
                .badRequest, "bad-payload"
            ),
            ("<command xmlns='\(namespace)' node='config' xml:lang='no such language'/>", .badRequest, "bad-locale"),
        ])
    func errors(xml: String, condition: StanzaError.Condition, detail: String?) async throws {
        try await play(modules: [Disco.self, Commands.self, Errands.self], config: Self.admins) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let id = try await Self.begin(romeo)
            let error = try await romeo.isRefused(.set, xml.replacing("ID", with: id), to: "montague.example")
            #expect(error.condition == condition)
            #expect(error.detail?.name == detail)
            // None of it has hurt what was begun.
            let next = Self.command("config", id, "next", "service", "httpd")
            #expect(try await romeo.asks(.set, next, to: "montague.example")?["status"] == "executing")
            let get = try await romeo.isRefused(.get, Self.command("list"), to: "montague.example")
            #expect(get.condition == .notAllowed)
        }
    }

    @Test("A form that is cancelled counts as submitted, and other languages are answered in English")
    func lenience() async throws {
        try await play(modules: [Disco.self, Commands.self, Errands.self]) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let id = try await Self.begin(romeo)
            let xml = Self.command("config", id, "next", "service", "httpd")
                .replacing("'submit'", with: "'cancel'").replacing("<command ", with: "<command xml:lang='fr-ca' ")
            let answer = try await romeo.asks(.set, xml, to: "montague.example")
            #expect(answer?["status"] == "executing" && answer?["xml:lang"] == "en")
        }
    }

    @Test("A session belongs to the client that began it")
    func theft() async throws {
        try await play(modules: [Disco.self, Commands.self, Errands.self]) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let paris = try await stage.enter("paris@montague.example/phone")
            let laptop = try await stage.enter("romeo@montague.example/laptop")
            let id = try await Self.begin(romeo)
            for thief in [paris, laptop] {
                let error = try await thief.isRefused(
                    .set, Self.command("config", id, "next", "service", "httpd"), to: "montague.example")
                #expect(error.detail?.name == "bad-sessionid")
            }
        }
    }

    @Test("Hesitation ends a session, and so does a restart")
    func expiry() async throws {
        try await play(modules: [Disco.self, Commands.self, Errands.self]) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let id = try await Self.begin(romeo)
            await stage.advance(by: .seconds(899))
            try await romeo.asks(.set, Self.command("config", id, "next", "service", "httpd"), to: "montague.example")
            await stage.advance(by: .seconds(901))
            let error = try await romeo.isRefused(.set, Self.command("config", id, "prev"), to: "montague.example")
            #expect(error.detail?.name == "session-expired")
            let other = try await Self.begin(romeo)
            try await stage.restart()
            let again = try await stage.enter("romeo@montague.example/phone")
            let gone = try await again.isRefused(.set, Self.command("config", other, "prev"), to: "montague.example")
            #expect(gone.detail?.name == "session-expired")
        }
    }

    @Test("Nobody holds more sessions than allowed: the oldest goes")
    func bounds() async throws {
        try await play(modules: [Disco.self, Commands.self, Errands.self]) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            var ids: [String] = []
            for _ in 0..<11 {
                ids.append(try await Self.begin(romeo))
                await stage.advance(by: .seconds(1))
            }
            let first = Self.command("config", ids[0], "cancel")
            let oldest = try await romeo.isRefused(.set, first, to: "montague.example")
            #expect(oldest.detail?.name == "session-expired")
            let next = try await romeo.asks(.set, Self.command("config", ids[1], "cancel"), to: "montague.example")
            #expect(next?["status"] == "canceled")
            #expect(Set(ids).count == 11)
        }
    }

    @Test("Unloading a command ends what was begun, even if it comes back")
    func reload() async throws {
        let on = Self.admins + "\nmodules: { disco: on, commands: on, errands: on }"
        try await play(modules: [Disco.self, Commands.self, Errands.self], config: Self.admins) { stage in
            let friar = try await stage.enter("friar@montague.example/cell")
            let id = try await Self.begin(friar)
            let next = Self.command("config", id, "next", "service", "httpd")
            try stage.reload(Self.admins + "\nmodules: { disco: on, commands: on, errands: off }")
            #expect(try await friar.isRefused(.set, next, to: "montague.example").condition == .itemNotFound)
            let items = try await friar.asks(.get, Self.query("items"), to: "montague.example")
            #expect(items?.children.isEmpty == true)
            try stage.reload(on)
            #expect(try await friar.isRefused(.set, next, to: "montague.example").detail?.name == "session-expired")
            // Whoever is no administrator any more cannot go on either.
            let secret = try await friar.asks(.set, Self.command("secret"), to: "montague.example")
            try stage.reload("modules: { disco: on, commands: on, errands: on }")
            let rest = Self.command("secret", secret?["sessionid"] ?? "", "cancel")
            #expect(try await friar.isRefused(.set, rest, to: "montague.example").condition == .forbidden)
        }
    }

    // MARK: Stanzas

    private static let admins = "admins: [friar@montague.example]"

    private static func query(_ kind: String, _ node: String = namespace) -> String {
        "<query xmlns='http://jabber.org/protocol/disco#\(kind)' node='\(node)'/>"
    }

    static func command(
        _ node: String, _ session: String? = nil, _ action: String? = nil, _ field: String? = nil, _ value: String = ""
    ) -> String {
        let attributes = [("node", node), ("sessionid", session), ("action", action)]
            .map { name, value in value.map { " \(name)='\($0)'" } ?? "" }.joined()
        let form = field.map {
            "<x xmlns='jabber:x:data' type='submit'><field var='\($0)'><value>\(value)</value></field></x>"
        }
        return "<command xmlns='\(namespace)'\(attributes)>\(form ?? "")</command>"
    }

    /// Begins the command with two forms.
    @ServerActor
    private static func begin(_ actor: Actor) async throws -> String {
        try #require(try await actor.asks(.set, command("config"), to: "montague.example")?["sessionid"])
    }
}

/// The commands of XEP-0050's examples.
private final class Errands: Module {
    static let info = ModuleInfo("errands", "Runs errands")

    init(options: NoOptions) {}

    func load(into host: ModuleHost) {
        host.command(AdHocCommand("list", "List", access: .anyone) { .done(note: "for \($0.from)") })
        host.command(AdHocCommand("secret", "Secret") { _ in .form(DataForm(.form)) { _, _ in .done() } })
        host.command(
            AdHocCommand("config", "Configure", access: .local) { _ in
                let services = ["httpd", "jabberd", "conflict", "broken"].map { DataFormField.Option($0) }
                let service = DataFormField("service", .listSingle, isRequired: true, options: services)
                return .form(DataForm(.form, fields: [service]), isLast: false) { form, _ in
                    let service = form.text("service") ?? ""
                    if service == "conflict" { throw StanzaError.conflict }
                    if service == "broken" { return .failed("It is broken.") }
                    let state = DataFormField("state", .textSingle, isRequired: true)
                    return .form(DataForm(.form, fields: [state])) { form, _ in
                        .done(note: "\(service) is \(form.text("state") ?? "")")
                    }
                }
            })
    }
}
