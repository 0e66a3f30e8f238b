import ServerKit

/// What disco tells of single rooms. XEP-0045 §6.4, §6.5.
struct RoomDisco: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        // On the service as well: XEP-0045 §7.4, XEP-0421 §4.
        host.advertise(.stableID, .occupantID, on: .host)
        rooms.describe(.discoInfo, .discoItems, .muc, .stableID, .occupantID, .stanzaIDs)
        rooms.answer(.get, "query", .discoInfo) { room, request in
            try room.checkKnown(to: request.from)
            guard let name = request.query["node"] else {
                return Element("query", .discoInfo) { room.info(for: request.from).elements }
            }
            let content = try rooms.node(name).info(room, request)
            return Element("query", .discoInfo, ["node": name]) { content }
        }
        rooms.answer(.get, "query", .discoItems) { room, request in
            try room.checkKnown(to: request.from)
            guard let name = request.query["node"] else { return try room.items(request) }
            let items = try rooms.node(name).items(room, request)
            return Element("query", .discoItems, ["node": name]) {
                for item in items {
                    Element("item", nil, ["jid": item.jid.description, "node": item.node, "name": item.name])
                }
            }
        }
    }
}

extension Rooms {
    fileprivate func node(_ name: String) throws(StanzaError) -> RoomNode {
        if let node = info.node(name) { return node }
        // XEP-0045 §18.1.1: for those that let everything through.
        throw name == Namespace.traffic.uri ? .serviceUnavailable : .itemNotFound
    }
}

extension Room {
    /// Whether somebody may know what is said in the room: those who are in it or could be without being let in.
    func isOpen(to jid: JID) -> Bool {
        let affiliation = affiliation(of: jid)
        guard affiliation != .outcast else { return false }
        return affiliation >= .member || settings.isOpen && settings.isPublic || session(jid) != nil
    }

    /// XEP-0045 §7.2.10: to all but its owner a room that is locked yet is none.
    fileprivate func checkKnown(to jid: JID) throws(StanzaError) {
        if isLocked, affiliation(of: jid) != .owner { throw .itemNotFound }
    }

    /// XEP-0045 §6.4.
    fileprivate func info(for asker: JID) -> DiscoInfo {
        let added = service.info.description(of: self, for: asker)
        return DiscoInfo(
            identities: [.init("conference", "text", name: settings.title ?? name, language: nil)],
            features: (added.features + settings.features).unique,
            forms: [.extendedInfo(Self.infoFormType, fields(for: asker) + added.fields)] + added.forms)
    }

    private static let infoFormType = "http://jabber.org/protocol/muc#roominfo"

    /// XEP-0045 §16.5.4. Of hidden rooms and such that cannot be entered just so, strangers learn what they need to know
    /// to decide whether they want to, and not what happens there (§14.4).
    private func fields(for asker: JID) -> [DataFormField] {
        let isOpen = isOpen(to: asker)
        let texts: [DataFormField?] = [
            settings.title.map { .text("muc#roomconfig_roomname", $0, label: "Name") },
            settings.description.map { .text("muc#roominfo_description", $0, label: "Description") },
            settings.language.map { .text("muc#roominfo_lang", $0, label: "Language of the discussion") },
            settings.contacts.isEmpty
                ? nil
                : DataFormField(
                    "muc#roominfo_contactjid", .jidMulti, label: "Whom to ask",
                    values: settings.contacts.map(\.description)),
            isOpen ? subject.map { .text("muc#roominfo_subject", $0, label: "Subject") } : nil,
            isOpen || settings.isPublic
                ? .text("muc#roominfo_occupants", String(occupants.count), label: "Number of occupants") : nil,
            settings.logsURL.map { .text("muc#roominfo_logs", $0, label: "Address of what is published") },
            settings.pubsubNode.map { .text("muc#roomconfig_pubsub", $0, label: "A node that belongs to the room") },
        ]
        let choices: [DataFormField] = [
            .boolean(
                "muc#roominfo_subjectmod", settings.participantsChangeSubject,
                label: "Whether participants may change the subject"),
            // Clients look for these names.
            .boolean("muc#roomconfig_changesubject", settings.participantsChangeSubject),
            // Of somebody who is not an admin: into open rooms everybody may.
            .boolean("muc#roomconfig_allowinvites", !settings.isMembersOnly || settings.occupantsInvite),
            DataFormField("muc#roomconfig_allowpm", .listSingle, values: [settings.privateMessages.rawValue]),
            .text("muc#maxhistoryfetch", String(historyLength), label: "Messages that somebody who enters is shown"),
        ]
        return texts.compactMap(\.self) + choices
    }

    /// The text of the subject; nil when there is none.
    private var subject: String? {
        guard let stored = record.subject, let element = try? Element.parse(stored.xml),
            let text = element.text(of: "subject"), !text.isEmpty
        else { return nil }
        return text
    }

    /// XEP-0045 §6.5: those who are here know who else is. For others the list is empty, unless the administrator wants it.
    fileprivate func items(_ request: IQRequest) throws(StanzaError) -> Element {
        let wanted = try ResultSetRequest.find(in: request.query)
        let shown: [Occupant]
        if let viewer = session(request.from)?.occupant {
            shown = occupants.filter { isVisible($0, to: viewer) }
        } else if service.options.showsOccupants, settings.isPublic, isOpen(to: request.from) {
            shown = occupants.filter(\.isShown)
        } else {
            shown = []
        }
        let page = try (wanted ?? ResultSetRequest()).page(of: shown, limit: service.options.listSize) {
            $0.jid.description
        }
        return Element("query", .discoItems) {
            for occupant in page.items { Element("item", nil, ["jid": occupant.jid.description]) }
            if wanted != nil || page.items.count < shown.count { page.response.element }
        }
    }
}

extension [Namespace] {
    /// What several features need is advertised once.
    fileprivate var unique: [Namespace] {
        var seen: Set<Namespace> = []
        return filter { seen.insert($0).inserted }
    }
}

extension RoomSettings {
    /// XEP-0045 §16.3.
    fileprivate var features: [Namespace] {
        [
            isPublic ? "muc_public" : "muc_hidden",
            isPersistent ? "muc_persistent" : "muc_temporary",
            isMembersOnly ? "muc_membersonly" : "muc_open",
            isModerated ? "muc_moderated" : "muc_unmoderated",
            whois == .anyone ? "muc_nonanonymous" : "muc_semianonymous",
            password == nil ? "muc_unsecured" : "muc_passwordprotected",
        ]
    }
}

extension Namespace {
    /// A message comes back with the id it had. XEP-0045 §16.3.
    fileprivate static let stableID: Namespace = "http://jabber.org/protocol/muc#stable_id"
    /// What a room does not let through. XEP-0045 §16.4.
    fileprivate static let traffic: Namespace = "http://jabber.org/protocol/muc#traffic"
}
