import ServerKit

/// What a feature adds to what disco#info tells of a room. XEP-0045 §6.4.
struct RoomDescription {
    var features: [Namespace] = []
    /// Fields of the form `http://jabber.org/protocol/muc#roominfo`. XEP-0045 §16.5.4.
    var fields: [DataFormField] = []
    /// Further forms. XEP-0128.
    var forms: [DataForm] = []
}

/// A node of rooms that disco may be asked about, such as the one that tells a reserved nick. XEP-0045 §16.4.
struct RoomNode {
    /// Whoever asks, about a room that it may know of.
    typealias Info = @ServerActor (Room, IQRequest) throws -> [Element]
    typealias Items = @ServerActor (Room, IQRequest) throws -> [DiscoRegistry.Item]

    /// The children of `<query/>` in disco#info.
    let info: Info
    let items: Items
}

/// What features tell of rooms through disco. They fill it while they are loaded.
@ServerActor
final class RoomInfo {
    typealias Describe = @ServerActor (_ room: Room, _ asker: JID) -> RoomDescription?

    private var describers: [Describe] = []
    private var nodes: [String: RoomNode] = [:]

    init() {}

    func add(_ describe: @escaping Describe) { describers.append(describe) }

    func set(_ name: String, _ node: RoomNode) { nodes[name] = node }

    func node(_ name: String) -> RoomNode? { nodes[name] }

    /// Everything that features tell somebody of a room.
    func description(of room: Room, for asker: JID) -> RoomDescription {
        var whole = RoomDescription()
        for describe in describers {
            guard let part = describe(room, asker) else { continue }
            whole.features += part.features
            whole.fields += part.fields
            whole.forms += part.forms
        }
        return whole
    }
}

extension Rooms {
    /// Adds to what disco#info tells of each room. `body` is called for each answer; with nil it adds nothing. The asker
    /// need not be an occupant: what is not for everybody is left out for it.
    func describe(_ body: @escaping @ServerActor (_ room: Room, _ asker: JID) -> RoomDescription?) {
        info.add(body)
    }

    /// Advertises features on each room.
    func describe(_ features: Namespace...) {
        info.add { _, _ in RoomDescription(features: features) }
    }

    /// Answers disco requests about a node of each room.
    func discoNode(
        _ name: String, info: @escaping RoomNode.Info = { _, _ in [] }, items: @escaping RoomNode.Items = { _, _ in [] }
    ) {
        self.info.set(name, RoomNode(info: info, items: items))
    }
}
