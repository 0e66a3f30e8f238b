import ServerKit
import TestKit
import Testing

@testable import Modules

@Suite("Privileged components (XEP-0356)", .serialized) struct PrivilegedEntityTests {
    private let all =
        "privileges: { roster: both, message: outgoing, presence: roster, iq: { 'http://jabber.org/protocol/disco#info': get, 'urn:xmpp:ping': both } }"
    private let forbidden = "<error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"

    @Test("A component is told what it may do, and nothing if that is nothing")
    func announcement() async throws {
        try await playWithComponent(all) { stage in
            let gateway = try await Gateway.connect(stage)
            try await gateway.receives(
                """
                <message from='montague.example' to='irc.montague.example'><privilege xmlns='urn:xmpp:privilege:2'>
                <perm access='roster' type='both' push='true'/><perm access='message' type='outgoing'/>
                <perm access='iq'><namespace ns='http://jabber.org/protocol/disco#info' type='get'/>
                <namespace ns='urn:xmpp:ping' type='both'/></perm>
                <perm access='presence' type='roster'/></privilege></message>
                """)
            try stage.reload(
                componentConfig("privileges: { roster: get, roster_push: off }", modules: stage.server.planner.bundled))
            try await gateway.receives(
                "<message><privilege xmlns='urn:xmpp:privilege:2'><perm access='roster' type='get' push='false'/></privilege></message>"
            )
        }
        try await playWithComponent { stage in await (try Gateway.connect(stage)).staysSilent() }
        try await playWithComponent("\(all), hosts: capulet.example") { stage in
            await (try Gateway.connect(stage)).staysSilent()
        }
    }

    @Test("It reads and changes rosters as their owners do, and is told of changes")
    func roster() async throws {
        try await playWithComponent(all) { stage in
            let gateway = try await Gateway.connect(stage)
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            try await stage.account("juliet@montague.example")
            try await romeo.asks(.get, "<query xmlns='jabber:iq:roster'/>")
            _ = await gateway.everything()
            gateway.says(
                "<iq type='set' id='r1' from='irc.montague.example' to='romeo@montague.example'><query xmlns='jabber:iq:roster'><item jid='nurse@irc.montague.example' name='Nurse'/></query></iq>"
            )
            let seen = await gateway.everything()
            #expect(
                seen.contains { $0["type"] == "result" && $0["id"] == "r1" && $0["from"] == "romeo@montague.example" })
            let push = seen.first { $0["type"] == "set" }
            #expect(push?["from"] == "romeo@montague.example" && push?["to"] == "irc.montague.example")
            #expect(push?.firstChild?.child("item")?["name"] == "Nurse", "\(seen)")
            try await romeo.receives(
                "<iq type='set'><query xmlns='jabber:iq:roster'><item jid='nurse@irc.montague.example' name='Nurse'/></query></iq>"
            )
            gateway.says(
                "<iq type='get' id='r2' from='irc.montague.example' to='romeo@montague.example'><query xmlns='jabber:iq:roster'/></iq>"
            )
            try await gateway.receives(
                "<iq type='result' id='r2' from='romeo@montague.example' to='irc.montague.example'><query xmlns='jabber:iq:roster'><item jid='nurse@irc.montague.example' name='Nurse'/></query></iq>"
            )
            // One that is not in memory.
            gateway.says(
                "<iq type='get' id='r3' from='irc.montague.example' to='juliet@montague.example'><query xmlns='jabber:iq:roster'/></iq>"
            )
            try await gateway.receives("<iq type='result' id='r3' from='juliet@montague.example'/>")
            gateway.says(
                "<iq type='get' id='r4' from='irc.montague.example' to='nobody@montague.example'><query xmlns='jabber:iq:roster'/></iq>"
            )
            try await gateway.receives("<iq type='error' id='r4'>\(forbidden)</iq>")
            gateway.says(
                "<iq type='set' id='r5' from='irc.montague.example' to='romeo@montague.example'><query xmlns='jabber:iq:roster'><item jid='a'/><item jid='b'/></query></iq>"
            )
            try await gateway.receives("<iq type='error' id='r5'><error type='modify'/></iq>")
            try await romeo.staysSilent()
        }
    }

    @Test("Without the permission, or with another one, rosters are forbidden")
    func refusedRoster() async throws {
        try await playWithComponent("privileges: { roster: get }") { stage in
            let gateway = try await Gateway.connect(stage)
            try await stage.account("romeo@montague.example")
            _ = await gateway.everything()
            gateway.says(
                "<iq type='set' id='1' from='irc.montague.example' to='romeo@montague.example'><query xmlns='jabber:iq:roster'><item jid='nurse@irc.montague.example'/></query></iq>"
            )
            try await gateway.receives("<iq type='error' id='1'>\(forbidden)</iq>")
        }
        try await playWithComponent { stage in
            let gateway = try await Gateway.connect(stage)
            try await stage.account("romeo@montague.example")
            gateway.says(
                "<iq type='get' id='1' from='irc.montague.example' to='romeo@montague.example'><query xmlns='jabber:iq:roster'/></iq>"
            )
            try await gateway.receives("<iq type='error' id='1'><error type='cancel'/></iq>")
        }
    }

    // MARK: Messages

    private func wrapped(_ inner: String, to: String = "montague.example") -> String {
        "<message from='irc.montague.example' to='\(to)' id='w'><privilege xmlns='urn:xmpp:privilege:2'>"
            + "<forwarded xmlns='urn:xmpp:forward:0'>\(inner)</forwarded></privilege></message>"
    }

    @Test("It sends messages in users' names, which their other devices get, too")
    func messages() async throws {
        try await playWithComponent(all, modules: ["carbons"]) { stage in
            let gateway = try await Gateway.connect(stage)
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            let juliet = try await stage.enter("juliet@montague.example/balcony")
            try await romeo.asks(.set, "<enable xmlns='urn:xmpp:carbons:2'/>")
            gateway.says(
                wrapped(
                    "<message xmlns='jabber:client' from='romeo@montague.example' to='juliet@montague.example' type='chat' id='m'><body>Hark</body></message>"
                ))
            try await juliet.receives(
                "<message from='romeo@montague.example' type='chat' id='m'><body>Hark</body></message>")
            try await romeo.receives(
                "<message from='romeo@montague.example'><sent xmlns='urn:xmpp:carbons:2'/></message>")
            gateway.says(
                wrapped(
                    "<message xmlns='jabber:client' from='montague.example' to='juliet@montague.example' id='n'><body>From the house</body></message>"
                ))
            try await juliet.receives("<message from='montague.example' id='n'><body>From the house</body></message>")
            // In the name of somebody who is not in memory, in order.
            try await stage.account("nurse@montague.example")
            for id in 1...5 {
                gateway.says(
                    wrapped(
                        "<message xmlns='jabber:client' from='nurse@montague.example' to='juliet@montague.example' id='\(id)'><body>\(id)</body></message>"
                    ))
            }
            for id in 1...5 { try await juliet.receives("<message from='nurse@montague.example' id='\(id)'/>") }
        }
    }

    @Test(
        "Other senders are forbidden",
        arguments: [
            "romeo@montague.example/orchard", "juliet@capulet.example", "nobody@montague.example",
            "irc.montague.example", "",
        ])
    func refusedMessages(_ sender: String) async throws {
        try await playWithComponent(all) { stage in
            let gateway = try await Gateway.connect(stage)
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            _ = await gateway.everything()
            let from = sender.isEmpty ? "" : " from='\(sender)'"
            gateway.says(
                wrapped("<message xmlns='jabber:client'\(from) to='romeo@montague.example'><body>Hark</body></message>")
            )
            try await gateway.receives("<message type='error' id='w'>\(forbidden)</message>")
            gateway.says(wrapped("<presence xmlns='jabber:client' from='romeo@montague.example'/>"))
            try await gateway.receives("<message type='error' id='w'>\(forbidden)</message>")
            try await romeo.staysSilent()
        }
    }

    @Test("Without the permission messages are forbidden")
    func messagesOff() async throws {
        try await playWithComponent("privileges: { roster: get }") { stage in
            let gateway = try await Gateway.connect(stage)
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            _ = await gateway.everything()
            gateway.says(
                wrapped(
                    "<message xmlns='jabber:client' from='romeo@montague.example' to='romeo@montague.example'><body>Hark</body></message>"
                ))
            try await gateway.receives("<message type='error' id='w'>\(forbidden)</message>")
            try await romeo.staysSilent()
        }
    }

    // MARK: Requests

    /// The component is connected, Juliet is there, and Romeo is not.
    @ServerActor
    private func gather(_ stage: Stage) async throws -> (gateway: Gateway, juliet: TestKit.Actor) {
        let gateway = try await Gateway.connect(stage)
        let juliet = try await stage.enter("juliet@montague.example/balcony")
        try await stage.account("romeo@montague.example")
        _ = await gateway.everything()
        return (gateway, juliet)
    }

    private func privileged(_ inner: String, kind: String = "get", to: String = "romeo@montague.example") -> String {
        "<iq from='irc.montague.example' to='\(to)' type='\(kind)' id='p'><privileged_iq xmlns='urn:xmpp:privilege:2'>\(inner)</privileged_iq></iq>"
    }

    @Test("It sends requests in users' names and gets the answers")
    func requests() async throws {
        try await playWithComponent(all) { stage in
            let (gateway, juliet) = try await gather(stage)
            gateway.says(
                privileged(
                    "<iq xmlns='jabber:client' type='get' id='i' to='juliet@montague.example/balcony'><ping xmlns='urn:xmpp:ping'/></iq>"
                ))
            let request = try await juliet.receives(
                "<iq type='get' from='romeo@montague.example' to='juliet@montague.example/balcony'><ping xmlns='urn:xmpp:ping'/></iq>"
            )
            let id = try #require(request["id"])
            // Nobody else can answer in her place.
            let nurse = try await stage.enter("nurse@montague.example/x")
            _ = await gateway.everything()
            try await nurse.sends("<iq type='result' id='\(id)' to='romeo@montague.example'/>")
            await gateway.staysSilent()
            try await juliet.sends("<iq type='result' id='\(id)' to='romeo@montague.example'/>")
            try await gateway.receives(
                """
                <iq type='result' id='p' from='romeo@montague.example' to='irc.montague.example'>
                <privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'>
                <iq xmlns='jabber:client' type='result' id='i' from='juliet@montague.example/balcony' to='romeo@montague.example'/>
                </forwarded></privilege></iq>
                """)
            try await juliet.sends("<iq type='result' id='\(id)' to='romeo@montague.example'/>")
            await gateway.staysSilent()
            // To nobody in particular, it is for the account itself.
            gateway.says(
                privileged(
                    "<iq xmlns='jabber:client' type='get' id='i'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
                ))
            try await gateway.receives(
                """
                <iq type='result' id='p'><privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'>
                <iq xmlns='jabber:client' type='result' id='i'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>
                </forwarded></privilege></iq>
                """)
        }
    }

    @Test("A request that nobody answers fails after a while")
    func silence() async throws {
        try await playWithComponent(all) { stage in
            let (gateway, juliet) = try await gather(stage)
            gateway.says(
                privileged(
                    "<iq xmlns='jabber:client' type='get' id='i' to='juliet@montague.example/balcony'><ping xmlns='urn:xmpp:ping'/></iq>"
                ))
            try await juliet.receives("<iq type='get'/>")
            await stage.advance(by: .seconds(121))
            try await gateway.receives("<iq type='error' id='p'><error type='wait'/></iq>")
        }
    }

    @Test("What does not fit is forbidden (XEP-0356 §6.3)")
    func refusedRequests() async throws {
        try await playWithComponent(all) { stage in
            let (gateway, juliet) = try await gather(stage)
            let to = "to='juliet@montague.example/balcony'"
            let ping = "<ping xmlns='urn:xmpp:ping'/>"
            let disco = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
            for wrong in [
                privileged(
                    "<iq xmlns='jabber:client' type='get' id='i' \(to)>\(ping)</iq>",
                    to: "romeo@montague.example/orchard"),
                privileged("<iq xmlns='jabber:client' type='get' id='i' \(to)>\(ping)</iq>", to: "montague.example"),
                privileged(
                    "<iq xmlns='jabber:client' type='get' id='i' \(to)>\(ping)</iq>", to: "nobody@montague.example"),
                privileged("<iq xmlns='jabber:client' type='get' id='i' \(to)>\(ping)</iq>", kind: "set"),
                privileged("<iq xmlns='jabber:client' type='set' id='i' \(to)>\(disco)</iq>", kind: "set"),
                privileged("<iq xmlns='jabber:client' type='get' id='i' \(to)><query xmlns='jabber:iq:roster'/></iq>"),
                privileged(
                    "<iq xmlns='jabber:client' type='get' id='i' from='juliet@montague.example' \(to)>\(ping)</iq>"),
                privileged("<iq xmlns='urn:other' type='get' id='i' \(to)>\(ping)</iq>"),
                privileged("<iq xmlns='jabber:client' type='result' id='i' \(to)>\(ping)</iq>"),
                privileged("<message xmlns='jabber:client' \(to)/>"),
            ] {
                gateway.says(wrong)
                try await gateway.receives("<iq type='error' id='p'>\(forbidden)</iq>")
            }
            try await juliet.staysSilent()
        }
    }

    // MARK: Presence

    @Test("It is shown users' presence when they come and go, and who is there when it connects")
    func users() async throws {
        try await playWithComponent("privileges: { presence: managed_entity }") { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard", with: "<show>away</show>")
            let gateway = try await Gateway.connect(stage)
            try await gateway.receives(
                "<message><privilege xmlns='urn:xmpp:privilege:2'><perm access='presence' type='managed_entity'/></privilege></message>"
            )
            try await gateway.receives(
                "<presence from='romeo@montague.example/orchard' to='irc.montague.example'><show>away</show></presence>"
            )
            try await romeo.sends("<presence><show>dnd</show></presence>")
            await gateway.staysSilent()
            try await romeo.sends("<presence type='unavailable'><status>Gone</status></presence>")
            try await gateway.receives(
                "<presence type='unavailable' from='romeo@montague.example/orchard'><status>Gone</status></presence>")
            try await romeo.sends("<presence/>")
            try await gateway.receives("<presence from='romeo@montague.example/orchard'/>")
            await romeo.vanishes()
            try await gateway.receives("<presence type='unavailable' from='romeo@montague.example/orchard'/>")
        }
    }

    @Test("It is shown contacts' presence once, whoever has them")
    func contacts() async throws {
        let config = "\(all)"
        try await playWithComponent(config, config: "") { stage in
            let gateway = try await Gateway.connect(stage)
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            let juliet = try await stage.enter("juliet@montague.example/balcony")
            _ = await gateway.everything()
            // Both see the nurse, who is at the gateway's own domain: any address elsewhere would do.
            for user in [romeo, juliet] {
                try await user.sends("<presence type='subscribe' to='nurse@irc.montague.example'/>")
                let bare = try #require(user.jid).bare
                gateway.says("<presence type='subscribed' from='nurse@irc.montague.example' to='\(bare)'/>")
            }
            _ = await gateway.everything()
            for user in [romeo, juliet] {
                gateway.says(
                    "<presence from='nurse@irc.montague.example/x' to='\(try #require(user.jid).bare)'><show>chat</show></presence>"
                )
            }
            let shown = await gateway.everything().filter {
                $0.name == "presence" && $0["from"] == "nurse@irc.montague.example/x"
            }
            #expect(shown.count == 1 && shown.first?["to"] == "irc.montague.example", "\(shown)")
            // A stranger's is none of its business.
            gateway.says("<presence from='stranger@irc.montague.example/x' to='romeo@montague.example'/>")
            #expect(await gateway.everything().isEmpty)
            // Nobody has to be there for it.
            await romeo.leaves()
            await juliet.leaves()
            await stage.advance(by: .minutes(20))
            _ = await gateway.everything()
            gateway.says(
                "<presence type='unavailable' from='nurse@irc.montague.example/x' to='juliet@montague.example'/>")
            let gone = await gateway.everything()
            #expect(
                gone.contains { $0["type"] == "unavailable" && $0["from"] == "nurse@irc.montague.example/x" }, "\(gone)"
            )
            gateway.says("<presence from='nurse@irc.montague.example/x' to='romeo@montague.example'/>")
            try await gateway.receives("<presence from='nurse@irc.montague.example/x' to='irc.montague.example'/>")
            gateway.socket.leaves()
            await stage.settle()
            let next = try await Gateway.connect(stage)
            let told = await next.everything()
            #expect(told.contains { $0.name == "presence" && $0["from"] == "nurse@irc.montague.example/x" }, "\(told)")
        }
    }
}
