import ServerKit

/// vCard 4 (XEP-0292): what users tell about themselves, in PEP and the same in vcard-temp (XEP-0054).
final class VCard4: Module {
    static let info = ModuleInfo(
        "vcard4", "Shows new and old clients the same electronic business cards",
        implements: [.xep(292, "0.12.0")],
        group: .recommended, requires: ["pubsub", "vcard"])

    private enum Line: AccountKey { static var defaultValue: Task<Void, Never>? { nil } }

    private static let node = "urn:xmpp:vcard4"
    /// XEP-0292 §4.1: XEP-0222, whose nodes are for everybody.
    private static let nodeOptions = NodeOptions(accessModel: .open, maxItems: .count(1), persistsItems: true)
    private static let itemID = "current"

    init(options: NoOptions) {}

    func load(into host: ModuleHost) {
        host.advertise(.vCard4, on: .account)
        host.observe(.cardChanged) { self.cardChanged($0.card, $0.account, host) }
        host.observe(.nodeItemPublished) { event in
            guard event.node == Self.node, event.publisher != event.account.jid else { return }
            self.itemChanged(event.payload, event.account, host)
        }
        host.observe(.nodeItemRetracted) { event in
            guard event.node == Self.node, event.publisher != event.account.jid else { return }
            self.itemChanged(nil, event.account, host)
        }
        for hook in [Hook<NodeEvent>.nodePurged, .nodeDeleted] {
            host.observe(hook) { event in
                guard event.node == Self.node, event.publisher != event.account.jid else { return }
                self.itemChanged(nil, event.account, host)
            }
        }
        // What was for everybody, and is not any more, does not stay on the card, which is.
        host.observe(.nodeConfigured) { event in
            if event.node == Self.node, event.isClosing { self.itemChanged(nil, event.account, host) }
        }
        // Earlier versions of XEP-0292 had requests of their own, which clients still send.
        host.answer(.get, "vcard", .vCard4) { try await self.get($0, host) }
        host.answer(.set, "vcard", .vCard4, from: .owner) { try await self.set($0, host) }
    }

    private func inLine(
        _ account: Account, _ host: ModuleHost,
        _ body: @escaping @ServerActor (any PersonalEventing, any Cards) async throws -> Void
    ) {
        let previous = account[Line.self]
        account[Line.self] = Task { @ServerActor in
            await previous?.value
            guard let eventing = host.service((any PersonalEventing).self), let cards = host.service((any Cards).self)
            else { return }
            do {
                try await body(eventing, cards)
            } catch {
                host.log.info(
                    "A card cannot be converted", metadata: ["jid": "\(account.jid)", "reason": "\(error)"])
            }
        }
    }

    // MARK: Converting

    private func cardChanged(_ card: Element?, _ account: Account, _ host: ModuleHost) {
        inLine(account, host) { eventing, _ in
            let current = try await eventing.latestItem(of: Self.node, account: account)
            let converted = card.map(CardConversion.vCard4)
            guard let converted, converted.hasChildren else {
                guard let current else { return }
                return try await eventing.retract(current.id, of: Self.node, account: account, notifies: true)
            }
            guard current?.payload?.xmlBytes != converted.xmlBytes else { return }
            try await eventing.publish(
                converted, id: current?.id ?? Self.itemID, to: Self.node, of: account, options: Self.nodeOptions)
        }
    }

    private func itemChanged(_ payload: Element?, _ account: Account, _ host: ModuleHost) {
        inLine(account, host) { eventing, cards in
            // vcard-temp is for everybody. What is not stays here.
            let options = eventing.options(of: Self.node, account: account)
            guard payload == nil || options?.accessModel == .open else { return }
            if let payload, !payload.is("vcard", .vCard4) { return }
            try await cards.changeCard(of: account) { CardConversion.vCardTemp(payload, changing: $0) }
        }
    }

    // MARK: Requests

    private func get(_ request: IQRequest, _ host: ModuleHost) async throws -> Element? {
        let account = try request.owner()
        let isOwner = request.from.bare == account.jid
        // As with vcard-temp, strangers do not learn whether the account exists (XEP-0054 §3.3).
        let missing = isOwner ? StanzaError.itemNotFound : StanzaError.serviceUnavailable
        guard let eventing = host.service((any PersonalEventing).self),
            eventing.mayRead(Self.node, of: account, request.from),
            let payload = try await eventing.latestItem(of: Self.node, account: account)?.payload
        else { throw missing }
        return payload
    }

    private func set(_ request: IQRequest, _ host: ModuleHost) async throws -> Element? {
        let account = try request.owner()
        guard let eventing = host.service((any PersonalEventing).self) else { throw StanzaError.serviceUnavailable }
        let current = try await eventing.latestItem(of: Self.node, account: account)
        try await eventing.publish(
            request.query, id: current?.id ?? Self.itemID, to: Self.node, of: account, as: request.from,
            options: Self.nodeOptions, mismatch: .ignore)
        return nil
    }
}
