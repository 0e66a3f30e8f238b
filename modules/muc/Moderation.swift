import ServerKit

/// Moderators retract what others have said. XEP-0425.
struct Moderation: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        rooms.describe { room, _ in
            room.service.options.allowsModeration
                ? RoomDescription(features: [.moderation, .legacyModeration]) : nil
        }
        host.observe(.roomMessage) { $0.room.notePassing($0) }
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
            guard !self.isDestroyed else { throw StanzaError.itemNotFound }
            guard let kept else {
                guard self.forgetPassing(id) else { throw StanzaError.itemNotFound }
                // There is nothing to bury, but those who have seen it can hide it.
                return self.announceModeration(of: id, by: moderator, reason)
            }
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
        let id = service.makeID()
        let stamp = service.host.clock.date.description
        // XEP-0425 §4. COMPAT: and as it was before version 0.3.
        bury(
            kept,
            Element("retracted", .retraction, ["id": id, "stamp": stamp]) { moderated(by: moderator, reason) },
            legacy(by: moderator, reason) {
                Element("retracted", .legacyRetraction, ["stamp": stamp])
            })
        announceModeration(of: kept.id, by: moderator, reason, id: id)
    }

    /// XEP-0425 §3.1.
    private func announceModeration(of kept: String, by moderator: Occupant, _ reason: String?, id: String? = nil) {
        publish(
            Message(id: id ?? service.makeID(), kind: .groupchat) {
                Element("retract", .retraction, ["id": kept]) { moderated(by: moderator, reason) }
                // COMPAT: the same before version 0.3.
                Element("apply-to", .fastening, ["id": kept]) {
                    legacy(by: moderator, reason) { Element("retract", .legacyRetraction) }
                }
            })
    }

    /// Who did it, and why.
    private func moderated(by moderator: Occupant, _ reason: String?) -> [Element] {
        let moderated = Element("moderated", .moderation, ["by": moderator.jid.description]) {
            Element("occupant-id", .occupantID, ["id": moderator.id])
        }
        return [moderated] + (reason.map { [Element("reason", .retraction, text: $0)] } ?? [])
    }

    private func legacy(by moderator: Occupant, _ reason: String?, _ what: () -> Element) -> Element {
        Element("moderated", .legacyModeration, ["by": moderator.jid.description]) {
            what()
            if let reason { Element("reason", text: reason) }
        }
    }
}

// MARK: - What is not in the archive

extension Room {
    /// The ids of messages that are not in the archive, as their senders wanted or since there is none (XEP-0334 §4).
    @ServerActor
    private final class Passing {
        enum Key: RoomKey { static let defaultValue: Passing? = nil }

        /// How many of them can be moderated.
        static let limit = 500

        var ids: [String] = []
    }

    fileprivate func notePassing(_ event: RoomMessageEvent) {
        let message = event.message
        guard message.isMessageContent, !message.isSubjectChange,
            !event.isKept || !isArchived || !message.isForArchive
        else { return }
        let passing = self[Passing.Key.self] ?? Passing()
        self[Passing.Key.self] = passing
        // Half of them go at once, so that not each one moves all.
        if passing.ids.count >= Passing.limit { passing.ids.removeFirst(Passing.limit / 2) }
        passing.ids.append(event.id)
    }

    /// Whether a message with this id went by; not any more from now on.
    fileprivate func forgetPassing(_ id: String) -> Bool {
        guard let passing = self[Passing.Key.self], let index = passing.ids.firstIndex(of: id) else { return false }
        passing.ids.remove(at: index)
        return true
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
