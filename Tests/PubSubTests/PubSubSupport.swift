import ServerKit
import TestKit

@testable import Modules
@testable import PubSub

/// A `<pubsub/>` of those who use nodes.
func pubsub(_ content: String) -> String {
    "<pubsub xmlns='http://jabber.org/protocol/pubsub'>\(content)</pubsub>"
}

/// A `<pubsub/>` of those who own nodes.
func owner(_ content: String) -> String {
    "<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'>\(content)</pubsub>"
}

/// An `<event/>`.
func event(_ content: String) -> String {
    "<event xmlns='http://jabber.org/protocol/pubsub#event'>\(content)</event>"
}

/// A submitted form.
func form(_ type: String, _ fields: [String: String]) -> String {
    let all = fields.map { "<field var='\($0.key)'><value>\($0.value)</value></field>" }.joined()
    return """
        <x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>\
        <value>http://jabber.org/protocol/pubsub#\(type)</value></field>\(all)</x>
        """
}

let tune = "http://jabber.org/protocol/tune"

/// Something to publish.
func song(_ title: String) -> String { "<tune xmlns='\(tune)'><title>\(title)</title></tune>" }

/// Publishes a song.
func publish(_ title: String, id: String? = nil, node: String = tune, options: [String: String]? = nil) -> String {
    let attribute = id.map { " id='\($0)'" } ?? ""
    let preconditions = options.map { "<publish-options>\(form("publish-options", $0))</publish-options>" } ?? ""
    return pubsub("<publish node='\(node)'><item\(attribute)>\(song(title))</item></publish>\(preconditions)")
}

/// Asks for the items of a node.
func items(_ node: String = tune, _ attributes: String = "", _ content: String = "", rsm: String = "") -> String {
    let set = rsm.isEmpty ? "" : "<set xmlns='http://jabber.org/protocol/rsm'>\(rsm)</set>"
    return pubsub("<items node='\(node)' \(attributes)>\(content)</items>\(set)")
}

func create(_ node: String, _ configuration: [String: String] = [:]) -> String {
    let configure = configuration.isEmpty ? "" : "<configure>\(form("node_config", configuration))</configure>"
    return pubsub("<create node='\(node)'/>\(configure)")
}

extension Element {
    /// The ids of the items in an answer or an event.
    var itemIDs: [String] { (child("items") ?? self).children("item").compactMap { $0["id"] } }

    /// The titles of the songs in an answer.
    var titles: [String] {
        (child("items") ?? self).children("item").compactMap { $0.child("tune", Namespace(tune))?.text(of: "title") }
    }

    /// A field of the form somewhere inside.
    func field(_ name: String) -> String? {
        (try? DataForm.find(in: self)).flatMap { $0 }?["pubsub#" + name]?.value
            ?? children.lazy.compactMap { $0.field(name) }.first
    }
}

extension StanzaError {
    /// Whether this is the error, with the condition of XEP-0060.
    func isError(_ condition: Condition, _ detail: String? = nil, _ kind: Kind? = nil) -> Bool {
        self.condition == condition && detail == self.detail?.name && (kind == nil || kind == self.kind)
            && (detail == nil || self.detail?.namespace == "http://jabber.org/protocol/pubsub#errors")
    }
}

/// Takes what a resource can do from the `ver` of its presence, where a play writes the features themselves.
final class ToldCapabilities: Module, Capabilities {
    static let info = ModuleInfo("caps", "Believes what it is told.")

    private enum Known: AccountKey { static let defaultValue: [JID: DiscoInfo] = [:] }
    private var host: Host?

    init(options: NoOptions) {}

    func load(into host: ModuleHost) {
        self.host = host.host
        host.observe(.presenceSent) { self.learn($0) }
        host.observe(.presenceArrived) { self.learn($0) }
        host.provide((any Capabilities).self, self)
    }

    private func learn(_ event: PresenceEvent) {
        guard let jid = event.presence.from, jid.isFull, event.origin == nil || event.presence.to == nil else { return }
        guard event.presence.kind == .available else {
            if event.presence.kind == .unavailable { event.account[Known.self][jid] = nil }
            return
        }
        guard let ver = event.presence.child("c", "http://jabber.org/protocol/caps")?["ver"] else { return }
        let info = DiscoInfo(features: ver.split(separator: " ").map { Namespace(String($0)) })
        let previous = event.account[Known.self][jid]
        event.account[Known.self][jid] = info
        guard previous != info else { return }
        host?.hooks.list(.capabilitiesKnown).notify(
            CapabilitiesEvent(account: event.account, jid: jid, info: info, previous: previous))
    }

    func info(of jid: JID, seenBy account: Account) -> DiscoInfo? { account[Known.self][jid] }

    func supports(_ feature: Namespace, _ jid: JID, seenBy account: Account) -> Bool {
        info(of: jid, seenBy: account)?.features.contains(feature) ?? false
    }

    func resources(supporting feature: Namespace, seenBy account: Account) -> [JID] {
        account[Known.self].filter { $0.value.features.contains(feature) }.map(\.key)
            .sorted { $0.description < $1.description }
    }
}

/// Blocks everybody called `tybalt`.
final class Blocker: Module, BlockList {
    static let info = ModuleInfo("blocking", "Blocks tybalt.")
    init(options: NoOptions) {}
    func load(into host: ModuleHost) { host.provide((any BlockList).self, self) }
    func isBlocked(_ jid: JID, by account: Account) -> Bool { jid.localpart == "tybalt" }
}

/// What it takes to share events with contacts.
let eventing: [any Module.Type] = [
    PubSub.self, Disco.self, Roster.self, PresenceExchange.self, Messages.self, ToldCapabilities.self,
]

/// Presence of a client that wants to hear of nodes.
func wanting(_ nodes: String...) -> String {
    let ver = nodes.map { $0 + "+notify" }.joined(separator: " ")
    return "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='http://code.example' ver='\(ver)'/>"
}

extension Stage {
    /// Lets two users see each other's presence.
    func befriend(_ one: Actor, _ other: Actor) async throws {
        for (asks, allows) in [(one, other), (other, one)] {
            guard let asker = asks.jid?.bare, let target = allows.jid?.bare else { continue }
            try await asks.sends("<presence to='\(target)' type='subscribe'/>")
            await settle()
            try await allows.sends("<presence to='\(asker)' type='subscribed'/>")
            await settle()
        }
        _ = one.takeInbox()
        _ = other.takeInbox()
    }
}

extension Actor {
    /// The events among what is unread, and nothing else is looked at.
    func events() async -> [Element] {
        await everything().compactMap {
            $0.name == "message" ? $0.child("event", "http://jabber.org/protocol/pubsub#event") : nil
        }
    }
}
