import ServerKit

/// Keeps a nick for a while for somebody who left, so that nobody else passes for it meanwhile.
///
/// A room with such nicks stays loaded until they are free.
struct KeptNicks: RoomFeature {
    private struct Kept {
        let jid: JID
        let end: Duration
    }

    /// By the form in which they are compared.
    private enum Nicks: RoomKey { static let defaultValue: [String: Kept] = [:] }

    func load(into host: ModuleHost, _ rooms: Rooms) {
        host.filter(.nickWanted) { event in
            let kept = event.room[Nicks.self][Room.key(of: event.nick)]
            guard let kept, kept.end > rooms.now, kept.jid != event.jid.bare else { return .pass }
            return .bounce(.conflict("This nick is kept for somebody who has just left."))
        }
        host.observe(.occupantLeft) { event in
            guard event.occupant.sessions.isEmpty, event.occupant.affiliation != .outcast else { return }
            keep(event.occupant, event.room)
        }
    }

    private func keep(_ occupant: Occupant, _ room: Room) {
        let (rooms, time) = (room.service, room.service.options.keepNick)
        guard time > .zero, !room.isDestroyed, room[Nicks.self].count < rooms.options.maxOccupants else { return }
        if room[Nicks.self].isEmpty {
            room.pins += 1
            wait(time, room)
        }
        room[Nicks.self][occupant.key] = Kept(jid: occupant.bareJID, end: rooms.now + time)
    }

    private func wait(_ time: Duration, _ room: Room) {
        room.service.host.clock.after(time) {
            let now = room.service.now
            room[Nicks.self] = room[Nicks.self].filter { $0.value.end > now }
            if let next = room[Nicks.self].values.map(\.end).min() {
                wait(next - now, room)
            } else {
                room.pins -= 1
            }
        }
    }
}
