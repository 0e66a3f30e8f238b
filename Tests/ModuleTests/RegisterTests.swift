import ServerKit
import TestKit
import Testing

@testable import Modules

private let query = "xmlns='jabber:iq:register'"
private let modules: [any Module.Type] = [SASL.self, Bind.self, Register.self]
private let open = "modules: { sasl: on, bind: on, register: { allow_registration: on } }"

private func submission(_ username: String, _ password: String, id: String = "reg") -> String {
    """
    <iq type='set' id='\(id)'><query \(query)><username>\(username)</username>\
    <password>\(password)</password></query></iq>
    """
}

private func form(_ fields: [String: String], formType: String = "jabber:iq:register") -> String {
    let fields = fields.map { "<field var='\($0)'><value>\($1)</value></field>" }.joined()
    return """
        <iq type='set' id='reg'><query \(query)><x xmlns='jabber:x:data' type='submit'>\
        <field var='FORM_TYPE'><value>\(formType)</value></field>\(fields)</x></query></iq>
        """
}

private func refusal(_ condition: String, _ id: String = "reg") -> String {
    "<iq type='error' id='\(id)'><error><\(condition) xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
}

@Suite("The own account (XEP-0077)") struct AccountRegistrationTests {
    @Test("A user is registered", arguments: [nil, "montague.example", "romeo@montague.example"])
    func registered(to: String?) async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let answer = try await romeo.asks(.get, "<query \(query)/>", to: to)
            #expect(answer?.has("registered") == true)
            #expect(answer?.text(of: "username") == "romeo")
            #expect(answer?.text(of: "password") == "")
        }
    }

    @Test("A user changes the password, in fields or in a form", arguments: [false, true])
    func change(asForm: Bool) async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            try await romeo.sends(
                asForm
                    ? form(
                        ["username": "romeo@montague.example", "old_password": "secret", "password": "wherefore art"],
                        formType: "jabber:iq:register:changepassword")
                    : submission("Romeo", "wherefore art"))
            try await romeo.receives("<iq type='result' id='reg'/>")
            let other = try await stage.connect(to: "montague.example")
            try await other.opens()
            try await other.authenticatesPlain("romeo", "secret")
            try await other.fails("not-authorized")
            try await other.authenticatesPlain("romeo", "wherefore art")
            try await other.receives("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
            #expect(!romeo.isClosed)
        }
    }

    private static let badChanges: [(String, StanzaError.Condition)] = [
        ("<query \(query)/>", .badRequest),
        ("<query \(query)><password>long enough</password></query>", .badRequest),
        ("<query \(query)><username>romeo</username></query>", .badRequest),
        ("<query \(query)><username>romeo</username><password/></query>", .badRequest),
        ("<query \(query)><username>romeo</username><password>short</password></query>", .notAcceptable),
        ("<query \(query)><username>romeo</username><password>aaaaaaaaaaaa</password></query>", .notAcceptable),
        ("<query \(query)><username>romeo</username><password>a\u{7F}bcdefghijk</password></query>", .notAcceptable),
        ("<query \(query)><username>juliet</username><password>long enough</password></query>", .notAllowed),
        ("<query \(query)><username>romeo@capulet.example</username><password>long enough</password></query>",
            .notAllowed),
        ("<query \(query)><x xmlns='jabber:x:data' type='form'/></query>", .badRequest),
        ("<query \(query)><remove/><username>romeo</username></query>", .badRequest),
    ]

    @Test("Changes that are incomplete, weak or another's are refused", arguments: badChanges)
    func badChange(payload: String, condition: StanzaError.Condition) async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            try await stage.account("juliet@montague.example")
            for to in [nil, "montague.example"] {
                #expect(try await romeo.isRefused(.set, payload, to: to).condition == condition)
            }
            let other = try await stage.connect(to: "montague.example")
            try await other.logsIn("romeo", "secret")
        }
    }

    @Test("A refused password is not sent back")
    func secrecy() async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            try await romeo.sends(submission("romeo", "short"))
            let error = try await romeo.receives(refusal("not-acceptable"))
            #expect(error.children.count == 1)
        }
    }

    @Test("Strangers change nothing")
    func strangers() async throws {
        try await play(modules: modules) { stage in
            _ = try await stage.enter("romeo@montague.example/phone")
            let tybalt = try await stage.enter("tybalt@capulet.example/sword")
            for payload in ["<query \(query)><remove/></query>",
                "<query \(query)><username>romeo</username><password>long enough</password></query>"]
            {
                let error = try await tybalt.isRefused(.set, payload, to: "romeo@montague.example")
                #expect(error.condition == .serviceUnavailable)
                #expect(try await tybalt.isRefused(.set, payload, to: "montague.example").condition == .forbidden)
            }
            try await stage.staysSilent()
            let other = try await stage.connect(to: "montague.example")
            try await other.logsIn("romeo", "secret")
        }
    }

    @Test("Passwords of one account change one at a time")
    func flood() async throws {
        try await play(modules: modules) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            try await romeo.sends((0..<20).map { submission("romeo", "password \($0)", id: "\($0)") }.joined())
            var results = 0
            for _ in 0..<20 {
                let answer = try await romeo.receives("<iq/>")
                if answer["type"] == "result" { results += 1 }
            }
            #expect(results == 1)
        }
    }

    @Test("A removal is answered, then all sessions end and nothing is left", arguments: [nil, "montague.example"])
    func remove(to: String?) async throws {
        try await play(modules: modules) { stage in
            let phone = try await stage.enter("romeo@montague.example/phone")
            let tablet = try await stage.enter("romeo@montague.example/tablet")
            let address = to.map { " to='\($0)'" } ?? ""
            try await phone.sends("<iq type='set' id='bye'\(address)><query \(query)><remove/></query></iq>")
            try await phone.receivesAnywhere("<iq type='result' id='bye'/>")
            try await phone.isClosed(with: .notAuthorized)
            try await tablet.isClosed(with: .notAuthorized)
            let accounts = try #require(stage.server.host("montague.example")?.accounts)
            #expect(try await accounts.store.record(of: "romeo") == nil)
            await stage.settle()
            #expect(accounts.loadedAccount("romeo") == nil)
            let client = try await stage.connect(to: "montague.example")
            try await client.opens()
            try await client.authenticatesPlain("romeo", "secret")
            try await client.fails("not-authorized")
        }
    }
}

