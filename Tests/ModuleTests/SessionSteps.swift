import TestKit
import Testing

@testable import Modules
@testable import ServerKit

/// What sessions that can be resumed need.
let sessionModules: [any Module.Type] = [
    SASL.self, Bind.self, StreamManagement.self, Roster.self, PresenceExchange.self, Messages.self, Offline.self,
]
let sm = "xmlns='urn:xmpp:sm:3'"
let romeoJID = "romeo@montague.example"

extension Actor {
    /// Enables stream management and returns the id by which the session can be resumed.
    @discardableResult
    func enables(_ attributes: String = "resume='true'") async throws -> String {
        try await sends("<enable \(sm) \(attributes)/>")
        return try await receives("<enabled \(sm)/>")["id"] ?? ""
    }

    func resumes(_ id: String, h: Int) async throws {
        try await sends("<resume \(sm) previd='\(id)' h='\(h)'/>")
    }

    func writes(_ body: String, to jid: String) async throws {
        try await sends("<message to='\(jid)' type='chat'><body>\(body)</body></message>")
    }
}

extension Stage {
    /// A new connection of an account, authenticated and without a resource.
    func returns(_ localpart: String = "romeo") async throws -> Actor {
        let actor = try await connect(to: "montague.example")
        try await actor.logsIn(localpart)
        return actor
    }
}

/// The texts of messages.
func bodies(_ elements: [Element]) -> [String] { elements.compactMap { $0.text(of: "body") } }
