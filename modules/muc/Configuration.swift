import ServerKit

/// How owners say how their room should be. XEP-0045 §10.1, §10.2.
struct Configuration: RoomFeature {
    func load(into host: ModuleHost, _ rooms: Rooms) {
        rooms.answer(.set, "query", .mucOwner) { room, request in
            guard room.affiliation(of: request.from) == .owner else { throw StanzaError.forbidden }
            guard let form = try DataForm.find(in: request.query) else { throw StanzaError.badRequest }
            switch form.kind {
            case .submit: room.unlock()
            case .cancel: if room.isLocked { room.destroy() }
            case .form, .result: throw StanzaError.badRequest
            }
            return nil
        }
    }
}

extension Room {
    /// The room is open to everybody. XEP-0045 §10.1.2.
    func unlock() {
        guard isLocked else { return }
        change { $0.isLocked = nil }
    }
}