@Suite("Signing up (XEP-0077)") struct SignUpTests {
    @Test("Off by default: not offered, and not there")
    func off() async throws {
        try await play(modules: modules) { stage in
            let client = try await stage.connect(to: "montague.example")
            #expect(try await !client.opens().has("register", .registerFeature))
            try await client.sends("<iq type='get' id='reg'><query \(query)/></iq>")
            try await client.receives(refusal("service-unavailable"))
            try await client.sends(submission("mercutio", "a plague"))
            try await client.receives(refusal("service-unavailable"))
            let accounts = try #require(stage.server.host("montague.example")?.accounts)
            #expect(try await accounts.store.record(of: "mercutio") == nil)
        }
    }

    @Test("A stranger asks, signs up in fields or in a form, and logs in on the same stream", arguments: [false, true])
    func signUp(asForm: Bool) async throws {
        try await play(modules: modules, config: open) { stage in
            let client = try await stage.connect(to: "montague.example")
            #expect(try await client.opens().has("register", .registerFeature))
            try await client.sends("<iq type='get' id='1' to='montague.example'><query \(query)/></iq>")
            try await client.receives(
                """
                <iq type='result' id='1'><query \(query)><instructions/><username/><password/>\
                <x xmlns='jabber:x:data' type='form'>\
                <field var='FORM_TYPE' type='hidden'><value>jabber:iq:register</value></field>\
                <field var='username' type='text-single'><required/></field>\
                <field var='password' type='text-private'><required/></field></x></query></iq>
                """)
            try await client.sends(
                asForm
                    ? form(["username": "Mercutio", "password": "a plague"]) : submission("Mercutio", "a plague"))
            try await client.receives("<iq type='result' id='reg'/>")
            // One identity for each stream. XEP-0077 §3.1.1.
            try await client.sends(submission("tybalt", "rapier and dagger", id: "2"))
            try await client.receives(refusal("not-acceptable", "2"))
            _ = try await client.authenticatesScram("mercutio", "a plague")
            try await client.receives("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
            #expect(try await !client.opens().has("register", .registerFeature))
            try await client.sends(submission("tybalt", "rapier and dagger", id: "3"))
            try await client.receives(refusal("unexpected-request", "3"))
        }
    }

    @Test("Not in plain text")
    func plainText() async throws {
        try await play(modules: modules, config: open) { stage in
            let client = try await stage.connect(to: "montague.example", secure: false)
            #expect(try await !client.opens().has("register", .registerFeature))
            try await client.sends(submission("mercutio", "a plague"))
            let error = try await client.receives(refusal("not-authorized"))
            #expect(!error.has("query", .register))
        }
    }

    private static let bad: [(String, String)] = [
        (submission("romeo", "wherefore art"), "conflict"),
        (submission("ROMEO", "wherefore art"), "conflict"),
        (submission("", "wherefore art"), "not-acceptable"),
        (submission("mercutio", ""), "not-acceptable"),
        (submission("mercutio", "short"), "not-acceptable"),
        (submission("mercutio", "mercutio"), "not-acceptable"),
        (submission("admin", "wherefore art"), "not-acceptable"),
        (submission("Postmaster", "wherefore art"), "not-acceptable"),
        (submission("a@b", "wherefore art"), "not-acceptable"),
        (submission("two words", "wherefore art"), "not-acceptable"),
        (submission(String(repeating: "m", count: 65), "wherefore art"), "not-acceptable"),
        (submission("mercutio", String(repeating: "ab", count: 600)), "not-acceptable"),
        ("<iq type='set' id='reg'><query \(query)/></iq>", "not-acceptable"),
        ("<iq type='set' id='reg'><query \(query)><remove/></query></iq>", "unexpected-request"),
        (form(["username": "mercutio"]), "not-acceptable"),
        (form(["username": "mercutio", "password": "a plague"], formType: "urn:x"), "bad-request"),
        ("<iq type='set' id='reg'><query \(query)><x xmlns='jabber:x:data' type='cancel'/></query></iq>",
            "bad-request"),
    ]

    @Test("What makes no account is refused, without the password", arguments: bad)
    func refused(request: String, condition: String) async throws {
        try await play(modules: modules, config: open) { stage in
            try await stage.account("romeo@montague.example")
            let client = try await stage.connect(to: "montague.example")
            try await client.opens()
            try await client.sends(request)
            let error = try await client.receives(refusal(condition))
            #expect(!error.has("query", .register))
            let accounts = try #require(stage.server.host("montague.example")?.accounts)
            #expect(try await accounts.store.names() == ["romeo"])
        }
    }

    @Test("An address tries so many names, and again later")
    func perAddress() async throws {
        let config = "modules: { sasl: on, bind: on, register: { allow_registration: on, per_address: 3 per hour } }"
        try await play(modules: modules, config: config) { stage in
            for number in 0..<5 {
                let client = try await stage.connect(to: "montague.example")
                try await client.opens()
                try await client.sends(submission("user\(number % 2)", "long enough"))
                let outcome = number < 2 ? "<iq type='result'/>" : refusal(number == 2 ? "conflict" : "not-acceptable")
                try await client.receives(outcome)
            }
            await stage.advance(by: .seconds(3_600))
            let client = try await stage.connect(to: "montague.example")
            try await client.opens()
            try await client.sends(submission("user5", "long enough"))
            try await client.receives("<iq type='result'/>")
        }
    }

    @Test("Ten mistakes end the stream")
    func mistakes() async throws {
        try await play(modules: modules, config: open) { stage in
            let client = try await stage.connect(to: "montague.example")
            try await client.opens()
            for _ in 0..<10 {
                try await client.sends(submission("admin", "long enough"))
                try await client.receives(refusal("not-acceptable"))
            }
            try await client.isClosed(with: .policyViolation)
        }
    }

    @Test("Two that want one name at the same moment: one gets it")
    func race() async throws {
        try await play(modules: modules, config: open) { stage in
            var clients: [Actor] = []
            for _ in 0..<3 {
                let client = try await stage.connect(to: "montague.example")
                try await client.opens()
                clients.append(client)
            }
            for (number, client) in clients.enumerated() {
                try await client.sends(submission("mercutio", "my password \(number)"))
            }
            var winners: [Int] = []
            for (number, client) in clients.enumerated() {
                if try await client.receives("<iq id='reg'/>")["type"] == "result" { winners.append(number) }
            }
            #expect(winners.count == 1)
            let client = try await stage.connect(to: "montague.example")
            try await client.logsIn("mercutio", "my password \(winners.first ?? -1)")
        }
    }

    @Test("Guests' hosts have nothing to sign up for")
    func anonymous() async throws {
        let config = "hosts: { guests.example: { authentication: anonymous } }\n\(open)"
        try await play(modules: modules, config: config) { stage in
            let guest = try await stage.connect(to: "guests.example")
            #expect(try await !guest.opens().has("register", .registerFeature))
            try await guest.sends(submission("mercutio", "a plague"))
            try await guest.isClosed(with: .notAuthorized)
        }
    }
}
