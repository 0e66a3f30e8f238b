import TestKit
import Testing

@testable import Modules
@testable import ServerKit

@Suite("Stream management (XEP-0198)") struct StreamManagementTests {
    // MARK: Enabling

    @Test("It is offered after authentication, enabled after binding, and only once")
    func enabling() async throws {
        try await play(modules: sessionModules) { stage in
            try await stage.account(romeoJID)
            let romeo = try await stage.connect(to: "montague.example")
            #expect(try await romeo.opens().child("sm", .sm) == nil)
            try await romeo.sends("<enable \(sm)/>")
            try await romeo.receives("<failed \(sm)><unexpected-request xmlns='\(Namespace.stanzaErrors)'/></failed>")
            try await romeo.authenticatesPlain("romeo", "secret")
            try await romeo.receives("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
            let features = try await romeo.opens()
            #expect(features.has("sm", .sm))
            try await romeo.sends("<enable \(sm)/>")
            try await romeo.receives("<failed \(sm)><unexpected-request xmlns='\(Namespace.stanzaErrors)'/></failed>")
            try await romeo.bindsResource("phone")
            try await romeo.receives("<iq type='result'/>")
            try await romeo.sends("<enable \(sm)/>")
            let enabled = try await romeo.receives("<enabled \(sm)/>")
            #expect(enabled["resume"] == nil && enabled["id"] == nil && enabled["location"] == nil)
            try await romeo.sends("<enable \(sm)/>")
            try await romeo.isClosed(with: .policyViolation)
        }
    }

    @Test("The client may ask for less time than the server grants, not for more")
    func maximum() async throws {
        try await play(modules: sessionModules, config: "modules: { sm: { resume: 5 minutes } }") { stage in
            for (index, (wish, granted)) in [("60", "60"), ("9999", "300"), ("x", "300")].enumerated() {
                let romeo = try await stage.enter("\(romeoJID)/\(index)")
                try await romeo.sends("<enable \(sm) resume='1' max='\(wish)'/>")
                let enabled = try await romeo.receives("<enabled \(sm) resume='true' max='\(granted)'/>")
                #expect(enabled["id"]?.utf8.count == 32)
            }
        }
    }

    // MARK: Acknowledgements

    @Test("Each side counts the stanzas of the other; elements that are none do not count")
    func acknowledgements() async throws {
        try await play(modules: sessionModules) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await romeo.enables()
            try await romeo.sends("<r \(sm)/>")
            try await romeo.receives("<a \(sm) h='0'/>")
            try await romeo.writes("one", to: "juliet@capulet.example")
            try await romeo.sends("<iq type='get' id='1' to='nobody@montague.example'><x xmlns='urn:x'/></iq><r \(sm)/>")
            try await romeo.receivesAnywhere("<a \(sm) h='2'/>")
            try await romeo.receives("<iq type='error' id='1'/>")
            try await romeo.receives("<r \(sm)/>")
            // While an answer is owed, no more requests are made.
            try await juliet.writes("two", to: romeoJID)
            try await juliet.writes("three", to: romeoJID)
            try await romeo.receives("<message><body>two</body></message>")
            try await romeo.receives("<message><body>three</body></message>")
            try await romeo.staysSilent()
            // And not at once after the answer.
            try await romeo.sends("<a \(sm) h='1'/>")
            try await romeo.staysSilent()
            await stage.advance(by: .seconds(1))
            try await romeo.receives("<r \(sm)/>")
            try await romeo.sends("<a \(sm) h='3'/>")
            await stage.advance(by: .seconds(1))
            try await romeo.staysSilent()
            // Said again, it means nothing.
            try await romeo.sends("<a \(sm) h='2'/>")
            try await romeo.staysSilent()
        }
    }

    @Test("A refused stanza counts as well, and so does an acknowledgement of it")
    func refused() async throws {
        try await play(modules: sessionModules) { stage in
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await romeo.enables()
            try await romeo.sends("<iq type='nonsense' id='1'/><message to='@'/><r \(sm)/>")
            try await romeo.receivesAnywhere("<a \(sm) h='2'/>")
            try await romeo.receives("<iq type='error' id='1'/>")
            try await romeo.receives("<r \(sm)/>")
            let error = try await romeo.receives("<message type='error'><error/></message>")
            #expect(error["from"] == nil)
            // The answers were stanzas, too.
            try await romeo.sends("<a \(sm) h='1'/>")
            await stage.advance(by: .seconds(1))
            try await romeo.receives("<r \(sm)/>")
            try await romeo.staysSilent()
        }
    }

    @Test("A client that is sent a lot is asked now and then, one that is sent little at once")
    func seldom() async throws {
        try await play(modules: sessionModules) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await romeo.enables()
            try await juliet.writes("1", to: romeoJID)
            try await romeo.receives("<message/>")
            try await romeo.receives("<r \(sm)/>")
            try await romeo.sends("<a \(sm) h='1'/>")
            for number in 2...100 {
                try await juliet.writes("\(number)", to: romeoJID)
                try await romeo.receives("<message><body>\(number)</body></message>")
            }
            try await romeo.staysSilent()
            try await juliet.writes("101", to: romeoJID)
            try await romeo.receives("<message/>")
            try await romeo.receives("<r \(sm)/>")
            try await romeo.sends("<a \(sm) h='101'/>")
            await stage.advance(by: .seconds(2))
            try await romeo.staysSilent()
            try await juliet.writes("102", to: romeoJID)
            try await romeo.receives("<message/>")
            try await romeo.receives("<r \(sm)/>")
        }
    }

    @Test("A client that counts too little is not asked again and again")
    func behind() async throws {
        try await play(modules: sessionModules) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await romeo.enables()
            try await juliet.writes("one", to: romeoJID)
            try await romeo.receives("<message/>")
            try await romeo.receives("<r \(sm)/>")
            try await romeo.sends("<a \(sm) h='0'/>")
            try await romeo.staysSilent()
            await stage.advance(by: .seconds(1))
            try await romeo.staysSilent()
            try await juliet.writes("two", to: romeoJID)
            try await romeo.receives("<message/>")
            try await romeo.receives("<r \(sm)/>")
        }
    }

    @Test("Whoever acknowledges more than there was is cut off", arguments: ["1", "4294967295"])
    func tooHigh(h: String) async throws {
        try await play(modules: sessionModules) { stage in
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await romeo.enables()
            try await romeo.sends("<a \(sm) h='\(h)'/>")
            guard h == "1" else { return try await romeo.staysSilent() }
            try await romeo.receives(
                """
                <error xmlns='http://etherx.jabber.org/streams'><undefined-condition xmlns='\(Namespace.streamErrors)'/>
                <handled-count-too-high \(sm) h='1' send-count='0'/></error>
                """)
        }
    }

    @Test("Acknowledgements without a number, or with nonsense, end the stream", arguments: ["", "h='x'", "h='-1'"])
    func malformed(attributes: String) async throws {
        try await play(modules: sessionModules) { stage in
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await romeo.enables()
            try await romeo.sends("<a \(sm) \(attributes)/>")
            try await romeo.isClosed(with: .policyViolation)
        }
    }

    // MARK: Limits

    @Test("A queue that overflows ends the session of a client that is away, and nothing is lost")
    func overflow() async throws {
        try await play(modules: sessionModules, config: "modules: { sm: { queue: 10 } }") { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await romeo.enables()
            await romeo.vanishes()
            for number in 0..<12 { try await juliet.writes("\(number)", to: romeoJID) }
            let again = try await stage.enter("\(romeoJID)/other", presence: false)
            try await again.sends("<presence/>")
            #expect(bodies(await again.everything()) == (0..<12).map { "\($0)" })
        }
    }

    @Test("A client that acknowledges nothing is cut off")
    func neverAcknowledges() async throws {
        try await play(modules: sessionModules, config: "modules: { sm: { queue: 10 } }") { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await romeo.enables()
            for number in 0..<11 { try await juliet.writes("\(number)", to: romeoJID) }
            try await romeo.isClosed(with: .policyViolation)
        }
    }

    @Test("A silent client's messages are announced, then its connection is given up, and it may come back")
    func silence() async throws {
        try await play(modules: sessionModules) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone")
            let id = try await romeo.enables()
            let delayed = Delayed()
            let list = stage.server.host("montague.example")?.hooks.stanzaDelayed
            _ = list?.observe(rank: 0) { delayed.stanzas.append($0.stanza) }
            try await juliet.writes("one", to: romeoJID)
            try await romeo.receives("<message><body>one</body></message>")
            await stage.advance(by: .seconds(8))
            #expect(delayed.stanzas.isEmpty)
            await stage.advance(by: .seconds(5))
            #expect(delayed.stanzas.count == 1)
            await stage.advance(by: .seconds(90))
            try await romeo.isClosed(with: .connectionTimeout)
            #expect(delayed.stanzas.count == 1)
            try await juliet.writes("two", to: romeoJID)
            await stage.settle()
            #expect(delayed.stanzas.count == 2)
            let again = try await stage.returns()
            try await again.resumes(id, h: 1)
            try await again.receives("<resumed \(sm)/>")
            try await again.receives("<message><body>two</body></message>")
        }
    }

    @Test("Only so many clients of an account may be away")
    func detachedLimit() async throws {
        try await play(modules: sessionModules, config: "modules: { sm: { detached: 2 } }") { stage in
            for number in 0..<4 {
                let romeo = try await stage.enter("\(romeoJID)/\(number)")
                try await romeo.enables()
                await romeo.vanishes()
            }
            let account = stage.server.host("montague.example")?.accounts.loadedAccount("romeo")
            #expect(account?.resources.compactMap(\.jid.resourcepart) == ["2", "3"])
        }
    }

    @Test("Unloading the module leaves the streams as they were without it")
    func unloading() async throws {
        let names = sessionModules.map { $0.info.name }
        let without = "modules: { " + names.map { "\($0): \($0 == "sm" ? "off" : "on")" }.joined(separator: ", ") + " }"
        try await play(modules: sessionModules) { stage in
            let juliet = try await stage.enter("juliet@capulet.example/balcony")
            let romeo = try await stage.enter("\(romeoJID)/phone")
            try await romeo.enables()
            try stage.reload(without)
            try await juliet.writes("one", to: romeoJID)
            try await romeo.receives("<message><body>one</body></message>")
            try await romeo.staysSilent()
            try await romeo.sends("<r \(sm)/>")
            try await romeo.isClosed(with: .unsupportedStanzaType)
        }
    }
}

/// What a hook told.
@ServerActor
private final class Delayed {
    var stanzas: [Stanza] = []
    init() {}
}
