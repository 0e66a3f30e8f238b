import Testing
import XMPP

@testable import Streams

@Suite("SCRAM, the client's side (RFC 5802)") struct SCRAMClientTests {
    static func client() -> SCRAMClient {
        var client = SCRAMClient(hash: .sha1, username: "romeo", password: "r0m30", nonce: "client")
        _ = client.start()
        return client
    }

    @Test("A challenge that breaks the syntax ends the exchange", arguments: [
        "", "r=clientserver", "r=clientserver,s=AAAA", "s=AAAA,r=clientserver,i=4096", "r=clientserver,s=A,i=4096",
        "r=clientserver,s=AAAA,i=", "r=clientserver,s=AAAA,i=x", "r=clientserver,s=AAAA,i=99999999999999999999",
        "m=x,r=clientserver,s=AAAA,i=4096", "r=clientserver,s=AAAA,i=4096,m=x", "r=clientserver,s=AAAA,i=4096,",
        "e=other-error", "r=client server,s=AAAA,i=4096",
    ])
    func malformed(challenge: String) {
        var client = Self.client()
        #expect(throws: SCRAMClientError.malformed) { try client.respond(bytes(challenge)) }
        #expect(throws: SCRAMClientError.malformed) { try client.respond(bytes("r=clientserver,s=AAAA,i=4096")) }
    }

    @Test("The nonce has to continue ours, and the work has to be reasonable")
    func limits() {
        for nonce in ["client", "clien", "server", "xclientserver"] {
            var client = Self.client()
            #expect(throws: SCRAMClientError.nonceMismatch) { try client.respond(bytes("r=\(nonce),s=AAAA,i=4096")) }
        }
        for iterations in [-1, 0, 1, 4095, 1_000_001, Int.max] {
            var client = Self.client()
            #expect(throws: SCRAMClientError.iterationsOutOfRange(iterations)) {
                try client.respond(bytes("r=clientserver,s=AAAA,i=\(iterations)"))
            }
        }
    }

    @Test("Only a server that knows the password is believed", arguments: [
        ("v=AAAA", .wrongServerSignature), ("v=rmF9pqV8S7suAoZWja4dJRkFsKQ=", .wrongServerSignature),
        ("e=invalid-proof", .server("invalid-proof")), ("", .malformed), ("v=", .malformed), ("v=!", .malformed),
        ("x=AAAA", .malformed), ("v", .malformed),
    ] as [(String, SCRAMClientError)])
    func finish(data: String, error: SCRAMClientError) throws {
        var client = Self.client()
        #expect(throws: SCRAMClientError.malformed) { try client.finish(bytes("v=AAAA")) }
        client = Self.client()
        _ = try client.respond(bytes("r=clientserver,s=AAAA,i=4096,x=ignored"))
        #expect(throws: error) { try client.finish(bytes(data)) }
        #expect(throws: SCRAMClientError.malformed) { try client.finish(bytes(data)) }
    }

    @Test("Keys derived once fit again, unless the salt has changed")
    func cache() throws {
        var first = Self.client()
        let answer = try first.respond(bytes("r=clientserver,s=AAAA,i=4096"))
        var second = SCRAMClient(
            hash: .sha1, username: "romeo", password: "not used", cachedKeys: first.cachedKeys, nonce: "client")
        _ = second.start()
        #expect(try second.respond(bytes("r=clientserver,s=AAAA,i=4096")) == answer)
        var third = SCRAMClient(
            hash: .sha1, username: "romeo", password: "r0m30", cachedKeys: first.cachedKeys, nonce: "client")
        _ = third.start()
        #expect(try third.respond(bytes("r=clientserver,s=AAAB,i=4096")) != answer)
        #expect(third.cachedKeys != first.cachedKeys)
    }
}
