import ServerKit
import TestKit
import Testing

@testable import MUC
@testable import Modules

extension Actor {
    /// The form for a room's configuration.
    func fetchesForm(_ room: String = coven) async throws -> DataForm {
        let query = try #require(
            try await asks(.get, "<query xmlns='http://jabber.org/protocol/muc#owner'/>", to: room))
        return try #require(try DataForm.find(in: query))
    }

    /// Submits fields with lists of values, and returns how they are refused.
    @discardableResult
    func configuresInVain(_ fields: [(name: String, values: [String])], _ room: String = coven) async throws
        -> StanzaError
    {
        try await isRefused(.set, ownerForm(fields), to: room)
    }

    /// Submits fields with lists of values, and leaves what comes of it unread.
    func submits(_ fields: [(name: String, values: [String])] = [], _ room: String = coven) async throws {
        try await asks(.set, ownerForm(fields), to: room)
    }

    /// Submits fields of one value each, and leaves what comes of it unread.
    func sets(_ fields: [String: String], _ room: String = coven) async throws {
        try await submits(fields.map { (name: $0.key, values: [$0.value]) }, room)
    }

    /// What disco#info says of something.
    func discovers(_ jid: String = coven) async throws -> DiscoInfo {
        try DiscoInfo(
            try #require(try await asks(.get, "<query xmlns='http://jabber.org/protocol/disco#info'/>", to: jid)))
    }
}

extension DiscoInfo {
    /// A value of the extended information.
    func roomField(_ name: String) -> String? {
        forms.first { $0.formType == "http://jabber.org/protocol/muc#roominfo" }?[name]?.value
    }

    func hasFeature(_ name: String) -> Bool { features.contains { $0.uri == name } }
}

/// A submission for `muc#owner`.
func ownerForm(_ fields: [(name: String, values: [String])]) -> String {
    let content = fields.map { field in
        "<field var='\(field.name)'>" + field.values.map { "<value>\($0)</value>" }.joined() + "</field>"
    }.joined()
    return """
        <query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>
        <field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>\(content)</x></query>
        """
}

let cancelledForm =
    "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='cancel'/></query>"
