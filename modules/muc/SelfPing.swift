import ServerKit

/// Tells clients whether they are still in the room (XEP-0410): a ping to the own nick is answered by the room, without a
/// detour through the user's clients. Core tells those who are not (§3.3, `not-acceptable`).
struct SelfPing: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        rooms.describe(.selfPing)
        host.claim(.occupantAddressed) { event in
            guard case .iq(let iq) = event.stanza, iq.kind == .get, iq.query?.is("ping", .ping) == true,
                event.room.occupant(nick: event.nick) === event.session.occupant
            else { return false }
            host.answer(iq) { _ in nil }
            return true
        }
    }
}

extension Namespace {
    /// XEP-0410 §3.3.
    static let selfPing: Namespace = "http://jabber.org/protocol/muc#self-ping-optimization"
}
