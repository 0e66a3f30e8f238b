import ServerKit

/// Message Displayed Synchronization (XEP-0490): what a user has read on one device is read on the others. The node
/// works like any other; this is the server's help, by which a client says so in the message that carries its marker.
final class Displayed: Module {
    static let info = ModuleInfo(
        "displayed", "Lets clients tell their user's other clients what was read with less effort",
        implements: [.xep(490, "1.0.1")],
        group: .recommended, requires: ["pubsub"])

    /// XEP-0490 §4.1.
    private static let nodeOptions = NodeOptions(
        accessModel: .whitelist, maxItems: .max, persistsItems: true, sendLastItem: .never)

    init(options: NoOptions) {}

    func load(into host: ModuleHost) {
        host.advertise(.displayedAssist, on: .account)
        host.transform(.messageSent) { self.take(&$0, host) }
    }

    /// Strips what is for the server, and publishes it. XEP-0490 §4.5.3.
    private func take(_ event: inout MessageEvent, _ host: ModuleHost) {
        guard let displayed = event.message.payload.child("displayed", .displayed) else { return }
        event.message.payload.removeChildren { $0.is("displayed", .displayed) }
        guard let to = event.message.to, event.message.kind != .error, displayed.has("stanza-id", .stanzaID),
            let eventing = host.service((any PersonalEventing).self)
        else { return }
        let account = event.account
        let publisher = event.origin?.jid
        Task { @ServerActor in
            do {
                try await eventing.publish(
                    displayed, id: to.description, to: Namespace.displayed.uri, of: account, as: publisher,
                    options: Self.nodeOptions, mismatch: .configure)
            } catch {
                host.log.info(
                    "What was read cannot be published", metadata: ["jid": "\(account.jid)", "reason": "\(error)"])
            }
        }
    }
}

extension Namespace {
    /// XEP-0490 §4.1.
    static let displayed: Namespace = "urn:xmpp:mds:displayed:0"
    /// XEP-0490 §4.5.2.
    static let displayedAssist: Namespace = "urn:xmpp:mds:server-assist:0"
    /// XEP-0359 §3.
    fileprivate static let stanzaID: Namespace = "urn:xmpp:sid:0"
}
