import ServerKit

/// Something that rooms can do beyond letting people in and passing on what they say: a file each, which meets the rest at
/// hook points and requests. It registers on the module's host; what it keeps with rooms and occupants has keys of its own
/// (``RoomKey``, ``OccupantKey``).
@ServerActor
protocol RoomFeature {
    init()
    func load(into host: ModuleHost, _ rooms: Rooms)
}

extension MUC {
    /// All there are. Within a verb they run in this order.
    static let features: [any RoomFeature.Type] = [
        Admission.self, Retraction.self, SubjectFeature.self, Configuration.self, Administration.self,
        AffiliationNotices.self, AffiliationVersions.self, Hats.self, RoomArchive.self, RoomRetention.self,
        Moderation.self, RoomDisco.self, RoomList.self, RoomSearch.self, Activity.self, RoomCommands.self,
        Survival.self, ReservedNicks.self, KeptNicks.self, KeptRoles.self, Invitations.self, VoiceRequests.self,
        Registration.self, RoomPush.self, GoneRooms.self, SelfPing.self, PrivateMessages.self, Relay.self,
        RoomCard.self, Pace.self,
    ]
}
