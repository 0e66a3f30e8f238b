import ServerKit
import TestKit

/// Another server that says whatever a test wants, on a socket.
@ServerActor
final class RawPeer {
    private let socket: RawSocket
    private let certificate: (chain: String, key: String)?

    private init(_ socket: RawSocket, _ certificate: (chain: String, key: String)?) {
        self.socket = socket
        self.certificate = certificate
    }

    static func connect(to port: UInt16, certificate: (chain: String, key: String)? = nil) async throws -> RawPeer {
        RawPeer(try await RawSocket.connect(to: ListenAddress(host: "127.0.0.1", port: port)), certificate)
    }

    var heard: String { socket.text }

    func says(_ xml: String) { socket.says(xml) }

    /// Opens a stream.
    func opens(from: String?, to: String = "montague.example") {
        socket.take()
        let from = from.map { " from='\($0)'" } ?? ""
        says(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback'"
                + " xmlns:stream='http://etherx.jabber.org/streams'\(from) to='\(to)' version='1.0'>")
    }

    /// Opens a stream, changes to TLS and opens another one.
    func secures(from: String?, to: String = "montague.example") async throws -> Bool {
        opens(from: from, to: to)
        guard await hears("<starttls") else { return false }
        socket.take()
        says("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        guard await hears("<proceed") else { return false }
        let context = try TLSContext(trust: nil, certificate: certificate)
        try socket.secure(TLSClient(context, serverName: to))
        opens(from: from, to: to)
        return await hears("</stream:features>")
    }

    /// The same, authenticated by its certificate.
    func authenticates(as domain: String) async throws -> Bool {
        guard try await secures(from: domain) else { return false }
        socket.take()
        says("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>")
        guard await hears("<success") else { return false }
        opens(from: domain)
        return await hears("</stream:features>")
    }

    /// The stream's id. RFC 6120 §4.7.3.
    var streamID: String {
        guard let start = heard.firstRange(of: " id='") else { return "" }
        return String(heard[start.upperBound...].prefix { $0 != "'" })
    }

    func leaves() { socket.leaves() }

    /// Waits until the server has said this, for some seconds at most.
    func hears(_ text: String) async -> Bool { await socket.hears(text) }

    func isCutOff() async -> Bool { await socket.isCutOff() }
}
