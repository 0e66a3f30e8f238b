import ServerKit

/// How connections with other servers are secured, by the domain here that they are for. RFC 7590.
@ServerActor
final class PeerSecurity {
    private let identities: TLSIdentities
    private var servers: [String: TLSServer] = [:]
    private var clients: [String: (identity: TLSContext?, context: TLSContext)] = [:]

    init(_ identities: TLSIdentities) {
        self.identities = identities
    }

    /// What was made for domains that may not be served any more.
    func forgetAll() {
        servers = [:]
        clients = [:]
    }

    /// How a connection to a peer is secured: it is shown the certificate of the domain that speaks to it.
    func client(for pair: DomainPair, direct: Bool) throws -> TLSClient {
        let name = pair.localJID.asciiDomain
        let identity = identities.context(for: name) ?? identities.fallback
        let context: TLSContext
        if let cached = clients[pair.local], cached.identity === identity {
            context = cached.context
        } else {
            context = try TLSContext.client(presenting: identity)
            clients[pair.local] = (identity, context)
        }
        return TLSClient(
            context, serverName: pair.remoteJID.asciiDomain, applicationProtocols: direct ? ["xmpp-server"] : [])
    }

    func hasCertificate(_ domain: String) -> Bool {
        let name = JID(unchecked: nil, domainpart: domain, resourcepart: nil).asciiDomain
        return identities.context(for: name) != nil || identities.fallback != nil
    }

    /// How a connection of a peer is secured that wants this domain.
    func server(for domain: String?) -> TLSServer? {
        guard let domain, hasCertificate(domain) else { return nil }
        if let server = servers[domain] { return server }
        let name = JID(unchecked: nil, domainpart: domain, resourcepart: nil).asciiDomain
        let made = try? TLSServer(identities, requestsClientCertificate: true, defaultName: name)
        servers[domain] = made
        return made
    }
}
