import ServerKit

/// What becomes of stanzas that a client never acknowledged and will not get any more. XEP-0198 §4: as if they had been
/// sent to a resource that is not available.
@ServerActor
struct Handover {
    private let account: Account
    private let jid: JID

    init(_ resource: Resource) {
        account = resource.account
        jid = resource.jid
    }

    /// - Parameter time: when the stanza was sent to the client, by the server's clock.
    func take(_ stanza: Stanza, since time: Duration) {
        switch stanza {
        case .message(let message): take(message, time)
        case .iq:
            // RFC 6121 §8.5.3.2.3.
            account.host.router.bounce(stanza, .serviceUnavailable)
        case .presence:
            // It told of a moment that has passed; requests for subscriptions are kept by the roster.
            break
        }
    }

    private func take(_ message: Message, _ time: Duration) {
        switch message.kind {
        case .error, .headline: break
        case .groupchat:
            // The room learns that its occupant is gone.
            account.host.router.bounce(.message(message), .recipientUnavailable)
        case .chat, .normal:
            // What the account writes to itself without words of its own are copies for its clients, not messages.
            if message.from == account.jid, !message.has("body") { return }
            // Pages of an archive can be asked for again.
            if message.has("result", .mam) { return }
            deliver(message, time)
        }
    }

    private func deliver(_ message: Message, _ time: Duration) {
        let others = account.resources.filter(\.takesMessages)
        let host = account.host
        let archiveID = message.payload.children("stanza-id", .stanzaIDs).first { $0.jid("by") == account.jid }?["id"]
        guard others.isEmpty else {
            // Those who were there got what was sent to the account, and what was sent to this client alone as a copy,
            // or find it in the archive.
            let othersHaveIt = message.to?.isFull != true || archiveID != nil
            for other in others where !othersHaveIt || (other.availableSince ?? .zero) > time { other.send(message) }
            return
        }
        var event = MessageEvent(account: account, message: message)
        event.archiveID = archiveID
        if host.hooks.messageUndelivered.isClaimed(event) { return }
        // Nothing is lost that the archive has, unless it goes with the account.
        if event.archiveID == nil || account.isTemporary { host.router.bounce(.message(message), .serviceUnavailable) }
    }
}
