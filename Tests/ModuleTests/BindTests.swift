import ServerKit
import TestKit
import Testing

@testable import Modules

private let bind = "xmlns='urn:ietf:params:xml:ns:xmpp-bind'"
private let modules: [any Module.Type] = [SASL.self, Bind.self]

@Suite("Resource binding (RFC 6120 §7)") struct BindTests {
    @Test("The client gets the resource it asks for, and stanzas flow")
    func requested() async throws {
        try await play(modules: modules) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            let before = try await romeo.opens()
            #expect(!before.has("bind", .bind) && !before.has("session", .session))
            let features = try await romeo.logsInAgain()
            #expect(features.has("bind", .bind))
            #expect(features.child("session", .session)?.has("optional") == true)
            try await romeo.bindsResource("balcony")
            try await romeo.receives(
                "<iq type='result' id='bind'><bind \(bind)><jid>romeo@montague.example/balcony</jid></bind></iq>",
                exactly: true)
            #expect(romeo.resource?.details["mechanism"] == "PLAIN")
            try await romeo.sends("<iq type='get' id='1' to='romeo@montague.example/balcony'><x xmlns='urn:x'/></iq>")
            try await romeo.receives("<iq type='get' from='romeo@montague.example/balcony'><x xmlns='urn:x'/></iq>")
        }
    }

    @Test("Without a wish, or with an empty one, the server makes a name up")
    func generated() async throws {
        try await play(modules: modules) { stage in
            try await stage.account("romeo@montague.example")
            var names: Set<String> = []
            for wish in [nil, nil, ""] {
                let romeo = try await stage.connect(to: "montague.example")
                try await romeo.logsIn()
                try await romeo.bindsResource(wish)
                let result = try await romeo.receives("<iq type='result'/>")
                let jid = try #require(result.child("bind", .bind)?.text(of: "jid").flatMap { JID($0) })
                #expect(jid == romeo.jid)
                names.insert(try #require(jid.resourcepart))
            }
            #expect(names.count == 3 && names.allSatisfy { $0.utf8.count == 16 })
        }
    }

    @Test(
        "Resources that are none are refused, and the next may do",
        arguments: [String(repeating: "x", count: 1_024), "a\u{7F}", "\u{378}", String(repeating: "é", count: 600)])
    func malformed(wish: String) async throws {
        try await play(modules: modules) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.logsIn()
            try await romeo.bindsResource(wish)
            try await romeo.receives("<iq type='error' id='bind'><error type='modify'/></iq>")
            #expect(romeo.resource == nil)
            try await romeo.bindsResource("phone 📱 ")
            try await romeo.receives("<iq type='result' id='bind'/>")
            #expect(romeo.jid?.resourcepart == "phone 📱 ")
        }
    }

    @Test("Ten refusals end the stream")
    func retries() async throws {
        try await play(modules: modules) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.logsIn()
            for number in 0..<10 {
                try await romeo.sends("<iq type='get' id='\(number)'><bind \(bind)/></iq>")
                try await romeo.receives("<iq type='error' id='\(number)'/>")
            }
            try await romeo.isClosed(with: .policyViolation)
        }
    }

    @Test("Before authentication there is nothing to bind")
    func unauthenticated() async throws {
        try await play(modules: modules) { stage in
            let client = try await stage.connect(to: "montague.example")
            try await client.opens()
            try await client.bindsResource("phone")
            try await client.isClosed(with: .notAuthorized)
        }
    }

    @Test("Results and errors that nobody asked for are passed over")
    func unaskedResults() async throws {
        try await play(modules: modules) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.logsIn()
            try await romeo.sends("<iq type='result' id='1'><bind \(bind)/></iq>")
            try await romeo.sends("<iq type='error' id='2'><bind \(bind)/></iq>")
            try await romeo.staysSilent()
            try await romeo.bindsResource("phone")
            try await romeo.receives("<iq type='result' id='bind'/>")
        }
    }

    @Test("A stream has one resource, and what comes along is handled after the binding")
    func twice() async throws {
        try await play(modules: modules) { stage in
            try await stage.account("romeo@montague.example")
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.logsIn()
            try await romeo.sends(
                """
                <iq type='set' id='1'><bind \(bind)><resource>one</resource></bind></iq>\
                <iq type='set' id='2'><bind \(bind)><resource>two</resource></bind></iq>\
                <iq type='set' id='3' to='montague.example'><bind \(bind)/></iq>\
                <iq type='set' id='4'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>\
                <iq type='set' id='5' to='montague.example'>\
                <session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>
                """)
            try await romeo.receives("<iq type='result' id='1'/>")
            for id in [2, 3] {
                try await romeo.receives(
                    """
                    <iq type='error' id='\(id)'><error type='cancel'>\
                    <not-allowed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>
                    """)
            }
            try await romeo.receives("<iq type='result' id='4'/>")
            try await romeo.receives("<iq type='result' id='5'/>")
            #expect(romeo.jid?.resourcepart == "one")
        }
    }

    // MARK: Conflicts

    @Test("The old client has to go")
    func replace() async throws {
        try await play(modules: modules) { stage in
            let old = try await stage.enter("romeo@montague.example/phone")
            let new = try await stage.connect(to: "montague.example")
            try await new.logsIn()
            try await new.bindsResource("phone")
            try await new.receives("<iq type='result' id='bind'/>")
            try await old.isClosed(with: .conflict)
            let account = try #require(stage.server.host("montague.example")?.accounts.loadedAccount("romeo"))
            #expect(account.resources.count == 1 && account.resources.first === new.resource)
        }
    }

    @Test("The new client is refused, and may ask for something else")
    func refuse() async throws {
        try await play(modules: modules, config: "modules: { sasl: on, bind: { conflict: refuse } }") { stage in
            let old = try await stage.enter("romeo@montague.example/phone")
            let new = try await stage.connect(to: "montague.example")
            try await new.logsIn()
            try await new.bindsResource("phone")
            try await new.receives(
                """
                <iq type='error' id='bind'><error type='modify'>\
                <conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>
                """)
            try await new.bindsResource("tablet")
            try await new.receives("<iq type='result' id='bind'/>")
            #expect(!old.isClosed)
        }
    }

    @Test("The new client gets another name")
    func rename() async throws {
        try await play(modules: modules, config: "modules: { sasl: on, bind: { conflict: rename } }") { stage in
            let old = try await stage.enter("romeo@montague.example/phone")
            let new = try await stage.connect(to: "montague.example")
            try await new.logsIn()
            try await new.bindsResource("phone")
            try await new.receives("<iq type='result' id='bind'/>")
            #expect(new.jid != old.jid && new.jid?.bare == old.jid?.bare)
            #expect(!old.isClosed)
        }
    }

    @Test("An account has so many clients and no more, but one may take another's place")
    func limit() async throws {
        try await play(modules: modules, config: "modules: { sasl: on, bind: { resources: 2 } }") { stage in
            _ = try await stage.enter("romeo@montague.example/one")
            let two = try await stage.enter("romeo@montague.example/two")
            let third = try await stage.connect(to: "montague.example")
            try await third.logsIn()
            for wish in ["three", nil] {
                try await third.bindsResource(wish)
                try await third.receives(
                    """
                    <iq type='error' id='bind'><error type='wait'>\
                    <resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>
                    """)
            }
            try await third.bindsResource("two")
            try await third.receives("<iq type='result' id='bind'/>")
            try await two.isClosed(with: .conflict)
        }
    }

    // MARK: Accounts that change meanwhile

    @Test("An account that was locked or removed since the password was checked binds nothing")
    func lockedMeanwhile() async throws {
        try await play(modules: modules) { stage in
            try await stage.account("romeo@montague.example")
            let accounts = try #require(stage.server.host("montague.example")?.accounts)
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.logsIn()
            try await accounts.setLocked(true, "romeo")
            try await romeo.bindsResource("phone")
            try await romeo.receives(
                """
                <iq type='error' id='bind'><error type='cancel'>\
                <not-allowed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>
                """)
            try await accounts.remove("romeo")
            try await romeo.bindsResource("phone")
            try await romeo.receives("<iq type='error' id='bind'><error type='wait'/></iq>")
            #expect(romeo.resource == nil)
        }
    }

    @Test("A client that leaves while its account is loaded leaves no resource")
    func vanishing() async throws {
        try await play(modules: modules) { stage in
            try await stage.account("romeo@montague.example")
            let accounts = try #require(stage.server.host("montague.example")?.accounts)
            let romeo = try await stage.connect(to: "montague.example")
            try await romeo.logsIn()
            try await romeo.bindsResource("phone")
            await romeo.vanishes()
            #expect(accounts.resourceCount == 0)
        }
    }
}

extension Actor {
    fileprivate func logsInAgain() async throws -> Element {
        try await authenticatesPlain("romeo", "secret")
        try await receives("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
        return try await opens()
    }
}
