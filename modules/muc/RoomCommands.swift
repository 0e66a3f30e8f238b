import ServerKit

/// What administrators of the service do with its rooms, through ad-hoc commands (XEP-0050).
struct RoomCommands: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        host.command(
            AdHocCommand("muc#list-rooms", "List rooms") { _ in
                let form = DataForm(
                    .form, title: "List rooms",
                    fields: [
                        .text("after", nil, label: "Begin after the room with this name"),
                        DataFormField(
                            "max", .textSingle, label: "The most rooms", values: ["50"],
                            validation: DataFormValidation("xs:integer", .range(min: "1", max: "500"))),
                    ])
                return .form(form) { form, _ in try await list(form, rooms) }
            })
        host.command(
            AdHocCommand("muc#create-room", "Create a room") { context in
                let settings = rooms.options.newRoom
                let form = DataForm(
                    .form, title: "Create a room",
                    fields: [
                        DataFormField("name", .textSingle, label: "The part before the @", isRequired: true),
                        DataFormField(
                            "owner", .jidSingle, label: "Its owner", isRequired: true,
                            values: [context.from.bare.description]),
                        .text("title", nil, label: "Name for people"),
                        .boolean("persistent", true, label: "Keep the room when nobody is in it"),
                        .boolean("public", settings.isPublic, label: "Show the room in public lists"),
                        .boolean("members_only", settings.isMembersOnly, label: "Let members only enter"),
                    ])
                return .form(form) { form, _ in try await create(form, rooms) }
            })
        host.command(
            AdHocCommand("muc#destroy-room", "Destroy a room") { _ in
                let form = DataForm(
                    .form, title: "Destroy a room",
                    fields: [
                        DataFormField("name", .textSingle, label: "The part before the @", isRequired: true),
                        .text("reason", nil, label: "Why, for those who are in it"),
                        DataFormField("jid", .jidSingle, label: "Another room that they may go to"),
                    ])
                return .form(form) { form, _ in try await destroy(form, rooms) }
            })
    }
}

private typealias Step = AdHocCommand.Step

@ServerActor
private func list(_ form: DataForm, _ rooms: Rooms) async throws -> Step {
    let limit = try form.int("max", in: 1...500) ?? 50
    let after = form.text("after").flatMap { $0.isEmpty ? nil : $0 }
    let names = try await rooms.stores.rooms.owners(after: after, limit: limit)
    var items: [[DataFormField]] = []
    for name in names {
        // Those that are not loaded stay so.
        let stored = rooms.loaded[name] == nil ? try await rooms.stores.rooms.value(for: name) : nil
        guard let record = rooms.loaded[name]?.record ?? stored else { continue }
        let settings = record.settings
        let kinds = [
            settings.isPublic ? "public" : "hidden", settings.isPersistent ? "persistent" : "temporary",
            settings.isMembersOnly ? "members only" : "open",
        ]
        items.append([
            DataFormField("room", values: [rooms.jid(name).description]),
            DataFormField("title", values: [settings.title ?? ""]),
            DataFormField("kind", values: [kinds.joined(separator: ", ")]),
            DataFormField("occupants", values: [String(rooms.loaded[name]?.occupants.count ?? 0)]),
            DataFormField("creator", values: [record.creator.description]),
        ])
    }
    let count = try await rooms.stores.rooms.count()
    let table = DataForm(
        .result, title: "Rooms",
        reported: [
            DataFormField("room", .jidSingle, label: "Room"), DataFormField("title", .textSingle, label: "Name"),
            DataFormField("kind", .textSingle, label: "Kind"),
            DataFormField("occupants", .textSingle, label: "Occupants"),
            DataFormField("creator", .jidSingle, label: "Made by"),
        ], items: items)
    return .done(table, note: "\(items.count) of \(count) rooms.")
}

@ServerActor
private func create(_ form: DataForm, _ rooms: Rooms) async throws -> Step {
    guard let name = rooms.roomName(form.text("name") ?? "") else { return .failed("That is no name for a room.") }
    guard let owner = try form.jid("owner")?.bare, owner.localpart != nil else {
        return .failed("That is nobody's address.")
    }
    var settings = rooms.options.newRoom
    if let title = form.text("title")?.trimmedXMLSpace, !title.isEmpty {
        guard title.utf8.count <= rooms.options.maxTitle else { return .failed("The name for people is too long.") }
        settings.title = title
    }
    settings.isPersistent = try form.bool("persistent") ?? true
    settings.isPublic = try form.bool("public") ?? settings.isPublic
    settings.isMembersOnly = try form.bool("members_only") ?? settings.isMembersOnly
    guard let room = await rooms.create(name, settings: settings, owner: owner) else {
        return .failed("There is such a room already.")
    }
    return .done(note: "The room \(room.jid) has been created.")
}

@ServerActor
private func destroy(_ form: DataForm, _ rooms: Rooms) async throws -> Step {
    guard let name = rooms.roomName(form.text("name") ?? ""), let room = await rooms.room(name) else {
        return .failed("There is no such room.")
    }
    let reason = form.text("reason").flatMap { $0.isEmpty ? nil : $0 }
    room.destroy(alternate: try form.jid("jid"), reason: reason)
    return .done(note: "The room \(room.jid) has been destroyed.")
}

extension Rooms {
    /// The localpart that somebody means who writes it, or the whole JID; nil if that is none.
    fileprivate func roomName(_ text: String) -> String? {
        let text = text.trimmedXMLSpace
        guard let jid = JID(text.contains("@") ? text : "\(text)@\(host.domain)"), jid.domainpart == host.domain,
            jid.resourcepart == nil
        else { return nil }
        return jid.localpart
    }
}
