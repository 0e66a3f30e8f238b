import ServerKit

extension RoomSettings {
    /// How new rooms are, as the administrator wants it.
    init(_ config: inout OptionReader) {
        self.init()
        isPublic = config.bool("public", default: isPublic, "Whether they are shown in public lists.")
        isPersistent = config.bool("persistent", default: isPersistent, "Whether they are kept when nobody is in them.")
        isMembersOnly = config.bool("members_only", default: isMembersOnly, "Whether members only enter.")
        isModerated = config.bool(
            "moderated", default: isModerated, "Whether those who are no members enter without voice.")
        whois = config.choice("whois", default: whois, "Who sees the real addresses of occupants.")
        participantsChangeSubject = config.bool(
            "change_subject", default: participantsChangeSubject, "Whether participants may change the subject.")
        occupantsInvite = config.bool(
            "allow_invites", default: occupantsInvite,
            "Whether members may invite others into rooms for members only, and not admins only.")
        privateMessages = config.choice(
            "private_messages", default: privateMessages, "Who may send private messages.")
        allowsRegistration = config.bool(
            "registration", default: allowsRegistration, "Whether people may register themselves with them.")
        language = config.optionalString("language", "The language of the discussion, such as en.")
    }
}
