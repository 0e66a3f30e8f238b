import ServerKit

/// Avatars for clients of all ages (XEP-0398): what is published in PEP (XEP-0084) is the photo on the user's card
/// (XEP-0153) and the other way round, and presence carries its hash, whichever client sends it.
final class Avatars: Module {
    static let info = ModuleInfo(
        "avatars", "Shows a user's picture to old and new clients alike",
        implements: [.xep(398, "1.0.0"), .xep(84, "1.1.4"), .xep(153, "1.1.1")],
        group: .recommended, requires: ["pubsub", "vcard"])

    struct Options: ModuleOptions {
        let size: Int

        init(_ config: inout OptionReader) {
            size = config.size(
                "size", default: 131_072, in: 1_024...16_777_216,
                "How large a picture may be that is copied from the card to PEP or back.")
        }
    }

    private var options: Options
    private var converter: AvatarConverter?

    init(options: Options) {
        self.options = options
    }

    func reconfigure(_ options: Options) -> Bool {
        self.options = options
        converter?.limit = options.size
        return true
    }

    func load(into host: ModuleHost) {
        let converter = AvatarConverter(host, limit: options.size)
        self.converter = converter
        host.advertise(.avatarConversion, on: .account)
        host.loadWithAccounts(AvatarConverter.Hash.self) { try await converter.hash(of: $0) }
        host.observe(.nodeItemPublished) { event in
            guard event.node == Namespace.avatarMetadata.uri, event.publisher != event.account.jid else { return }
            converter.metadataChanged(event.payload, event.account)
        }
        host.observe(.nodeItemRetracted) { event in
            guard event.node == Namespace.avatarMetadata.uri, event.publisher != event.account.jid else { return }
            converter.metadataChanged(nil, event.account)
        }
        for hook in [Hook<NodeEvent>.nodePurged, .nodeDeleted] {
            host.observe(hook) { event in
                guard event.node == Namespace.avatarMetadata.uri, event.publisher != event.account.jid else { return }
                converter.metadataChanged(nil, event.account)
            }
        }
        // XEP-0398 §7: what was for everybody, and is not any more, does not stay on the card, which is.
        host.observe(.nodeConfigured) { event in
            guard [Namespace.avatarMetadata.uri, Namespace.avatarData.uri].contains(event.node) else { return }
            if event.isClosing { converter.metadataChanged(nil, event.account) }
        }
        host.observe(.cardChanged) { converter.cardChanged($0.card, $0.account) }
        host.keepWithSession(AvatarConverter.ShowsNone.self)
        host.transform(.presenceSent) { event in
            let showsNone = event.presence.carryAvatar(event.account[AvatarConverter.Hash.self])
            if event.presence.to == nil { event.origin?[AvatarConverter.ShowsNone.self] = showsNone }
        }
    }
}

extension Presence {
    /// Has available presence say which avatar its sender has. XEP-0398 §4.
    ///
    /// - Parameter hash: nil for none.
    /// - Returns: whether the client wants to show none.
    fileprivate mutating func carryAvatar(_ hash: String?) -> Bool {
        guard kind == .available else { return false }
        let said = payload.child("x", .avatarUpdate)?.text(of: "photo", .avatarUpdate)?.trimmedXMLSpace
        if said == "" { return true }
        // Without an avatar there is nothing to say, unless the client has begun to (XEP-0153 §4.1).
        if hash != nil || payload.has("x", .avatarUpdate) { setAvatar(hash) }
        return false
    }

    /// XEP-0153 §3.1, or §4.1 for none.
    mutating func setAvatar(_ hash: String?) {
        payload.removeChildren { $0.is("x", .avatarUpdate) }
        payload.append(
            Element("x", .avatarUpdate) {
                Element("photo", text: hash)
            })
    }
}
