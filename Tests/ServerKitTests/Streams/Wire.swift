import ServerKit
import TestKit

/// A client's connection that keeps every byte the server sends.
@ServerActor
final class Wire: StreamTransport {
    let peerAddress = "192.0.2.7"
    var tls: TLSInfo? { nil }
    var isSecure: Bool
    var backlog = 0
    private(set) var output = ""
    private(set) var isOpen = true
    private(set) var isReading = true
    private(set) var stream: ClientStream?

    init(_ server: Server, isSecure: Bool = true) {
        self.isSecure = isSecure
        stream = ClientStream(server: server, transport: self)
    }

    func write(_ bytes: [UInt8], isUrgent: Bool) {
        output += String(decoding: bytes, as: UTF8.self)
    }

    func startTLS(_ server: TLSServer) throws { isSecure = true }
    func startTLS(_ client: TLSClient) throws { isSecure = true }
    func setReading(_ isReading: Bool) { self.isReading = isReading }

    func close() {
        isOpen = false
        stream = nil
    }

    /// Sends bytes to the server, and returns what it answers at once.
    @discardableResult
    func says(_ xml: String) -> String {
        output = ""
        Array(xml.utf8).withUnsafeBytes { stream?.receive($0) }
        return output
    }

    /// What was sent since the last time.
    func heard() -> String {
        defer { output = "" }
        return output
    }

    /// Loses the connection.
    func breaks() {
        let stream = self.stream
        close()
        stream?.connectionLost("broken")
    }

    /// Opens a stream as `localpart` and binds a resource.
    func enters(_ account: Account, _ resourcepart: String, language: String? = nil) -> Resource? {
        says(Wire.header())
        stream?.authenticate(account.name)
        says(Wire.header(language: language))
        guard let stream else { return nil }
        let resource = account.bind(resourcepart, link: stream)
        stream.bind(resource)
        return resource
    }

    nonisolated static func header(
        to: String? = "montague.example", from: String? = nil, version: String? = "1.0", language: String? = nil,
        namespace: String = "jabber:client", streams: String = "http://etherx.jabber.org/streams"
    ) -> String {
        let attributes = [("to", to), ("from", from), ("version", version), ("xml:lang", language)]
        return "<?xml version='1.0'?><stream:stream xmlns='\(namespace)' xmlns:stream='\(streams)'"
            + attributes.compactMap { name, value in value.map { " \(name)='\($0)'" } }.joined() + ">"
    }
}

extension Stage {
    /// An account, made and loaded.
    func loadedAccount(_ localpart: String) async throws -> Account {
        try await account("\(localpart)@montague.example")
        guard let account = await server.host("montague.example")?.accounts.account(localpart) else {
            throw AccountError.unknown
        }
        return account
    }
}
