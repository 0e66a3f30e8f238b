import ServerKit
import TestKit

@testable import Modules

/// What a client does that logs in with SASL2, in raw XML.
extension Actor {
    nonisolated static let agent = """
        <user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'><software>AwesomeXMPP</software>\
        <device>Kiva's Phone</device></user-agent>
        """

    /// Opens the stream and sends more in the same breath. The features come first.
    @discardableResult
    func opens(from: String? = nil, and xml: String) async throws -> Element {
        restart()
        let from = from.map { " from='\($0)'" } ?? ""
        try await sends(
            """
            <?xml version='1.0'?><stream:stream to='\(domain)'\(from) version='1.0' xmlns='jabber:client' \
            xmlns:stream='http://etherx.jabber.org/streams'>\(xml)
            """)
        return try await receives("<features xmlns='http://etherx.jabber.org/streams'/>")
    }

    nonisolated static func authenticate(_ mechanism: String, _ data: [UInt8]?, with content: String = "") -> String {
        let response = data.map { "<initial-response>\(Base64.encode($0))</initial-response>" } ?? ""
        return "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='\(mechanism)'>\(response)\(content)</authenticate>"
    }

    nonisolated static func plain(
        _ username: String = "romeo", _ password: String = "secret", authzid: String = "", with content: String = ""
    ) -> String {
        authenticate("PLAIN", Array("\(authzid)\0\(username)\0\(password)".utf8), with: content)
    }

    /// Logs in with a password on a new stream, and returns the success. What comes after it is swallowed.
    @discardableResult
    func logsInAgain(
        _ username: String = "romeo", _ password: String = "secret", with content: String = "",
        file: String = #fileID, line: Int = #line
    ) async throws -> Element {
        try await opens(and: Self.plain(username, password, with: content))
        let success = try await receives("<success xmlns='urn:xmpp:sasl:2'/>", file: file, line: line)
        _ = await everything()
        return success
    }

    func failsAgain(_ condition: String, file: String = #fileID, line: Int = #line) async throws {
        try await receives(
            """
            <failure xmlns='urn:xmpp:sasl:2'><\(condition) xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/></failure>
            """, file: file, line: line)
    }
}
