import ServerKit

struct FederationOptions: ModuleOptions {
    let policies: PeerPolicies
    let authorities: String?
    let dns: DNSSettings
    let limits: Limits
    let perAddress: Int
    let perDomain: Int
    let authenticationTime: Duration
    let connectTime: Duration
    let idleTime: Duration
    let patience: Duration
    let queueLength: Int
    let queueSize: Int
    let keepsQueues: Bool
    let isForGuests: Bool
    let usesPOSH: Bool

    init(_ config: inout OptionReader) {
        let general: PeerPolicy = config.choice(
            "policy", default: PeerPolicy.secure,
            "What proof other servers need: a valid certificate, DNS alone if that is all there is, or none is enough.")
        let allowed = config.strings(
            "allow", "If not empty, the only domains that are spoken to, with those below them.")
        let denied = config.strings("deny", "Domains that are not spoken to, nor those below them.")
        let peers = config.map(
            "domains", example: "school.example",
            "Domains that need something of their own. For servers without DNS or public certificates: addresses and pins."
        ) { _, config in
            PeerSettings(
                policy: config.optionalParsed(
                    "policy", as: "secure, dialback or refuse", "What proof this domain and those below it need."
                ) { PeerPolicy(rawValue: $0) },
                addresses: config.parsedList(
                    "addresses", as: "an address such as 10.0.0.2 or chat.example.org:5270",
                    "Where it is, without asking the DNS."
                ) { PeerAddress($0) },
                pins: config.parsedList(
                    "pins", as: "a pin such as sha256:… (of the certificate or its public key)",
                    "The certificates it has; no authority is asked."
                ) { CertificatePin($0) })
        }
        policies = PeerPolicies(
            general: general, peers: Dictionary(peers.map { (Self.normal($0.name), $0.value) }) { $1 },
            allowed: Set(allowed.map(Self.normal)), denied: Set(denied.map(Self.normal)))
        authorities = config.optionalPath("authorities", "The authorities to believe (PEM); without it, the system's.")
        var dns = DNSSettings()
        dns.servers = config.strings(
            "resolver", "DNS servers to ask, such as 192.0.2.53 or 127.0.0.1@5353; without any, those of the system.")
        dns.localZones = config.strings(
            "local_zones", "Zones that only the DNS servers here know, such as test, local, or a school's own.")
        self.dns = dns
        var limits = Limits()
        limits.authenticated.elementBytes = config.size(
            "stanza_size", default: 1_048_576, in: 10_000...100_000_000, "The largest stanza that a server may send.")
        limits.rate = config.optionalByteRate(
            "rate", default: Rate(16_777_216, per: .seconds(1)),
            "What a domain may send, over all of its connections, before it is read more slowly; one interval's worth may come at once."
        )
        limits.rateBeforeLogin = config.optionalByteRate(
            "rate_before_authentication", default: Rate(65_536, per: .seconds(1)),
            "The same before it has authenticated.")
        self.limits = limits
        perAddress = config.int(
            "connections_per_address", default: 200, in: 1...100_000,
            "Connections from one IPv4 address, or one IPv6 network of 64 bits.")
        perDomain = config.int(
            "connections_per_domain", default: 10, in: 1...100_000,
            "Connections that one domain may open, and one more for each further domain here. Of too many the one that was silent for longest is closed, or the newest if all are in use."
        )
        authenticationTime = config.duration(
            "authentication_time", default: .seconds(60), "How long a server may take to prove who it is.")
        connectTime = config.duration(
            "connect_time", default: .seconds(20), "How long one address of a server may take to answer.")
        idleTime = config.duration(
            "idle_time", default: .minutes(20), "After how much silence a connection is closed.")
        patience = config.duration(
            "patience", default: .minutes(5), "How long messages wait for a server that cannot be reached just now.")
        queueLength = config.int(
            "queue_length", default: 5_000, in: 10...1_000_000, "How many stanzas may wait for a domain.")
        queueSize = config.size(
            "queue_size", default: 33_554_432, in: 65_536...1_000_000_000, "What they may take together.")
        keepsQueues = config.bool(
            "keep_queues", default: true,
            "Whether messages that wait for other servers are on disk, so that a crash loses none.")
        usesPOSH = config.bool(
            "posh", default: true, "Whether a domain's web server may vouch for its certificate (RFC 7711).")
        isForGuests = config.bool(
            "guests", default: false,
            "Whether guests may write to other servers, to those whom their invitations name (module guests).")
    }

    private static func normal(_ name: String) -> String { JID(domain: name)?.domainpart ?? name.lowercased() }
}
