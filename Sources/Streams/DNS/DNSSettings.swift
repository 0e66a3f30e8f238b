import Glibc

/// Whom a ``DNSResolver`` asks, and what it believes.
public struct DNSSettings: Sendable, Equatable {
    /// The addresses of the resolvers to ask, each with an optional `@port`. Empty for those of `resolverFile`.
    public var servers: [String] = []
    /// Names the resolvers when there are none in `servers`, as resolv.conf(5) does. If it does not exist, the name
    /// servers of the world are asked from the root downwards.
    public var resolverFile = "/etc/resolv.conf"
    /// Zones that are not part of the public DNS: `test`, `local`, `internal`, `home.arpa`, or one of a school's own.
    /// Otherwise the answer for those that RFC 6761 and others reserve would be that there is no such name, without
    /// asking anybody. What is in them is not expected to be signed.
    public var localZones: [String] = []
    /// Addresses of hosts, as hosts(5) has them; nil for none.
    public var hostsFile: String? = "/etc/hosts"
    /// The keys of the root zone, as DS or DNSKEY records. Answers are validated by DNSSEC if it is given.
    public var trustAnchorFile: String? = DNSSettings.systemTrustAnchorFile
    /// Whether answers are validated even if the resolvers leave the signatures out. Nothing that is signed would be
    /// found then; by default such resolvers are believed, and no answer is secure.
    public var demandsDNSSEC = false
    /// How long to wait for one answer.
    public var timeout: Duration = .seconds(15)

    public init() {}

    /// Where the distribution keeps the root zone's keys, by the packages `dns-root-data` or `unbound-anchor`. Nil when
    /// there are none.
    public static var systemTrustAnchorFile: String? {
        ["/usr/share/dns/root.key", "/var/lib/unbound/root.key"].first { access($0, R_OK) == 0 }
    }
}
