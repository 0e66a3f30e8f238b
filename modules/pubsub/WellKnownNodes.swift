import ServerKit

/// What some nodes of an account begin with when a client does not say. Everything else begins as XEP-0163 §5 wants.
enum WellKnownNodes {
    static func configuration(of node: String) -> NodeConfiguration {
        var configuration = NodeConfiguration.personal
        // OMEMO (XEP-0384 §5.3) wants keys to be there for everybody. The version that most clients speak has a node
        // for the bundle of each device, the current one an item.
        if node.hasPrefix("eu.siacs.conversations.axolotl.") || node.hasPrefix("urn:xmpp:omemo:2:") {
            configuration.accessModel = .open
            if node == "urn:xmpp:omemo:2:bundles" { configuration.maxItems = .max }
        }
        // What a user keeps for the user's own devices: XEP-0048 §3.1, XEP-0402 §3.3, XEP-0490 §4.1.
        if privateNodes.contains(node) {
            configuration.accessModel = .whitelist
            if node != "storage:bookmarks" {
                configuration.maxItems = .max
                configuration.sendLastItem = .never
            }
        }
        return configuration
    }

    private static let privateNodes: Set<String> = [
        "storage:bookmarks", "urn:xmpp:bookmarks:1", "urn:xmpp:mds:displayed:0",
    ]
}
