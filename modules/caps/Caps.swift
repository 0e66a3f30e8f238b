import ServerKit

/// Entity Capabilities (XEP-0115): what the host can do, as one hash in its stream features, so that clients need not
/// ask each time they connect.
final class Caps: Module {
    static let info = ModuleInfo(
        "caps", "Saves clients from asking what the server supports",
        implements: [.xep(115, "1.6.0").partial("Presence is passed on as it is, without the optimization of §8.4.")],
        group: .recommended, requires: ["disco"])

    /// What was advertised last, and what it was made from.
    private var known: (revision: Int, forms: [DataForm], verification: String)?

    init(options: NoOptions) {}

    func load(into host: ModuleHost) {
        let disco = host.host.disco
        host.advertise(.caps, on: .host)
        host.discoNode(ServerVersion.node, CapsNode { self.verification(disco) })
        // Before authentication it would tell strangers more than they need to log in. XEP-0115 §9.4.
        host.streamFeature { stream in
            guard stream.authenticated != nil else { return nil }
            return Element(
                "c", .caps, ["hash": "sha-1", "node": ServerVersion.node, "ver": self.verification(disco)])
        }
    }

    /// The verification string of the host. Forms are made anew for each answer, and compared: they may change with no
    /// module coming or going.
    private func verification(_ disco: DiscoRegistry) -> String {
        let forms = disco.forms(of: .host)
        if let known, known.revision == disco.revision, known.forms == forms { return known.verification }
        let verification = disco.info(of: .host).verificationString()
        known = (disco.revision, forms, verification)
        return verification
    }
}

/// The node that clients ask about to learn what a hash stands for. XEP-0115 §6.2.
private final class CapsNode: DiscoNode {
    private let verification: @ServerActor () -> String

    init(_ verification: @escaping @ServerActor () -> String) {
        self.verification = verification
    }

    func info(node: String, request: IQRequest) throws -> [Element] {
        guard node == "\(ServerVersion.node)#\(verification())" else { throw StanzaError.itemNotFound }
        return request.host.disco.info(of: .host).elements
    }

    func items(node: String, request: IQRequest) throws -> [DiscoRegistry.Item] {
        throw StanzaError.itemNotFound
    }
}

extension Namespace {
    static let caps: Namespace = "http://jabber.org/protocol/caps"
}
