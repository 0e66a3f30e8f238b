@testable import ServerKit
import TestKit
import Testing

@Suite("Hosts: requests of their own, and what stays in memory") struct HostTests {
    @Test("A reply is given once, to who asked, and only from who was asked")
    func reply() async throws {
        try await play(modules: []) { stage in
            let host = try #require(stage.server.host("montague.example"))
            let romeo = try await stage.enter("romeo@montague.example/phone", presence: false)
            let tybalt = try await stage.enter("tybalt@montague.example/x", presence: false)
            var replies: [IQ.Kind] = []
            host.ask(IQ(.get, to: JID("romeo@montague.example/phone"), id: "") { Element("ping", "urn:xmpp:ping") }) {
                replies.append($0.kind)
            }
            let asked = try await romeo.receives("<iq type='get' from='montague.example'/>")
            let answer = "<iq type='result' to='montague.example' id='\(asked["id"] ?? "")'/>"
            try await tybalt.sends(answer)
            await stage.settle()
            #expect(replies.isEmpty)
            try await romeo.sends(answer + answer)
            await stage.settle()
            #expect(replies == [.result])
            #expect(host.pendingRequests == 0)
            await stage.advance(by: .seconds(600))
            #expect(replies == [.result])
        }
    }

    @Test("Silence becomes an error, and nothing is left")
    func silence() async throws {
        try await play(modules: []) { stage in
            let host = try #require(stage.server.host("montague.example"))
            let romeo = try await stage.enter("romeo@montague.example/phone", presence: false)
            var errors: [StanzaError.Condition?] = []
            let to = JID("romeo@montague.example/phone")
            let ping = IQ(.get, to: to, id: "") { Element("ping", "urn:xmpp:ping") }
            host.ask(ping, limit: .seconds(30)) { errors.append($0.error?.condition) }
            await stage.advance(by: .seconds(29))
            #expect(errors.isEmpty)
            await stage.advance(by: .seconds(2))
            #expect(errors == [.remoteServerTimeout])
            #expect(host.pendingRequests == 0)
            _ = await romeo.everything()
        }
    }

    @Test("Streams, resources and accounts leave no trace in memory", arguments: [false, true])
    func memory(_ isCut: Bool) async throws {
        try await play(modules: []) { stage in
            weak var stream: ClientStream?
            weak var resource: Resource?
            weak var account: Account?
            do {
                let wire = Wire(stage.server)
                account = try await stage.loadedAccount("romeo")
                if let account { resource = wire.enters(account, "phone") }
                stream = wire.stream
                #expect(stream != nil && resource != nil && account != nil)
                if isCut { wire.breaks() } else { wire.says("</stream:stream>") }
            }
            await stage.advance(by: .seconds(500))
            #expect(stream == nil)
            #expect(resource == nil)
            #expect(account == nil)
        }
    }

    @Test("A host that is taken away leaves no trace in memory")
    func removedHost() async throws {
        try await play(modules: []) { stage in
            try await stage.account("juliet@capulet.example")
            weak let host = stage.server.host("capulet.example")
            #expect(host?.accounts.loadedAccount("juliet") != nil)
            try stage.reload("hosts: { montague.example: {} }")
            await stage.settle()
            #expect(host == nil)
        }
    }

    @Test("Strangers cannot tell what only the owner may ask from what is not there (RFC 6121 §8.5.2.1.1)")
    func strangers() async throws {
        try await play(modules: [Diary.self]) { stage in
            try await stage.account("juliet@montague.example")
            let romeo = try await stage.enter("romeo@montague.example/phone", presence: false)
            for to in ["juliet@montague.example", "nobody@montague.example"] {
                for kind in [IQ.Kind.get, .set] {
                    let error = try await romeo.isRefused(kind, "<diary xmlns='urn:example:diary'/>", to: to)
                    #expect(error.condition == .serviceUnavailable)
                }
            }
            let own = try await romeo.isRefused(.set, "<diary xmlns='urn:example:diary'/>")
            #expect(own.condition == .notAllowed)
        }
    }
}

/// Answers its owner's `get`.
private final class Diary: Module {
    static let info = ModuleInfo("diary", "Keeps a diary")
    init(options: NoOptions) {}
    func load(into host: ModuleHost) {
        host.answer(.get, "diary", "urn:example:diary", from: .owner) { _ in nil }
    }
}
