import ServerKit

/// Hats (XEP-0317): owners make them, owners and admins put them on people's heads, by ad-hoc commands of the room.
struct Hats: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        let runner = CommandRunner(server: host.server)
        rooms.answer(
            .set, "command", .commands,
            later: { room, request in
                try await runner.run(request, at: room.name, takesFormAtOnce: true) { node throws(StanzaError) in
                    guard let command = HatCommand(rawValue: node) else { throw .itemNotFound }
                    guard command.isFor(room.standing(of: request.from), in: room) else { throw .forbidden }
                    return (command.command(of: room.name, rooms), 0)
                }
            })
        host.every(.minutes(1)) { runner.forgetIdle() }
        rooms.describe { room, _ in
            // XEP-0317 §2.
            let hash = room.record.hats.map { DataFormField.text("hats#hash", $0.hash, label: "Hash of the hats") }
            return RoomDescription(features: [.hats, .commands], fields: hash.map { [$0] } ?? [])
        }
        describeCommands(rooms)
    }

    /// XEP-0050 §2.2.
    private func describeCommands(_ rooms: Rooms) {
        rooms.discoNode(
            Namespace.commands.uri,
            info: { _, _ in
                DiscoInfo(
                    identities: [.init("automation", "command-list", name: "Commands")], features: [.commands]
                ).elements
            },
            items: { room, request in
                let standing = room.standing(of: request.from)
                return HatCommand.allCases.filter { $0.isFor(standing, in: room) }
                    .map { DiscoRegistry.Item(jid: room.jid, node: $0.rawValue, name: $0.title) }
            })
        for command in HatCommand.allCases {
            rooms.discoNode(
                command.rawValue,
                info: { room, request in
                    guard command.isFor(room.standing(of: request.from), in: room) else { throw StanzaError.forbidden }
                    return DiscoInfo(
                        identities: [.init("automation", "command-node", name: command.title)],
                        features: [.commands, .dataForms]
                    ).elements
                })
        }
    }
}

/// The commands, by their nodes. XEP-0317 §3.2 to §3.7.
enum HatCommand: String, CaseIterable {
    case create = "urn:xmpp:hats:commands:create"
    case destroy = "urn:xmpp:hats:commands:destroy"
    case list = "urn:xmpp:hats:commands:list"
    case assign = "urn:xmpp:hats:commands:assign"
    case unassign = "urn:xmpp:hats:commands:unassign"
    case listAssigned = "urn:xmpp:hats:commands:list-assigned"

    /// XEP-0317 §3.8.
    static let formType = "urn:xmpp:hats:commands"

    var title: String {
        switch self {
        case .create: "Create a hat"
        case .destroy: "Destroy a hat"
        case .list: "List the hats"
        case .assign: "Give somebody a hat"
        case .unassign: "Take a hat from somebody"
        case .listAssigned: "List who wears which hat"
        }
    }

    /// Whether somebody may run it: owners say which hats there are, as they say how the room is; who may change
    /// affiliations may give hats; who may see JIDs may see who has them.
    @ServerActor
    func isFor(_ standing: Standing, in room: Room) -> Bool {
        switch self {
        case .create, .destroy: standing.affiliation == .owner
        case .assign, .unassign: standing.affiliation >= .admin
        case .list: standing.role > .none || standing.affiliation >= .member
        case .listAssigned:
            standing.affiliation >= .admin
                || room.settings.whois == .anyone && (standing.role > .none || standing.affiliation >= .member)
        }
    }

    /// The command of one room, which is looked up at each step: meanwhile it may have been loaded anew.
    @ServerActor
    func command(of name: String, _ rooms: Rooms) -> AdHocCommand {
        AdHocCommand(rawValue, title) { context in
            let room = try await rooms.existing(name)
            switch self {
            case .list: return .done(room.hatList)
            case .listAssigned: return .done(room.wearerList)
            case .create, .destroy, .assign, .unassign:
                return .form(self.form(of: room)) { form, _ in
                    let room = try await rooms.existing(name)
                    try room.checkPace(ofChangeBy: context.from)
                    try self.run(form, in: room)
                    return .done()
                }
            }
        }
    }

