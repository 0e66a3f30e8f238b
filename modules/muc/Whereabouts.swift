import ServerKit

/// What the server itself knows of a client.
enum Whereabouts {
    /// Nothing: it is not a client of this server.
    case elsewhere
    /// Its account may get it back, as it was before the server was restarted.
    case unknown
    /// It is not there.
    case absent
    /// It is there, and the room would not learn that it goes away: after a crash it has come again under the same JID.
    case bound(availableSince: Duration?)
    /// It is there, and the room learns when it goes away.
    case present
}

extension Rooms {
    func whereabouts(of jid: JID, in room: Room) -> Whereabouts {
        guard let localpart = jid.localpart, let host = server.host(jid.domainpart) else { return .elsewhere }
        guard let resource = server.localResource(jid) else {
            return host.accounts.expectsResources(of: localpart) ? .unknown : .absent
        }
        guard let presence = host.service((any PresenceBroadcast).self) else { return .present }
        return presence.hasDirectedPresence(from: resource, to: room.jid)
            ? .present : .bound(availableSince: resource.availableSince)
    }

    /// Has the server tell the room when a local client goes away. RFC 6121 §4.6.3.
    func adopt(_ session: Occupant.Session) {
        guard let resource = server.localResource(session.jid) else { return }
        let presence = resource.account.host.service((any PresenceBroadcast).self)
        presence?.addDirectedPresence(from: resource, to: session.occupant.jid)
    }
}
