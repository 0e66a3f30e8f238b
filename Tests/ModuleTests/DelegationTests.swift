import ServerKit
import TestKit
import Testing

@testable import Modules

@Suite("Delegated namespaces (XEP-0355)", .serialized) struct DelegationTests {
    private let options = "delegate: { 'urn:verona': [], 'urn:mantua': [node] }"
    private let info = "<query xmlns='http://jabber.org/protocol/disco#info'"

    /// Answers what the server asks when a component connects.
    @ServerActor
    private func welcome(_ gateway: Gateway, features: [String: String] = [:]) async throws {
        for request in await gateway.everything() where request["type"] == "get" {
            let node = request.firstChild?["node"] ?? ""
            gateway.says(
                "<iq type='result' id='\(request["id"] ?? "")' from='irc.montague.example' to='montague.example'>"
                    + "\(info) node='\(node)'>\(features[node] ?? "")</query></iq>")
        }
        await gateway.staysSilent()
    }

    /// The answer to a request that was forwarded.
    private func answer(_ request: Element, _ inner: String, type: String = "result") -> String {
        "<iq type='\(type)' id='\(request["id"] ?? "")' from='irc.montague.example' to='montague.example'>"
            + "<delegation xmlns='urn:xmpp:delegation:2'><forwarded xmlns='urn:xmpp:forward:0'>\(inner)</forwarded></delegation></iq>"
    }

    @Test("A component is told what is delegated, and says what it can do")
    func announcement() async throws {
        try await playWithComponent(options) { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            let before = try await romeo.asks(.get, "\(info)/>", to: "montague.example")
            #expect(before?.children.contains { $0["var"] == "urn:xmpp:delegation:2" } == true)
            let gateway = try await Gateway.connect(stage)
            try await gateway.receives(
                """
                <message from='montague.example' to='irc.montague.example'><delegation xmlns='urn:xmpp:delegation:2'>
                <delegated namespace='urn:mantua'><attribute name='node'/></delegated><delegated namespace='urn:verona'/>
                </delegation></message>
                """)
            try await welcome(
                gateway,
                features: [
                    "urn:xmpp:delegation:2::urn:verona":
                        "<feature var='urn:verona'/><feature var='urn:verona#balcony'/>",
                    "urn:xmpp:delegation:2:bare:urn:verona":
                        "<identity category='pubsub' type='pep'/><feature var='urn:verona#bare'/>",
                ])
            let host = try await romeo.asks(.get, "\(info)/>", to: "montague.example")
            #expect(host?.children.contains { $0["var"] == "urn:verona#balcony" } == true)
            let account = try await romeo.asks(.get, "\(info)/>", to: "romeo@montague.example")
            #expect(account?.children.contains { $0["var"] == "urn:verona#bare" } == true)
            #expect(account?.children.contains { $0["category"] == "pubsub" } == true)
            #expect(account?.children.contains { $0["category"] == "account" } == true)
            try stage.reload(componentConfig(modules: stage.server.planner.bundled))
            let after = try await romeo.asks(.get, "\(info)/>", to: "montague.example")
            #expect(after?.children.contains { $0["var"]?.hasPrefix("urn:verona") == true } == false)
            #expect(after?.children.contains { $0["var"] == "urn:xmpp:delegation:2" } == false)
        }
    }

    @Test("Requests to the host and to bare JIDs are forwarded, and the answers come back as from there")
    func forwarding() async throws {
        try await playWithComponent(options) { stage in
            let gateway = try await Gateway.connect(stage)
            try await welcome(gateway)
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            for (to, from) in [("", "romeo@montague.example"), (" to='montague.example'", "montague.example")] {
                try await romeo.sends("<iq type='set' id='1'\(to)><mood xmlns='urn:verona'><sad/></mood></iq>")
                let request = try await gateway.receives(
                    """
                    <iq type='set' from='montague.example' to='irc.montague.example'><delegation xmlns='urn:xmpp:delegation:2'>
                    <forwarded xmlns='urn:xmpp:forward:0'><iq xmlns='jabber:client' type='set' id='1' from='romeo@montague.example/orchard' to='\(from)'>
                    <mood xmlns='urn:verona'><sad/></mood></iq></forwarded></delegation></iq>
                    """)
                gateway.says(
                    answer(
                        request,
                        "<iq xmlns='jabber:client' type='result' id='1' to='romeo@montague.example/orchard'><mood xmlns='urn:verona'/></iq>"
                    ))
                try await romeo.receives("<iq type='result' id='1' from='\(from)'><mood xmlns='urn:verona'/></iq>")
            }
            // To another resource it is the client's affair.
            let other = try await stage.enter("romeo@montague.example/tomb")
            _ = await romeo.everything()
            try await romeo.sends(
                "<iq type='get' id='2' to='romeo@montague.example/tomb'><mood xmlns='urn:verona'/></iq>")
            try await other.receives("<iq type='get' id='2'/>")
            await gateway.staysSilent()
            // For accounts that do not exist nobody is asked.
            let refusal = try await romeo.isRefused(.get, "<mood xmlns='urn:verona'/>", to: "nobody@montague.example")
            #expect(refusal.condition == .serviceUnavailable)
            await gateway.staysSilent()
        }
    }

    @Test("Where the attribute is missing, and for the component itself, the host answers")
    func notForwarded() async throws {
        try await playWithComponent("delegate: { 'urn:xmpp:ping': [node], 'urn:verona': [] }") { stage in
            let gateway = try await Gateway.connect(stage)
            try await welcome(gateway)
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            try await romeo.asks(.get, "<ping xmlns='urn:xmpp:ping'/>", to: "montague.example")
            try await romeo.sends(
                "<iq type='get' id='n' to='montague.example'><ping xmlns='urn:xmpp:ping' node='x'/></iq>")
            try await gateway.receives("<iq type='set'><delegation xmlns='urn:xmpp:delegation:2'/></iq>")
            gateway.says(
                "<iq type='get' id='g' from='irc.montague.example' to='montague.example'><ping xmlns='urn:xmpp:ping' node='x'/></iq>"
            )
            try await gateway.receives("<iq type='result' id='g'/>")
        }
    }

    @Test("Answers that do not fit the question are none")
    func badAnswers() async throws {
        try await playWithComponent(options) { stage in
            let gateway = try await Gateway.connect(stage)
            try await welcome(gateway)
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            let juliet = try await stage.enter("juliet@montague.example/balcony")
            let mood = "<mood xmlns='urn:verona'/>"
            for wrong in [
                "<iq xmlns='jabber:client' type='result' id='q' to='juliet@montague.example/balcony'>\(mood)</iq>",
                "<iq xmlns='jabber:client' type='result' id='other' to='romeo@montague.example/orchard'>\(mood)</iq>",
                "<iq xmlns='jabber:client' type='result' id='q' from='juliet@montague.example' to='romeo@montague.example/orchard'>\(mood)</iq>",
                "<iq xmlns='jabber:client' type='set' id='q' to='romeo@montague.example/orchard'>\(mood)</iq>",
                "<message xmlns='jabber:client' id='q' to='romeo@montague.example/orchard'/>", "",
            ] {
                try await romeo.sends("<iq type='get' id='q'>\(mood)</iq>")
                gateway.says(answer(try await gateway.receives("<iq type='set'/>"), wrong))
                try await romeo.receives(
                    "<iq type='error' id='q'><error><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
                )
            }
            try await romeo.sends("<iq type='get' id='q'>\(mood)</iq>")
            let request = try await gateway.receives("<iq type='set'/>")
            gateway.says(
                "<iq type='error' id='\(request["id"] ?? "")' from='irc.montague.example' to='montague.example'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
            )
            try await romeo.receives(
                "<iq type='error' id='q'><error><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
            )
            // And one that never comes.
            try await romeo.sends("<iq type='get' id='q'>\(mood)</iq>")
            try await gateway.receives("<iq type='set'/>")
            await stage.advance(by: .seconds(61))
            try await romeo.receives("<iq type='error' id='q'/>")
            try await juliet.staysSilent()
        }
    }

    @Test("Without the component its namespaces are unavailable")
    func notConnected() async throws {
        try await playWithComponent(options) { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            #expect(try await romeo.isRefused(.get, "<mood xmlns='urn:verona'/>").condition == .serviceUnavailable)
        }
    }

    @Test("A delegated roster is still the host's for the component that manages it (XEP-0355 §4.3.1)")
    func managedRoster() async throws {
        try await playWithComponent(
            "privileges: { roster: both, roster_push: off }, delegate: { 'jabber:iq:roster': [] }"
        ) { stage in
            let gateway = try await Gateway.connect(stage)
            try await welcome(gateway)
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            let item = "<query xmlns='jabber:iq:roster'><item jid='juliet@capulet.example' name='J'/></query>"
            try await romeo.sends("<iq type='set' id='r'>\(item)</iq>")
            let request = try await gateway.receives("<iq type='set'><delegation xmlns='urn:xmpp:delegation:2'/></iq>")
            gateway.says(
                answer(request, "<iq xmlns='jabber:client' type='result' id='r' to='romeo@montague.example/orchard'/>"))
            try await romeo.receives("<iq type='result' id='r'/>")
            gateway.says("<iq type='set' id='m' from='irc.montague.example' to='romeo@montague.example'>\(item)</iq>")
            try await gateway.receives("<iq type='result' id='m' from='romeo@montague.example'/>")
            gateway.says(
                "<iq type='get' id='g' from='irc.montague.example' to='romeo@montague.example'><query xmlns='jabber:iq:roster'/></iq>"
            )
            try await gateway.receives("<iq type='result' id='g'>\(item)</iq>")
        }
    }

    @Test("What disco does not know about accounts can be delegated, for those who may ask")
    func remainingDisco() async throws {
        let options =
            "delegate: { 'urn:xmpp:delegation:2:bare:disco#info:*': [], 'urn:xmpp:delegation:2:bare:disco#items:*': [] }"
        try await playWithComponent(options) { stage in
            let gateway = try await Gateway.connect(stage)
            try await welcome(gateway)
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            let juliet = try await stage.enter("juliet@montague.example/balcony")
            try await romeo.sends(
                "<iq type='get' id='1' to='romeo@montague.example'>\(info) node='urn:xmpp:microblog:0'/></iq>")
            let request = try await gateway.receives(
                "<iq type='set'><delegation xmlns='urn:xmpp:delegation:2'><forwarded xmlns='urn:xmpp:forward:0'><iq xmlns='jabber:client' id='1'>\(info) node='urn:xmpp:microblog:0'/></iq></forwarded></delegation></iq>"
            )
            gateway.says(
                answer(
                    request,
                    "<iq xmlns='jabber:client' type='result' id='1' to='romeo@montague.example/orchard'>\(info) node='urn:xmpp:microblog:0'><identity category='pubsub' type='leaf'/></query></iq>"
                ))
            try await romeo.receives("<iq type='result' id='1'>\(info)><identity type='leaf'/></query></iq>")
            try await romeo.sends(
                "<iq type='get' id='2' to='romeo@montague.example'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>"
            )
            try await gateway.receives("<iq type='set'><delegation xmlns='urn:xmpp:delegation:2'/></iq>")
            // Without a node disco#info is the host's.
            try await romeo.asks(.get, "\(info)/>", to: "romeo@montague.example")
            let refusal = try await juliet.isRefused(
                .get, "\(info) node='urn:xmpp:microblog:0'/>", to: "romeo@montague.example")
            #expect(refusal.condition == .serviceUnavailable)
            await gateway.staysSilent()
        }
    }
}
