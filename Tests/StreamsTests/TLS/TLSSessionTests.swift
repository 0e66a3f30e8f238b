import NIOCore
import Testing

@testable import Streams

/// The machine of bytes, without sockets.
@Suite("TLS sessions") struct TLSSessionTests {
    private let scratch: Scratch
    private let server: TLSServer
    private let allocator = ByteBufferAllocator()

    init() throws {
        scratch = try Scratch()
        server = try TLSServer(TLSIdentities(fallback: scratch.identity("example.org")))
    }

    private func client() throws -> TLSSession {
        try TLSSession(client: TLSContext(trust: nil), serverName: "example.org", applicationProtocols: [])
    }

    /// Carries bytes to and fro, in pieces, until both are silent.
    private func run(_ one: TLSSession, _ other: TLSSession, _ first: ByteBuffer?, pieces: Int) {
        var (receiver, sender, flight) = (other, one, first)
        while var bytes = flight {
            var answer = ByteBuffer()
            while let piece = bytes.readSlice(length: min(pieces, bytes.readableBytes)), piece.readableBytes > 0 {
                var (toSend, _) = receiver.receive(piece, allocator)
                if toSend != nil { answer.writeBuffer(&toSend!) }
            }
            swap(&receiver, &sender)
            flight = answer.readableBytes > 0 ? answer : nil
        }
    }

    @Test("A handshake succeeds however it is cut to pieces", arguments: [1, 2, 7, 100, 100_000])
    func pieces(size: Int) throws {
        let (client, server) = (try client(), try TLSSession(server: server))
        run(client, server, client.start(allocator).toSend, pieces: size)
        #expect(client.isOpen && server.isOpen)

        var sealed = try #require(client.encrypt([ByteBuffer(string: "hark")], allocator))
        var text = ""
        while let piece = sealed.readSlice(length: min(size, sealed.readableBytes)), piece.readableBytes > 0 {
            if let plaintext = server.receive(piece, allocator).received.plaintext { text += String(buffer: plaintext) }
        }
        #expect(text == "hark")
    }

    @Test("Many small writes share a record, a large one is cut")
    func records() throws {
        let (client, server) = (try client(), try TLSSession(server: server))
        run(client, server, client.start(allocator).toSend, pieces: 100_000)
        let small = try #require(client.encrypt(Array(repeating: ByteBuffer(string: "hark"), count: 100), allocator))
        #expect(small.readableBytes == 400 + 22)
        let large = try #require(client.encrypt([ByteBuffer(repeating: 0x61, count: 40_000)], allocator))
        #expect(large.readableBytes == 40_000 + 3 * 22)
        let mixed = [4, 16_383, 1, 20_000, 0, 12].map { ByteBuffer(repeating: 0x61, count: $0) }
        let both = try #require(client.encrypt(mixed, allocator))
        var all = small
        for var part in [large, both] { all.writeBuffer(&part) }
        let plaintext = server.receive(all, allocator).received.plaintext
        #expect(plaintext?.readableBytes == 400 + 40_000 + 36_400)
    }

    @Test("What is not TLS ends the connection with a reason", arguments: [
        "<?xml version='1.0'?><stream:stream to='example.org'>", "GET / HTTP/1.0\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{7F}\u{7F}" + String(repeating: "A", count: 40_000),
        "\u{15}\u{3}\u{1}\0\u{2}\u{2}\u{28}", "\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}", "\u{17}\u{3}\u{3}\u{0}\u{1}a",
    ])
    func garbage(text: String) throws {
        let session = try TLSSession(server: server)
        let failure = session.receive(ByteBuffer(string: text), allocator).received.failure
        guard case .handshakeFailed(let reason) = failure else { Issue.record("\(text.prefix(20))"); return }
        #expect(!reason.isEmpty && reason != "no reason was given")
        #expect(session.receive(ByteBuffer(string: text), allocator).received.failure == nil, "silent afterwards")
    }

    @Test("A damaged first flight never does harm")
    func mutations() throws {
        var random = SplitMix(state: 7)
        let hello = try #require(try client().start(allocator).toSend)
        for _ in 0..<500 {
            var bytes = Array(hello.readableBytesView)
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            if Bool.random(using: &random) { bytes.removeLast(Int.random(in: 0..<bytes.count, using: &random)) }
            let session = try TLSSession(server: server)
            let received = session.receive(ByteBuffer(bytes: bytes), allocator).received
            #expect(received.plaintext == nil && !received.isHandshakeCompleted)
        }
    }

    @Test("A forged record after the handshake ends the connection")
    func forgery() throws {
        let (client, server) = (try client(), try TLSSession(server: server))
        run(client, server, client.start(allocator).toSend, pieces: 100_000)
        var sealed = try #require(client.encrypt([ByteBuffer(string: "hark")], allocator))
        let last = sealed.writerIndex - 1
        sealed.setInteger(try #require(sealed.getInteger(at: last, as: UInt8.self)) ^ 1, at: last)
        let (alert, received) = server.receive(sealed, allocator)
        guard case .protocolViolation = received.failure else { Issue.record("\(received)"); return }
        #expect(alert != nil && received.plaintext == nil)
        #expect(server.encrypt([ByteBuffer(string: "x")], allocator) == nil)
    }

    @Test("Keys for tickets are replaced, and old ones open for as long again")
    func ticketKeys() throws {
        let keys = TLSTicketKeys()
        let (day, half) = (2 * TLSTicketKeys.lifetime, TLSTicketKeys.lifetime)
        let first = try #require(keys.sealing(now: 0))
        #expect(keys.sealing(now: half - 1)?.name == first.name)
        let second = try #require(keys.sealing(now: half))
        #expect(second.name != first.name)
        first.name.withUnsafeBufferPointer { name in
            #expect(keys.opening(name, now: half)?.isOutdated == true)
            #expect(keys.opening(name, now: day)?.key.name == nil)
        }
        second.name.withUnsafeBufferPointer { #expect(keys.opening($0, now: half)?.isOutdated == false) }
    }
}

struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
