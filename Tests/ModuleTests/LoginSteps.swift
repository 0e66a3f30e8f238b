import ServerKit
import TestKit

/// What a client does between connecting and binding, in raw XML.
extension Actor {
    /// Opens the stream, or opens it anew, and returns the features.
    @discardableResult
    func opens() async throws -> Element {
        restart()
        try await sends(
            """
            <?xml version='1.0'?><stream:stream to='\(domain)' version='1.0' xmlns='jabber:client' \
            xmlns:stream='http://etherx.jabber.org/streams'>
            """)
        return try await receives("<features xmlns='http://etherx.jabber.org/streams'/>")
    }

    /// Sends an `<auth/>` with data.
    func authenticates(_ mechanism: String, _ data: [UInt8]) async throws {
        let text = data.isEmpty ? "=" : Base64.encode(data)
        try await sends("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='\(mechanism)'>\(text)</auth>")
    }

    func authenticatesPlain(_ username: String, _ password: String, authzid: String = "") async throws {
        try await authenticates("PLAIN", Array("\(authzid)\0\(username)\0\(password)".utf8))
    }

    /// The data of the challenge that must come.
    func isChallenged() async throws -> [UInt8] {
        let challenge = try await receives("<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
        return Base64.decode(challenge.text) ?? []
    }

    func responds(_ data: [UInt8]) async throws {
        try await sends("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\(Base64.encode(data))</response>")
    }

    func fails(_ condition: String, file: String = #fileID, line: Int = #line) async throws {
        try await receives(
            "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><\(condition)/></failure>", file: file, line: line)
    }

    /// Sends both messages of SCRAM; success or failure is still to come.
    func authenticatesScram(
        _ username: String, _ password: String, with mechanism: String = "SCRAM-SHA-256", authzid: String? = nil,
        binding: SCRAMClient.Binding = .unsupported
    ) async throws -> SCRAMClient {
        let hash: SCRAMHash = mechanism.contains("SHA-256") ? .sha256 : .sha1
        var client = SCRAMClient(
            hash: hash, username: username, password: password, authzid: authzid, binding: binding)
        try await authenticates(mechanism, client.start())
        try await responds(client.respond(isChallenged()))
        return client
    }

    /// Logs in and opens the second stream, whose features are returned.
    @discardableResult
    func logsIn(_ username: String = "romeo", _ password: String = "secret") async throws -> Element {
        try await opens()
        try await authenticatesPlain(username, password)
        try await receives("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
        return try await opens()
    }

    func bindsResource(_ resource: String? = nil, id: String = "bind") async throws {
        let content = resource.map { "<resource>\($0)</resource>" } ?? ""
        try await sends(
            "<iq type='set' id='\(id)'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\(content)</bind></iq>")
    }
}
