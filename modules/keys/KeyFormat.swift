import ServerKit

/// A version of OMEMO (XEP-0384): where it keeps the devices of an account, and their keys.
enum KeyFormat: CaseIterable, Sendable {
    /// XEP-0384 until version 0.3, which most clients speak.
    case legacy
    /// XEP-0384 since version 0.4.
    case omemo2

    /// The node of the list of devices.
    var listNode: String {
        switch self {
        case .legacy: "eu.siacs.conversations.axolotl.devicelist"
        case .omemo2: "urn:xmpp:omemo:2:devices"
        }
    }

    var name: String {
        switch self {
        case .legacy: "OMEMO, first version"
        case .omemo2: "OMEMO 2"
        }
    }

    private var namespace: Namespace {
        switch self {
        case .legacy: "eu.siacs.conversations.axolotl"
        case .omemo2: "urn:xmpp:omemo:2"
        }
    }

    init?(listNode: String) {
        guard let format = Self.allCases.first(where: { $0.listNode == listNode }) else { return nil }
        self = format
    }

    /// The ids of the devices in a list, each once, sorted. What is no id is nobody's device. XEP-0384 §5.3.1.
    func devices(_ payload: Element?) -> [String] {
        let root = self == .legacy ? "list" : "devices"
        guard let payload, payload.is(root, namespace) else { return [] }
        let ids = payload.children("device", namespace).compactMap { $0["id"].flatMap { UInt32($0) } }
        return Set(ids).sorted().map { String($0) }
    }

    // MARK: Bundles

    private static let legacyBundles = "eu.siacs.conversations.axolotl.bundles:"
    private static let bundles = "urn:xmpp:omemo:2:bundles"

    /// Where the bundle of a device is: a node of its own with one item, or an item of one node. XEP-0384 §5.3.2.
    func bundlePlace(of device: String) -> (node: String, item: String?) {
        switch self {
        case .legacy: (Self.legacyBundles + device, nil)
        case .omemo2: (Self.bundles, device)
        }
    }

    /// Whose bundle is kept at a node; the device is nil for all of the node's.
    static func bundle(node: String, item: String?) -> (format: KeyFormat, device: String?)? {
        if node == bundles { return (.omemo2, item) }
        guard node.hasPrefix(legacyBundles) else { return nil }
        return (.legacy, String(node.dropFirst(legacyBundles.count)))
    }

    /// How many pre-keys a bundle has. XEP-0384 §5.3.2.
    func preKeys(in bundle: Element?) -> Int {
        guard let bundle, bundle.is("bundle", namespace), let keys = bundle.child("prekeys", namespace) else {
            return 0
        }
        let name = self == .legacy ? "preKeyPublic" : "pk"
        return keys.children(name, namespace).filter { !$0.text.trimmedXMLSpace.isEmpty }.count
    }
}
