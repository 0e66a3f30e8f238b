import ServerKit

/// What a submitted form asks for.
struct RoomChange {
    var settings: RoomSettings
    /// The whole list, if it was submitted.
    var owners: [JID]?
    var admins: [JID]?
    /// What was said of the password: whether there is one, and which; empty for none.
    var isProtected: Bool?
    var secret: String?
}

/// One field of the form in which owners say how their room should be. XEP-0045 §16.5.3.
///
/// What the XEP does not register has the name that other servers and clients use for it, and where there is none either,
/// one in a namespace of ours (XEP-0068 §3.3).
@ServerActor
struct RoomField {
    typealias Read = @ServerActor (DataForm, Room, inout RoomChange) throws(StanzaError) -> Void

    let name: String
    /// Names under which it is submitted, too.
    let aliases: [String]
    /// Whether it is read even when it comes back as it was shown, since another field may have changed what it means.
    let isAlwaysRead: Bool
    /// The field as the room is now; nil where there is nothing to choose.
    let show: @ServerActor (Room) -> DataFormField?
    /// Takes over what was submitted; it has been checked against ``show``.
    let read: Read

    init(
        _ name: String, aliases: [String] = [], isAlwaysRead: Bool = false,
        show: @escaping @ServerActor (Room) -> DataFormField?, read: @escaping Read
    ) {
        self.name = name
        self.aliases = aliases
        self.isAlwaysRead = isAlwaysRead
        self.show = show
        self.read = read
    }

    /// A part of the form with its heading.
    struct Section {
        let title: String
        let fields: [RoomField]
    }

    // MARK: Kinds of fields

    static func bool(
        _ name: String, _ label: String, _ path: any WritableKeyPath<RoomSettings, Bool> & Sendable
    ) -> RoomField {
        RoomField(name) { room in
            .boolean(name, room.settings[keyPath: path], label: label)
        } read: { form, _, change throws(StanzaError) in
            if let value = try form.bool(name) { change.settings[keyPath: path] = value }
        }
    }

    /// A text of at most so many bytes; empty for none.
    static func text(
        _ name: String, _ label: String, _ path: any WritableKeyPath<RoomSettings, String?> & Sendable,
        limit: any KeyPath<MUC.Options, Int> & Sendable,
        check: @escaping @Sendable (String) -> String? = { _ in nil }
    ) -> RoomField {
        RoomField(name) { room in
            .text(name, room.settings[keyPath: path], label: label)
        } read: { form, room, change throws(StanzaError) in
            guard let text = form.text(name)?.trimmedXMLSpace else { return }
            let limit = room.service.options[keyPath: limit]
            guard text.utf8.count <= limit else {
                throw DataFormProblem(name, "has more than \(limit) bytes").stanzaError
            }
            if !text.isEmpty, let reason = check(text) { throw DataFormProblem(name, reason).stanzaError }
            change.settings[keyPath: path] = text.isEmpty ? nil : text
        }
    }

    /// One of some words.
    static func choice<Choice: RawRepresentable<String> & CaseIterable & Sendable>(
        _ name: String, _ label: String, _ path: any WritableKeyPath<RoomSettings, Choice> & Sendable,
        _ labels: @escaping @Sendable (Choice) -> String
    ) -> RoomField {
        RoomField(name) { room in
            DataFormField(
                name, .listSingle, label: label, values: [room.settings[keyPath: path].rawValue],
                options: Choice.allCases.map { .init($0.rawValue, label: labels($0)) })
        } read: { form, _, change throws(StanzaError) in
            if let value = try form.choice(name, of: Choice.self) { change.settings[keyPath: path] = value }
        }
    }

    /// Some roles.
    static func roles(
        _ name: String, _ label: String, _ path: any WritableKeyPath<RoomSettings, Set<Role>> & Sendable
    ) -> RoomField {
        let all: [(role: Role, label: String)] = [
            (.moderator, "Moderators"), (.participant, "Participants"), (.visitor, "Visitors"),
        ]
        return RoomField(name) { room in
            DataFormField(
                name, .listMulti, label: label,
                values: all.filter { room.settings[keyPath: path].contains($0.role) }.map(\.role.rawValue),
                options: all.map { .init($0.role.rawValue, label: $0.label) })
        } read: { form, _, change throws(StanzaError) in
            if let roles = try form.choices(name, of: Role.self) { change.settings[keyPath: path] = Set(roles) }
        }
    }

    /// A number, 0 or nothing for none.
    static func number(
        _ name: String, _ label: String, _ path: any WritableKeyPath<RoomSettings, Int?> & Sendable, max: Int
    ) -> RoomField {
        RoomField(name) { room in
            DataFormField(
                name, .textSingle, label: label, values: [String(room.settings[keyPath: path] ?? 0)],
                validation: DataFormValidation("xs:integer", .range(min: "0", max: String(max))))
        } read: { form, _, change throws(StanzaError) in
            guard form[name] != nil else { return }
            let number = try form.int(name, in: 0...max) ?? 0
            change.settings[keyPath: path] = number == 0 ? nil : number
        }
    }

    /// A list of addresses of people, not longer than it may be or is already.
    static func addresses(
        _ name: String, _ label: String, limit: any KeyPath<MUC.Options, Int> & Sendable,
        _ current: @escaping @ServerActor (Room) -> [JID],
        set: @escaping @ServerActor (inout RoomChange, [JID]) -> Void
    ) -> RoomField {
        RoomField(name) { room in
            DataFormField(name, .jidMulti, label: label, values: current(room).map(\.description))
        } read: { form, room, change throws(StanzaError) in
            guard let jids = try form.jids(name) else { return }
            var people: [JID] = []
            for jid in jids.map(\.bare) where !people.contains(jid) {
                guard jid.localpart != nil else {
                    throw DataFormProblem(name, "holds an address that is nobody's").stanzaError
                }
                people.append(jid)
            }
            let limit = max(room.service.options[keyPath: limit], current(room).count)
            guard people.count <= limit else {
                throw DataFormProblem(name, "takes at most \(limit) addresses").stanzaError
            }
            set(&change, people)
        }
    }
}
