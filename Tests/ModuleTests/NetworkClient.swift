import ServerKit
import TestKit

/// A client on a real socket.
@ServerActor
final class NetworkClient {
    private let socket: RawSocket

    private init(_ socket: RawSocket) {
        self.socket = socket
        socket.patience = .seconds(3)
    }

    /// Connects, with TLS from the start if `tls` names the protocols to offer.
    static func connect(to address: ListenAddress, tls: [String]? = nil) async throws -> NetworkClient {
        NetworkClient(try await RawSocket.connect(to: address, tls: try tls.map(security)))
    }

    private static func security(_ protocols: [String]) throws -> TLSClient {
        TLSClient(try TLSContext(trust: nil), serverName: "montague.example", applicationProtocols: protocols)
    }

    var heard: String { socket.text }
    var isClosed: Bool { socket.isClosed }

    func says(_ xml: String) { socket.says(xml) }

    /// Changes to TLS, after `<proceed/>`.
    func startTLS() throws {
        socket.take()
        try socket.secure(Self.security([]))
    }

    func setReading(_ isReading: Bool) { socket.setReading(isReading) }
    func leaves() { socket.leaves() }

    /// Waits until the server has said this, for three seconds at most.
    func hears(_ text: String) async -> Bool { await socket.hears(text) }

    /// Waits until the connection has ended.
    func isCutOff() async -> Bool { await socket.isCutOff() }
}
