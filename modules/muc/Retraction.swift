import ServerKit

/// Occupants take back what they have said. XEP-0424.
///
/// The room sees to it that it is their own, and that nobody who comes later is told. Which message that was may have to
/// be looked for, so that a retraction may reach the others a little later than what its sender says next.
struct Retraction: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        host.filter(.roomMessage) { event in
            event.message.pretendsRetraction ? .bounce(.badRequest) : .pass
        }
        host.claim(.roomMessage) { event in
            guard let id = event.message.retractedID else { return false }
            event.room.retract(id, event)
            return true
        }
    }
}

extension Room {
    /// Retractions whose messages are being looked for.
    @ServerActor
    private final class Waiting {
        static let limit = 100

        let mailbox: Mailbox
        var events: ArraySlice<RoomMessageEvent> = []

        init(_ router: Router) { mailbox = Mailbox(router: router) }
    }

    private enum WaitingKey: RoomKey { static let defaultValue: Waiting? = nil }

    fileprivate func retract(_ id: String, _ event: RoomMessageEvent) {
        let waiting = self[WaitingKey.self] ?? Waiting(router)
        self[WaitingKey.self] = waiting
        guard waiting.events.count < Waiting.limit else {
            return bounce(event, .resourceConstraint("Too many retractions at the same time."))
        }
        waiting.events.append(event)
        waiting.mailbox.put(.message(event.message))
        if waiting.events.count == 1 { work(through: waiting) }
    }

    private func work(through waiting: Waiting) {
        // Meanwhile the room must not be let go of.
        pins += 1
        Task { @ServerActor in
            while let event = waiting.events.first {
                let found = await self.find(event)
                waiting.events.removeFirst()
                waiting.mailbox.handleFirst { _ in self.retract(found, event) }
            }
            self.pins -= 1
        }
    }

    private func find(_ event: RoomMessageEvent) async -> Result<KeptMessage?, any Error> {
        do {
            return .success(try await keptMessage(event.message.retractedID ?? ""))
        } catch {
            return .failure(error)
        }
    }

    private func retract(_ found: Result<KeptMessage?, any Error>, _ event: RoomMessageEvent) {
        guard !isDestroyed else { return bounce(event, .itemNotFound) }
        // While its message was looked for, its sender may have been shown out, or have lost its voice.
        guard let occupant = session(event.session.jid)?.occupant else { return bounce(event, .notAcceptable) }
        guard occupant.role >= .participant else { return bounce(event, .forbidden) }
        switch found {
        case .failure(let error):
            service.host.log.error("A message cannot be retracted", metadata: ["reason": "\(error)"])
            bounce(event, StanzaError(.internalServerError, .wait))
        case .success(nil):
            // It is not kept. Those who have seen it may still hide it; they check who it is from (XEP-0424 §5).
            publish(event)
        case .success(let kept?):
            // XEP-0424 §5: occupants are told apart by their ids, whatever their nicks.
            guard kept.message.occupantID == event.occupant.id else {
                return bounce(event, .forbidden("Only its author may retract a message."))
            }
            if !kept.isTombstone {
                bury(
                    kept,
                    Element(
                        "retracted", .retraction,
                        [
                            // XEP-0424 §4.
                            "id": event.message.id ?? event.id, "stamp": service.host.clock.date.description,
                        ]))
            }
            // It is written after the tombstone: whoever gets it may rely on that.
            publish(event)
        }
    }

    private func bounce(_ event: RoomMessageEvent, _ error: StanzaError) {
        var message = event.message
        message.from = event.session.jid
        message.to = jid
        router.bounce(.message(message), error)
    }
}

extension Message {
    /// Whether it would make clients hide something that the room has not looked at.
    fileprivate var pretendsRetraction: Bool {
        let retractions = payload.children("retract", .retraction)
        // COMPAT: XEP-0424 before version 0.4, and XEP-0425 before version 0.3.
        let attached = payload.children("apply-to", .fastening)
        // What moderators do, the room alone tells (XEP-0425 §5).
        if retractions.contains(where: { $0.has("moderated", .moderation) })
            || attached.contains(where: { $0.has("moderated", .legacyModeration) })
        {
            return true
        }
        let ids =
            retractions.map { $0["id"] } + attached.filter { $0.has("retract", .legacyRetraction) }.map { $0["id"] }
        guard let first = ids.first else { return false }
        // A change of the subject would not be looked at here; and one message is looked for, under its new name.
        return isSubjectChange || retractions.isEmpty || ids.contains { $0 != first }
    }

    /// Who sent it, as the room says. XEP-0421 §3.
    var occupantID: String? { payload.child("occupant-id", .occupantID)?["id"] }
}
