import ServerKit
import TestKit

@testable import Modules

/// What a client does that has a token, in raw XML.
extension Actor {
    /// Logs in with a token on a new stream; the answer is still to come.
    func shows(
        _ token: String, as mechanism: HashedTokenMechanism = .unbound, username: String = "romeo",
        binding: [UInt8] = [], fast: String = "<fast xmlns='urn:xmpp:fast:0'/>", with content: String = agent
    ) async throws {
        let client = HashedTokenClient(username: username, token: token, binding: binding)
        try await opens(
            from: "\(username)@\(domain)",
            and: Self.authenticate(mechanism.rawValue, client.start(), with: fast + content))
    }

    /// Logs in with a password, asks for a token and gets it.
    func getsToken(
        for mechanism: HashedTokenMechanism = .unbound, username: String = "romeo", password: String = "secret",
        with content: String = agent
    ) async throws -> String {
        let request = "<request-token xmlns='urn:xmpp:fast:0' mechanism='\(mechanism.rawValue)'/>"
        let success = try await logsInAgain(username, password, with: content + request)
        return success.child("token", .fast)?["token"] ?? ""
    }
}
