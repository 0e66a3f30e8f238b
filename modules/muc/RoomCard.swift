import ServerKit

/// A room's card with its avatar. XEP-0486.
///
/// Loaded rooms have the avatar's hash only; the card is read when somebody asks for it.
struct RoomCard: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        // XEP-0486 §3.1: of the service, too, which therefore has a card itself.
        host.advertise(.vCard, on: .host)
        host.answer(.get, "vCard", .vCard, on: .host) { _ in
            Element("vCard", .vCard) { Element("FN", text: host.domain) }
        }
        rooms.describe { room, _ in
            guard let hashes = room.record.avatar else { return RoomDescription(features: [.vCard]) }
            // XEP-0486 §3.3, §5.1.
            let field = DataFormField("muc#roominfo_avatarhash", .textMulti, values: hashes)
            return RoomDescription(features: [.vCard], fields: [field])
        }
        rooms.answer(
            .get, "vCard", .vCard,
            later: { room, request in
                try room.admitToCard(request.from)
                guard let bytes = try await rooms.stores.cards.value(for: room.name) else {
                    throw StanzaError.itemNotFound
                }
                return try Element.parse(bytes)
            })
        rooms.answer(.set, "vCard", .vCard) { room, request in
            try room.setCard(request)
            return nil
        }
        host.observe(.occupantEntered) { event in
            guard rooms.options.avatarPresence, event.room.record.avatar != nil else { return }
            event.room.showAvatar(to: [event.session])
        }
    }
}

extension Room {
    /// Whoever may know of the room may see its card.
    fileprivate func admitToCard(_ jid: JID) throws {
        let affiliation = affiliation(of: jid)
        if affiliation == .outcast { throw StanzaError.forbidden }
        // XEP-0045 §10.1.1: as if there were no such room.
        if isLocked, affiliation != .owner { throw StanzaError.itemNotFound }
    }

    /// An owner sets the card, or removes it with an empty one. XEP-0486 §3.2.
    fileprivate func setCard(_ request: IQRequest) throws {
        guard affiliation(of: request.from) == .owner else {
            if isLocked { throw StanzaError.itemNotFound }
            throw StanzaError.forbidden("Only owners may set the card of the room.")
        }
        let card = request.query.hasChildren ? request.query : nil
        let hashes = try card?.avatarHashes() ?? []
        let bytes = card?.xmlBytes
        if let bytes, bytes.count > service.options.cardSize {
            throw StanzaError.policyViolation("A card may have \(service.options.cardSize) bytes.").withoutRequest()
        }
        let store = service.stores.cards
        let write: StorageWrite =
            bytes.map { store.setting($0, for: name) } ?? .delete(store.address, owner: name)
        let hadAvatar = record.avatar != nil
        change(also: [write]) { $0.avatar = hashes.isEmpty ? nil : hashes }
        // Others hear of it when it is on disk.
        request.afterAnswer { [self] in
            guard !isDestroyed else { return }
            distribute(
                Message(id: service.makeID(), kind: .groupchat) {
                    Element("x", .mucUser) { Status.configurationChanged.element }
                })
            if service.options.avatarPresence, hadAvatar || record.avatar != nil { showAvatar(to: reachableSessions) }
        }
    }

    /// Presence of the room itself, which XEP-0486 §5.2 advises against.
    ///
    /// COMPAT clients that look for it there only; switched on by the administrator.
    fileprivate func showAvatar(to viewers: [Occupant.Session]) {
        let hash = record.avatar?.first
        let presence = Presence(from: jid) {
            Element("x", .avatarUpdate) { Element("photo", text: hash) }
        }
        outbox.send(size: viewers.count) {
            for viewer in viewers {
                var copy = presence
                copy.to = viewer.jid
                self.router.route(copy)
            }
        }
    }
}

extension Element {
    /// How many versions of its picture a card may have.
    private static let photoLimit = 8

    /// The hashes of a card's pictures, each in lower-case hexadecimal digits. XEP-0153 §3.1, XEP-0486 §5.1.
    ///
    /// - Throws: `.badRequest` for what is no picture.
    fileprivate func avatarHashes() throws(StanzaError) -> [String] {
        let photos = children("PHOTO", .vCard)
        guard photos.count <= Self.photoLimit else {
            throw .badRequest("A card has at most \(Self.photoLimit) pictures.")
        }
        var hashes: [String] = []
        for photo in photos {
            let text = photo.text(of: "BINVAL", .vCard) ?? ""
            // XEP-0153 §4.6: whitespace may be anywhere in it.
            let solid = text.utf8.filter { $0 != 0x20 && $0 != 0x0A && $0 != 0x0D && $0 != 0x09 }
            guard !solid.isEmpty else { continue }
            guard let bytes = Base64.decode(String(decoding: solid, as: UTF8.self)) else {
                throw .badRequest("A picture is in Base64.")
            }
            if let type = photo.text(of: "TYPE", .vCard), !type.isEmpty, !type.lowercased().hasPrefix("image/") {
                throw .badRequest("A picture is of type image.")
            }
            let hash = Hex.encode(Digest.sha1(bytes))
            if !hashes.contains(hash) { hashes.append(hash) }
        }
        return hashes
    }
}

extension Namespace {
    /// XEP-0153 §3.1.
    fileprivate static let avatarUpdate: Namespace = "vcard-temp:x:update"
}
