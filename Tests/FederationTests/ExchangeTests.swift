import ServerKit
import TestKit
import Testing

@testable import Federation

@Suite("Two servers", .serialized) struct ExchangeTests {
    @Test("Messages go both ways, with certificates (RFC 6120 §13.7)", arguments: [false, true])
    func messages(_ isDirect: Bool) async throws {
        let listen = isDirect ? "s2s: off, s2s_tls: \"127.0.0.1:0\"" : "s2s: \"127.0.0.1:0\", s2s_tls: off"
        try await playBetweenServers(listen: listen) { servers in
            let romeo = try await servers.montague.enter("romeo@montague.example/orchard")
            let juliet = try await servers.capulet.enter("juliet@capulet.example/balcony")
            try await romeo.sends(
                "<message to='juliet@capulet.example' type='chat' id='1'><body>Sweet lady</body></message>")
            await servers.settle()
            try await juliet.receives(
                "<message from='romeo@montague.example/orchard' to='juliet@capulet.example' type='chat' id='1'><body>Sweet lady</body></message>"
            )
            try await juliet.sends(
                "<message to='romeo@montague.example/orchard' type='chat' id='2'><body>Good night</body></message>")
            await servers.settle()
            try await romeo.receives(
                "<message from='juliet@capulet.example/balcony' to='romeo@montague.example/orchard' type='chat' id='2'><body>Good night</body></message>"
            )
        }
    }
}
