import ServerKit

/// How much proof a peer needs.
enum PeerPolicy: String, Sendable, CaseIterable, CustomStringConvertible {
    /// A certificate that is valid for its domain.
    case secure
    /// DNS alone will do, where the certificate does not. XEP-0220.
    case dialback
    /// None is enough.
    case refuse

    var description: String { rawValue }
}

/// What the configuration says about one domain elsewhere.
struct PeerSettings: Sendable, Equatable {
    var policy: PeerPolicy?
    /// Where it is, without asking the DNS.
    var addresses: [PeerAddress] = []
    /// The certificates it has, without asking an authority.
    var pins: [CertificatePin] = []
}

/// An address in the configuration: `10.0.0.2`, `10.0.0.2:5269`, `chat.example.org:5270`.
struct PeerAddress: Sendable, Hashable, CustomStringConvertible {
    let host: String
    let port: Int

    init?(_ text: String) {
        if let address = ListenAddress(text), let host = address.host {
            self.host = host
            port = Int(address.port)
            return
        }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        switch parts.count {
        case 1: port = ServiceFinder.Kind.server.defaultPort
        case 2:
            guard let number = Int(parts[1]), (1...65_535).contains(number) else { return nil }
            port = number
        default:
            // An IPv6 address without a port.
            guard JID(domain: "[\(text)]") != nil else { return nil }
            host = text
            port = ServiceFinder.Kind.server.defaultPort
            return
        }
        guard let domain = JID(domain: String(parts[0])) else { return nil }
        host = domain.asciiDomain
    }

    var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// Who may be spoken to, and how much proof they need.
struct PeerPolicies: Sendable {
    let general: PeerPolicy
    let peers: [String: PeerSettings]
    /// Only these, if there are any.
    let allowed: Set<String>
    let denied: Set<String>

    /// What the configuration says about a domain; what is said about a domain holds for those below it, too.
    func settings(of domain: String) -> PeerSettings {
        if let settings = peers[domain] { return settings }
        // Where it is and which key it has is each domain's own.
        return PeerSettings(policy: lookUp(domain) { peers[$0]?.policy })
    }

    func policy(for domain: String) -> PeerPolicy { settings(of: domain).policy ?? general }

    /// Whether nobody is refused.
    private let isOpen: Bool

    init(general: PeerPolicy, peers: [String: PeerSettings], allowed: Set<String>, denied: Set<String>) {
        self.general = general
        self.peers = peers
        self.allowed = allowed
        self.denied = denied
        isOpen =
            general != .refuse && allowed.isEmpty && denied.isEmpty && !peers.values.contains { $0.policy == .refuse }
    }

    /// Why there is nothing to be said to a domain; nil when there is. Asked for each stanza.
    func refusal(of domain: String) -> String? {
        if isOpen { return nil }
        if policy(for: domain) == .refuse || lookUp(domain, { denied.contains($0) ? true : nil }) != nil {
            return "This server does not exchange anything with \(domain)."
        }
        if !allowed.isEmpty, peers[domain] == nil, lookUp(domain, { allowed.contains($0) ? true : nil }) == nil {
            return "This server speaks only to servers on its list, and \(domain) is not among them."
        }
        return nil
    }

    private func lookUp<Value>(_ domain: String, _ find: (String) -> Value?) -> Value? {
        var name = Substring(domain)
        while true {
            if let value = find(String(name)) { return value }
            guard let dot = name.firstIndex(of: ".") else { return nil }
            name = name[name.index(after: dot)...]
        }
    }
}