    @ServerActor
    private func run(_ form: DataForm, in room: Room) throws(StanzaError) {
        let uri = form.text("hats#uri") ?? ""
        switch self {
        case .create: try room.makeHat(uri, title: form.text("hats#title") ?? "", hue: form.text("hats#hue"))
        case .destroy:
            try room.changeHats { rack throws(StanzaError) in
                guard rack.hat(uri) != nil else { throw .itemNotFound }
                rack.destroy(uri)
            }
        case .assign: try room.giveHat(uri, to: try form.hatWearer())
        case .unassign:
            let jid = try form.hatWearer()
            try room.changeHats { rack throws(StanzaError) in
                guard rack.take(uri, from: jid) else { throw .itemNotFound }
            }
        case .list, .listAssigned: break
        }
    }

    // MARK: Forms

    @ServerActor
    private func form(of room: Room) -> DataForm {
        let hats = room.record.hats?.hats ?? []
        let choice = DataFormField(
            "hats#uri", .listSingle, label: "Hat", isRequired: true,
            options: hats.map { .init($0.uri, label: $0.title) })
        let wearer = DataFormField("hats#jid", .jidSingle, label: "Address of the user", isRequired: true)
        let fields: [DataFormField] =
            switch self {
            case .create:
                [
                    DataFormField("hats#title", .textSingle, label: "Title", isRequired: true),
                    DataFormField("hats#uri", .textSingle, label: "URI, which identifies it", isRequired: true),
                    DataFormField("hats#hue", .textSingle, label: "Colour, as an angle from 0 to 360"),
                ]
            case .destroy: [choice]
            case .assign, .unassign: [wearer, choice]
            case .list, .listAssigned: []
            }
        return DataForm(.form, formType: Self.formType, title: title, fields: fields)
    }
}

extension DataForm {
    /// XEP-0317 §3.5: hats are for people, not for their clients.
    fileprivate func hatWearer() throws(StanzaError) -> JID {
        guard let jid = try jid("hats#jid") else { throw DataFormProblem("hats#jid", "is required").stanzaError }
        return jid.bare
    }
}

extension Rooms {
    fileprivate func existing(_ name: String) async throws(StanzaError) -> Room {
        guard let room = await room(name) else { throw .itemNotFound }
        return room
    }
}

extension Room {
    fileprivate func makeHat(_ uri: String, title: String, hue: String?) throws(StanzaError) {
        let hat = try Hat(
            uri: uri.trimmedXMLSpace, title: title.trimmedXMLSpace, hue: hue.flatMap { $0.isEmpty ? nil : $0 })
        let limit = service.options.maxHats
        try changeHats { rack throws(StanzaError) in
            guard rack.hat(hat.uri) != nil || rack.hats.count < limit else {
                throw .resourceConstraint("The room has too many hats.")
            }
            rack.put(hat)
        }
    }

    fileprivate func giveHat(_ uri: String, to jid: JID) throws(StanzaError) {
        let limit = service.options.maxHatsWorn
        try changeHats { rack throws(StanzaError) in
            guard rack.hat(uri) != nil else { throw .itemNotFound }
            guard rack.give(uri, to: jid) else { return }
            guard rack.wornCount <= limit else { throw .resourceConstraint("Too many hats are worn already.") }
        }
    }

    /// XEP-0317 §3.4.
    fileprivate var hatList: DataForm {
        let hats = record.hats?.hats ?? []
        return DataForm(
            .result, title: HatCommand.list.title,
            reported: ["hats#title", "hats#uri", "hats#hue"].map { DataFormField($0) }, items: hats.map(\.fields))
    }

    /// XEP-0317 §3.7.
    fileprivate var wearerList: DataForm {
        var items: [[DataFormField]] = []
        for (jid, uris) in (record.hats?.wearers ?? [:]).sorted(by: { $0.key < $1.key }) {
            for hat in uris.compactMap({ record.hats?.hat($0) }) {
                items.append([DataFormField("hats#jid", values: [jid])] + hat.fields)
            }
        }
        return DataForm(
            .result, title: HatCommand.listAssigned.title,
            reported: ["hats#jid", "hats#title", "hats#uri", "hats#hue"].map { DataFormField($0) }, items: items)
    }
}

extension Hat {
    fileprivate var fields: [DataFormField] {
        [
            DataFormField("hats#title", values: [title]), DataFormField("hats#uri", values: [uri]),
            DataFormField("hats#hue", values: hue.map { [$0] } ?? []),
        ]
    }
}
