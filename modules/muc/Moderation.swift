import ServerKit

/// Moderators retract what others have said. XEP-0425.
struct Moderation: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        rooms.describe { room, _ in
            room.service.options.allowsModeration
                ? RoomDescription(features: [.moderation, .legacyModeration]) : nil
        }
        rooms.answer(
            .set, "moderate", .moderation,
            later: { room, request in
                try await room.moderate(request, id: request.query["id"], request.query)
            })
        // COMPAT: XEP-0425 before version 0.3, which clients still send.
        rooms.answer(
            .set, "apply-to", .fastening,
            later: { room, request in
                guard let moderate = request.query.child("moderate", .legacyModeration) else {
                    throw StanzaError.featureNotImplemented
                }
                return try await room.moderate(request, id: request.query["id"], moderate)
            })
    }
}

extension Room {
    private enum QueueKey: RoomKey { static let defaultValue: ArchiveQueue? = nil }

    /// How many requests may wait for the one before them.
    private static let waitingModerations = 50

    /// XEP-0425 §3.
    fileprivate func moderate(_ request: IQRequest, id: String?, _ moderate: Element) async throws -> Element? {
        guard service.options.allowsModeration else { throw StanzaError.serviceUnavailable }
        _ = try moderator(request.from)
        guard moderate.has("retract", .retraction) || moderate.has("retract", .legacyRetraction) else {
            throw StanzaError.featureNotImplemented
        }
        guard let id, !id.isEmpty else { throw StanzaError.badRequest("The id of the message is missing.") }
        let reason = moderate.text(of: "reason").flatMap { $0.isEmpty ? nil : $0 }
        let queue = self[QueueKey.self] ?? ArchiveQueue()
        self[QueueKey.self] = queue
        try await queue.run(limit: Self.waitingModerations) {
            let kept = try await self.keptMessage(id)
            // The world may have moved.
            let moderator = try self.moderator(request.from)
            guard !self.isDestroyed, let kept else { throw StanzaError.itemNotFound }
            // What the room itself says, as of moderation, is no message of an occupant.
            guard kept.message.occupantID != nil else { throw StanzaError.notAllowed }
            if !kept.isTombstone { self.moderate(kept, by: moderator, reason) }
        }
        return nil
    }

    private func moderator(_ jid: JID) throws(StanzaError) -> Occupant {
        guard let occupant = session(jid)?.occupant, occupant.role == .moderator else {
            throw .forbidden("Only moderators are allowed to moderate other participants' messages.")
        }
        return occupant
    }

    private func moderate(_ kept: KeptMessage, by moderator: Occupant, _ reason: String?) {
        let moderated = Element("moderated", .moderation, ["by": moderator.jid.description]) {
            Element("occupant-id", .occupantID, ["id": moderator.id])
        }
        let why = reason.map { Element("reason", .retraction, text: $0) }
        let id = service.makeID()
        let stamp = service.host.clock.date.description
        // XEP-0425 §4. COMPAT: and as it was before version 0.3.
        bury(
            kept,
            Element("retracted", .retraction, ["id": id, "stamp": stamp]) {
                moderated
                why
            },
            legacy(by: moderator, reason) {
                Element("retracted", .legacyRetraction, ["stamp": stamp])
            })
        publish(
            Message(id: id, kind: .groupchat) {
                Element("retract", .retraction, ["id": kept.id]) {
                    moderated
                    why
                }
                // COMPAT: the same before version 0.3.
                Element("apply-to", .fastening, ["id": kept.id]) {
                    legacy(by: moderator, reason) { Element("retract", .legacyRetraction) }
                }
            })
    }

    private func legacy(by moderator: Occupant, _ reason: String?, _ what: () -> Element) -> Element {
        Element("moderated", .legacyModeration, ["by": moderator.jid.description]) {
            what()
            if let reason { Element("reason", text: reason) }
        }
    }
}

extension Namespace {
    /// XEP-0425 §2.
    static let moderation: Namespace = "urn:xmpp:message-moderate:1"
    /// COMPAT: XEP-0425 before version 0.3.
    static let legacyModeration: Namespace = "urn:xmpp:message-moderate:0"
    /// COMPAT: XEP-0424 before version 0.4.
    static let legacyRetraction: Namespace = "urn:xmpp:message-retract:0"
    /// COMPAT: XEP-0422, in which those versions were wrapped.
    static let fastening: Namespace = "urn:xmpp:fasten:0"
}
