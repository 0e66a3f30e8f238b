import ServerKit
import TestKit
import Testing

@testable import Federation

@Suite("What a web server that vouches for a peer can do (RFC 7711)", .serialized) struct VouchingTests {
    private let message = "<message to='juliet@capulet.example' type='chat' id='1'><body>x</body></message>"

    /// A web of documents by URL; what is not in it fails.
    private func web(_ pages: [String: HTTPSRequest.Answer])
        -> @ServerActor (
            HTTPSRequest, TLSTrust
        ) async throws -> HTTPSRequest.Answer
    {
        { request, _ in
            guard let page = pages["\(request.host)\(request.path)"] else {
                throw HTTPSRequest.Failure(description: "The answer is 503.")
            }
            return page
        }
    }

    private let place = "capulet.example/.well-known/posh/xmpp-server.json"

    private func document(_ json: String) -> HTTPSRequest.Answer { .document(Array(json.utf8)) }

    @Test("A web server that fails just now makes the message wait, and what it says later counts")
    func temporary() async throws {
        try await playBetweenServers(strangers: ["capulet.example"]) { servers in
            let romeo = try await servers.montague.enter("romeo@montague.example/orchard")
            let juliet = try await servers.capulet.enter("juliet@capulet.example/balcony")
            let posh = servers.montague.federation.judge.posh
            posh.get = web([:])
            try await romeo.sends(message)
            await servers.settle()
            #expect(await romeo.takeInbox().isEmpty)
            #expect(servers.montague.federation.routes.values.map(\.queue.count) == [1])
            let reason = servers.montague.federation.refusals.entries["capulet.example"]?.reason
            #expect(reason?.contains("self-signed") == true && reason?.contains("503") == true)
            let fingerprint = servers.fingerprint(of: "capulet.example")
            posh.get = web([
                place: .moved(to: "/elsewhere"),
                "capulet.example/elsewhere": document(#"{"url":"https://hosting.example/p.json","expires":86400}"#),
                "hosting.example/p.json": document(#"{"fingerprints":[{"sha-256":"\#(fingerprint)"}],"expires":600}"#),
            ])
            for _ in 0..<12 {
                await servers.advance(by: .seconds(10))
                await servers.settle()
            }
            #expect(await juliet.takeInbox().map { $0["id"] } == ["1"])
        }
    }

    @Test("It is not waited for longer than for anybody else")
    func patience() async throws {
        try await playBetweenServers(s2s: "patience: 1 min", strangers: ["capulet.example"]) { servers in
            let romeo = try await servers.montague.enter("romeo@montague.example/orchard")
            servers.montague.federation.judge.posh.get = web([:])
            try await romeo.sends(message)
            for _ in 0..<18 {
                await servers.advance(by: .seconds(10))
                await servers.settle()
            }
            let error = await romeo.takeInbox().first?.child("error")
            #expect(error?.has("remote-server-timeout", .stanzaErrors) == true)
            #expect(error?.text(of: "text", .stanzaErrors)?.contains("cannot be judged now") == true)
        }
    }

    @Test(
        "One that does not vouch for the certificate decides at once",
        arguments: [
            .absent("The answer is 404."), .document(Array(#"{"fingerprints":[],"expires":600}"#.utf8)),
            .document(Array(#"{"fingerprints":[{"sha-256":"AAAA"}],"expires":600}"#.utf8)),
            .document(Array(#"{"url":"https://capulet.example/.well-known/posh/xmpp-server.json"}"#.utf8)),
            .moved(to: "http://capulet.example/"), .moved(to: "/.well-known/posh/xmpp-server.json"),
        ] as [HTTPSRequest.Answer])
    func permanent(_ answer: HTTPSRequest.Answer) async throws {
        try await playBetweenServers(strangers: ["capulet.example"]) { servers in
            let romeo = try await servers.montague.enter("romeo@montague.example/orchard")
            servers.montague.federation.judge.posh.get = web([place: answer])
            try await romeo.sends(message)
            await servers.settle()
            let error = await romeo.takeInbox().first?.child("error")
            #expect(error?.has("remote-server-not-found", .stanzaErrors) == true)
            #expect(error?.text(of: "text", .stanzaErrors)?.contains("self-signed") == true)
        }
    }

    @Test("A document that cannot be read says nothing")
    func malformed() async throws {
        try await playBetweenServers(strangers: ["capulet.example"]) { servers in
            let romeo = try await servers.montague.enter("romeo@montague.example/orchard")
            servers.montague.federation.judge.posh.get = web([place: document("<html>")])
            try await romeo.sends(message)
            await servers.settle()
            #expect(await romeo.takeInbox().isEmpty)
        }
    }

    @Test("A peer that comes meanwhile is told to come again (RFC 6120 §6.5.11, XEP-0220 §2.5)")
    func incoming() async throws {
        try await playBetweenServers(strangers: ["capulet.example"]) { servers in
            servers.montague.federation.judge.posh.get = web([:])
            let peer = try await servers.rawPeer()
            #expect(try await peer.secures(from: "capulet.example"))
            #expect(!peer.heard.contains("EXTERNAL"))
            peer.says("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>")
            #expect(await peer.hears("temporary-auth-failure"))
            peer.says("<db:result from='capulet.example' to='montague.example'>key</db:result>")
            #expect(await peer.hears("type='error'"))
            #expect(await peer.hears("remote-server-timeout"))
        }
    }
}
