import ServerKit

/// What is to be done with a command. XEP-0050 §4.1.
enum CommandAction: String {
    case cancel, complete, execute, next, prev
}

/// A `<command/>` from a client. XEP-0050 §4.1.
struct CommandInput {
    let node: String
    let sessionID: String?
    let action: CommandAction
    let form: DataForm?

    init(_ element: Element) throws(StanzaError) {
        guard let node = element["node"], !node.isEmpty else { throw .badRequest("A command has a node.") }
        self.node = node
        sessionID = element["sessionid"]
        guard let action = CommandAction(rawValue: element["action"] ?? "execute") else {
            throw .command("malformed-action", "There is no such action.")
        }
        self.action = action
        // XEP-0050 §3.7 has us refuse languages that we do not speak. Clients name theirs in every stanza, and nobody
        // would be helped by not being able to run anything: all but nonsense is answered in English.
        if let language = element["xml:lang"], !Self.isLanguageTag(language) {
            throw .command("bad-locale", "That is no language.")
        }
        var form: DataForm?
        do throws(StanzaError) { form = try DataForm.find(in: element) } catch {
            throw .command("bad-payload", error.text)
        }
        // XEP-0050 §3.5: a form of type "cancel" counts as submitted.
        if form?.kind == .cancel { form?.kind = .submit }
        self.form = form
    }

    /// Whether it is as RFC 5646 §2.1 has it, by and large.
    private static func isLanguageTag(_ text: String) -> Bool {
        text.isEmpty
            || text.utf8.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false).allSatisfy { part in
                1...8 ~= part.count
                    && part.allSatisfy { byte in
                        UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte
                            || UInt8(ascii: "a")...UInt8(ascii: "z") ~= byte | 0x20
                    }
            }
    }
}

/// A `<command/>` to a client. XEP-0050 §4.1.
struct CommandReply {
    enum Status: String {
        case executing, completed, canceled
    }

    let element: Element

    /// - Parameters:
    ///   - actions: what may follow, the default first.
    ///   - note: its type and text. XEP-0050 §4.3.
    @ServerActor
    init(
        _ session: CommandSession, _ status: Status, form: DataForm? = nil, actions: [CommandAction] = [],
        note: (type: String, text: String)? = nil
    ) {
        element = Element(
            "command", .commands,
            ["node": session.node, "sessionid": session.id, "status": status.rawValue, "xml:lang": "en"]
        ) {
            if let first = actions.first {
                // XEP-0050 §4.2.
                Element("actions", nil, ["execute": first.rawValue]) {
                    for action in actions { Element(action.rawValue) }
                }
            }
            if let form { form.element }
            if let note { Element("note", nil, ["type": note.type], text: note.text) }
        }
    }
}

extension StanzaError {
    /// A request that cannot be carried out. XEP-0050 §4.4.
    static func command(_ condition: String, _ text: String?) -> StanzaError {
        StanzaError(.badRequest, .modify, text).with(Element(condition, .commands))
    }
}

extension Namespace {
    /// XEP-0050.
    public static let commands: Namespace = "http://jabber.org/protocol/commands"
}
