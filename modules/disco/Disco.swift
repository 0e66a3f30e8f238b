import ServerKit

/// Service Discovery (XEP-0030): what the host and its accounts are, and what they can do.
final class Disco: Module {
    static let info = ModuleInfo(
        "disco", "Tells clients and servers what is supported",
        implements: [.xep(30, "2.5.0"), .xep(128, "1.0.1")],
        group: .core, scope: .domain)

    struct Options: ModuleOptions {
        let name: String

        init(_ config: inout OptionReader) {
            name = config.string("name", default: ServerVersion.name, "What the host calls itself.")
        }
    }

    private let options: Options

    init(options: Options) {
        self.options = options
    }

    func load(into host: ModuleHost) {
        host.advertise(.discoInfo, .discoItems, on: .host)
        host.advertise(.discoInfo, .discoItems, on: .account)
        // What a component is, its own module says.
        if !host.isComponent {
            host.identify("server", "im", name: options.name, on: .host)
            host.identify("account", host.host.isAnonymous ? "anonymous" : "registered", on: .account)
            host.listItems { $0.account == nil ? self.components(of: host.host) : [] }
        }
        host.answer(.get, "query", .discoInfo, on: .host) { try self.info($0) }
        host.answer(.get, "query", .discoItems, on: .host) { try await self.items($0) }
        // XEP-0030 §8: only those who see the account's presence may ask. Others could learn who has an account. For
        // items it wants an empty result instead, from accounts that do not exist, too, to which RFC 6121 §8.5.1 has us
        // answer with service-unavailable: the same error for all keeps the secret as well.
        host.answer(.get, "query", .discoInfo, from: .subscriber) { try self.info($0) }
        host.answer(.get, "query", .discoItems, from: .subscriber) { try await self.items($0) }
    }

    /// XEP-0030 §3.
    private func info(_ request: IQRequest) throws -> Element {
        let disco = request.host.disco
        guard let node = request.node else {
            let info = disco.info(of: request.account == nil ? .host : .account)
            return Element("query", .discoInfo) { info.elements }
        }
        let content = try found(node, request).info(node: node, request: request)
        return Element("query", .discoInfo, ["node": node]) { content }
    }

    /// XEP-0030 §4. Without items the result is empty, never an error (§7).
    private func items(_ request: IQRequest) async throws -> Element {
        var items: [DiscoRegistry.Item]
        var set: ResultSetResponse?
        if let node = request.node {
            items = try await found(node, request).items(node: node, request: request)
        } else {
            items = request.host.disco.items(for: request)
            if let page = try await request.host.disco.page(for: request) {
                items += page.items
                set = page.set
            }
        }
        return Element("query", .discoItems, ["node": request.node]) {
            for item in items {
                Element("item", nil, ["jid": item.jid.description, "node": item.node, "name": item.name])
            }
            if let set { set.element }
        }
    }

    /// The services beside the host, each with the name that its identity has.
    private func components(of host: Host) -> [DiscoRegistry.Item] {
        host.server.components(of: host).map { component in
            let name = component.disco.identities(of: .host).lazy.compactMap(\.name).first
            return DiscoRegistry.Item(jid: component.jid, name: name)
        }
    }

    private func found(_ node: String, _ request: IQRequest) throws(StanzaError) -> any DiscoNode {
        // XEP-0030 §7.
        guard let found = request.host.disco.node(node, for: request) else { throw .itemNotFound }
        return found
    }
}

extension IQRequest {
    /// The node that is asked about.
    fileprivate var node: String? { query["node"] }
}
