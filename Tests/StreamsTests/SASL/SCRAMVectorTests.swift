import Testing
import XMPP

@testable import Streams

@Suite("SCRAM vectors (RFC 5802 §5, RFC 7677 §3)") struct SCRAMVectorTests {
    struct Vector: Sendable {
        let hash: SCRAMHash
        var username = "user"
        var password = "pencil"
        var binding: ChannelBinding?
        let clientNonce, serverNonce, salt: String
        let iterations: Int
        let clientFirst, serverFirst, clientFinal, serverFinal: String
    }

    static let vectors = [
        // RFC 5802 §5.
        Vector(
            hash: .sha1, clientNonce: "fyko+d2lbbFgONRv9qkxdawL", serverNonce: "3rfcNHYJY1ZVvWVs7j",
            salt: "QSXCR+Q6sek8bf92", iterations: 4096, clientFirst: "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
            serverFirst: "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            clientFinal:
                "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            serverFinal: "v=rmF9pqV8S7suAoZWja4dJRkFsKQ="),
        // RFC 7677 §3.
        Vector(
            hash: .sha256, clientNonce: "rOprNGfwEbeRWgbNEkqO", serverNonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            salt: "W22ZaJ0SNY7soEsUEjb6gQ==", iterations: 4096, clientFirst: "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            serverFirst:
                "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            clientFinal: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                + "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            serverFinal: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="),
        // The rest comes from another implementation, scramp 1.4.
        Vector(
            hash: .sha1, username: "a,b=c", password: "pässwörd", clientNonce: "client-nonce",
            serverNonce: "server-nonce", salt: "MDEyMzQ1Njc4OWFiY2RlZg==", iterations: 5000,
            clientFirst: "n,,n=a=2Cb=3Dc,r=client-nonce",
            serverFirst: "r=client-nonceserver-nonce,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=5000",
            clientFinal: "c=biws,r=client-nonceserver-nonce,p=lpGAb4HAokAgk3vLsIeHcY2krGo=",
            serverFinal: "v=VONteqyPaKlkrQLiymWuK+bT2kk="),
        Vector(
            hash: .sha1, username: "juliet", password: "r0m30myr0m30",
            binding: ChannelBinding(.tlsServerEndPoint, Array(0..<32)), clientNonce: "client-nonce",
            serverNonce: "server-nonce", salt: "AAECAwQFBgcICQoLDA0ODw==", iterations: 4096,
            clientFirst: "p=tls-server-end-point,,n=juliet,r=client-nonce",
            serverFirst: "r=client-nonceserver-nonce,s=AAECAwQFBgcICQoLDA0ODw==,i=4096",
            clientFinal: "c=cD10bHMtc2VydmVyLWVuZC1wb2ludCwsAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=,"
                + "r=client-nonceserver-nonce,p=7Tr+zL/Y0Wwc0S0ODhBIDt9DGmk=",
            serverFinal: "v=5B+f3gCMpBAOjI+c2Vo/QgdywtE="),
        Vector(
            hash: .sha256, username: "juliet", password: "r0m30myr0m30",
            binding: ChannelBinding(.tlsServerEndPoint, (224...255).reversed()), clientNonce: "client-nonce",
            serverNonce: "server-nonce", salt: "AAECAwQFBgcICQoLDA0ODw==", iterations: 10_000,
            clientFirst: "p=tls-server-end-point,,n=juliet,r=client-nonce",
            serverFirst: "r=client-nonceserver-nonce,s=AAECAwQFBgcICQoLDA0ODw==,i=10000",
            clientFinal: "c=cD10bHMtc2VydmVyLWVuZC1wb2ludCws//79/Pv6+fj39vX08/Lx8O/u7ezr6uno5+bl5OPi4eA=,"
                + "r=client-nonceserver-nonce,p=RwMDlX7RRNcd/QKg3X1iaN/oXwxS7DcGvx2Gms2qBCs=",
            serverFinal: "v=jmAQdO8nADIiC9hMuwDv5p7irjzg1a2/kyoqUMtbRjU="),
    ]

    @Test("The server says what the vector says", arguments: vectors)
    func server(_ vector: Vector) throws {
        let salt = try #require(Base64.decode(vector.salt))
        let stored = StoredPassword(credentials: [
            SCRAMCredentials(
                hash: vector.hash, preparedPassword: vector.password, salt: salt, iterations: vector.iterations)
        ])
        let bindings = vector.binding.map { [$0] } ?? []
        var exchange = SASLExchange(
            engine: SCRAMServer(
                hash: vector.hash, isPlus: vector.binding != nil, context: .test(bindings: bindings),
                nonce: vector.serverNonce))
        #expect(exchange.start(initialResponse: bytes(vector.clientFirst)).username == vector.username)
        #expect(exchange.provide(.found(stored)).challengeText == vector.serverFirst)
        let step = exchange.respond(bytes(vector.clientFinal))
        #expect(step.identity == .account(authcid: vector.username, authzid: nil))
        #expect(step.additionalData == bytes(vector.serverFinal))
    }

    @Test("The client says what the vector says", arguments: vectors)
    func client(_ vector: Vector) throws {
        var client = SCRAMClient(
            hash: vector.hash, username: vector.username, password: vector.password,
            binding: vector.binding.map { .bound($0) } ?? .unsupported, nonce: vector.clientNonce)
        #expect(client.start() == bytes(vector.clientFirst))
        #expect(try client.respond(bytes(vector.serverFirst)) == bytes(vector.clientFinal))
        try client.finish(bytes(vector.serverFinal))
    }
}
