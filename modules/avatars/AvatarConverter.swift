import ServerKit

/// Copies avatars between PEP and cards, and knows the hash that presence carries. What happens to one account's avatar
/// happens in order.
@ServerActor
final class AvatarConverter {
    /// The hash of the photo on the account's card; nil when there is none.
    enum Hash: AccountKey { static var defaultValue: String? { nil } }

    /// Whether a client says in its presence that it shows no avatar. XEP-0398 §4.
    enum ShowsNone: ResourceKey { static var defaultValue: Bool { false } }

    private enum Line: AccountKey { static var defaultValue: Task<Void, Never>? { nil } }

    var limit: Int
    private let host: ModuleHost
    private let store: KeyValueStore<String>

    /// XEP-0398 §7: what is on the card is for everybody, and so is what is made of it.
    private static let nodeOptions = NodeOptions(accessModel: .open, maxItems: .count(1), persistsItems: true)

    init(_ host: ModuleHost, limit: Int) {
        self.host = host
        self.limit = limit
        store = host.store("avatar")
    }

    private var eventing: any PersonalEventing {
        get throws {
            guard let eventing = host.service((any PersonalEventing).self) else { throw StanzaError.serviceUnavailable }
            return eventing
        }
    }

    private var cards: any Cards {
        get throws {
            guard let cards = host.service((any Cards).self) else { throw StanzaError.serviceUnavailable }
            return cards
        }
    }

    /// What is known of an account when it is loaded. A card from before this module came is read once.
    func hash(of account: Account) async throws -> String? {
        if let hash = try await store.value(for: account.name) { return hash.isEmpty ? nil : hash }
        guard !account.isTemporary, let cards = try? self.cards else { return nil }
        let image = (try? await cards.card(of: account))?.photo
        store.set(image?.id ?? "", for: account.name)
        return image?.id
    }

    private func inLine(_ account: Account, _ body: @escaping @ServerActor () async throws -> Void) {
        let previous = account[Line.self]
        account[Line.self] = Task { @ServerActor in
            await previous?.value
            do {
                try await body()
            } catch {
                self.host.log.info(
                    "An avatar cannot be converted", metadata: ["jid": "\(account.jid)", "reason": "\(error)"])
            }
        }
    }

    // MARK: From PEP to the card

    /// A client has published metadata, empty to disable its avatar, or removed it. XEP-0398 §3.1.
    func metadataChanged(_ metadata: Element?, _ account: Account) {
        inLine(account) {
            let image = try await self.image(metadata, account)
            // Metadata that only points elsewhere, or whose image is not for everybody, leaves the card without.
            let cards = try self.cards
            do {
                try await cards.changeCard(of: account) { $0.withPhoto(image?.photo) }
                self.set(image?.id, account)
            } catch {
                // The card has no room for this one, and must not show the one before.
                try await cards.changeCard(of: account) { $0.withPhoto(nil) }
                self.set(nil, account)
                throw error
            }
        }
    }

    /// The image that metadata speaks of, if it is in the data node, may be read by everybody, and is what its id says.
    private func image(_ metadata: Element?, _ account: Account) async throws -> AvatarImage? {
        let info = metadata?.children("info", .avatarMetadata).first { $0["url"] == nil }
        guard let info, let id = info["id"] else { return nil }
        let eventing = try eventing
        // XEP-0398 §7.
        guard eventing.options(of: Namespace.avatarData.uri, account: account)?.accessModel == .open,
            eventing.options(of: Namespace.avatarMetadata.uri, account: account)?.accessModel == .open,
            let data = try await eventing.item(id, of: Namespace.avatarData.uri, account: account)?.payload,
            data.is("data", .avatarData), let bytes = AvatarImage.decode(data.text), bytes.count <= limit,
            let image = AvatarImage(bytes, claimed: info["type"]), image.id == id.lowercased()
        else { return nil }
        return image
    }

    // MARK: From the card to PEP

    /// A client has stored a card. XEP-0398 §3.2.
    func cardChanged(_ card: Element?, _ account: Account) {
        let photo = card?.child("PHOTO", .vCard)
        let image = card?.photo
        // A photo that is none is nobody's avatar, and no reason to take the one away that others see.
        if image == nil, let binary = photo?.text(of: "BINVAL"), !binary.trimmedXMLSpace.isEmpty {
            return inLine(account) { self.set(nil, account) }
        }
        let before = account[Hash.self]
        // At once, for the presence that the client sends next.
        set(image?.id, account)
        guard image?.id != before else { return }
        inLine(account) {
            if let image { try await self.publish(image, account) } else { try await self.disable(account) }
        }
    }

    private func publish(_ image: AvatarImage, _ account: Account) async throws {
        guard image.bytes.count <= limit else { return }
        let eventing = try eventing
        try await eventing.publish(
            image.data, id: image.id, to: Namespace.avatarData.uri, of: account, options: Self.nodeOptions)
        try await eventing.publish(
            image.metadata, id: image.id, to: Namespace.avatarMetadata.uri, of: account, options: Self.nodeOptions)
    }

    /// XEP-0084 §3.5.
    private func disable(_ account: Account) async throws {
        let eventing = try eventing
        let node = Namespace.avatarMetadata.uri
        guard let item = try await eventing.latestItem(of: node, account: account), item.payload?.hasChildren == true
        else { return }
        try await eventing.publish(
            Element("metadata", .avatarMetadata), id: nil, to: node, of: account, options: Self.nodeOptions)
    }

    // MARK: The hash

    /// Remembers the hash, and shows it to all who see the account's presence.
    private func set(_ hash: String?, _ account: Account) {
        guard account[Hash.self] != hash else { return }
        account[Hash.self] = hash
        store.set(hash ?? "", for: account.name)
        guard let broadcast = host.service((any PresenceBroadcast).self) else { return }
        for resource in account.availableResources {
            guard let before = resource.presence else { continue }
            guard !resource[ShowsNone.self] else { continue }
            var presence = before
            presence.setAvatar(hash)
            broadcast.broadcast(presence, from: resource)
        }
    }
}

extension Element? {
    /// A card with this photo and no other; nil when nothing is left.
    fileprivate func withPhoto(_ photo: Element?) -> Element? {
        guard photo != nil || self != nil else { return nil }
        var card = self ?? Element("vCard", .vCard)
        card.removeChildren { $0.is("PHOTO", .vCard) }
        if let photo { card.append(photo) }
        return card.hasChildren ? card : nil
    }
}

extension Element {
    /// The image on a card; nil when there is none. XEP-0153 §4.5.
    fileprivate var photo: AvatarImage? {
        guard let photo = child("PHOTO", .vCard), let binary = photo.text(of: "BINVAL"),
            let bytes = AvatarImage.decode(binary)
        else { return nil }
        return AvatarImage(bytes, claimed: photo.text(of: "TYPE"))
    }
}
