import FoundationEssentials
import ServerKit

/// Certificates that a domain's web server vouches for: for domains whose XMPP server is run by somebody else, who has
/// no certificate for them. RFC 7711.
@ServerActor
final class POSH {
    /// What a domain's web server said.
    private struct Entry {
        let fingerprints: [Fingerprint]
        let until: Duration
    }

    /// RFC 7711 §3.1, §3.2.
    struct Document: Codable {
        var fingerprints: [Fingerprint]?
        var url: String?
        var expires: Int?
    }

    /// By the names of hash functions.
    typealias Fingerprint = [String: String]

    private unowned let federation: Federation
    private var entries: [String: Entry] = [:]
    /// How many web servers are being asked.
    private var asking = 0
    private static let askingLimit = 16

    /// How many domains are remembered.
    private static let memory = 1_000
    /// For how long at most, in seconds, and after how many it is asked again when there was nothing.
    private static let longest = 86_400
    private static let absence = Duration.seconds(600)

    init(_ federation: Federation) {
        self.federation = federation
    }

    /// Whether the web server of a domain vouches for a certificate.
    ///
    /// - Parameter certificate: in DER.
    func vouches(for certificate: [UInt8], of domain: String, trust: TLSTrust) async -> Bool {
        let federation = self.federation
        let clock = federation.server.clock
        defer { withExtendedLifetime(federation) {} }
        let entry: Entry
        if let known = entries[domain], known.until > clock.now {
            entry = known
        } else {
            // Strangers name the domains, so that they must not have many asked at a time.
            guard asking < Self.askingLimit else { return false }
            asking += 1
            entry = await fetch(domain, trust)
            asking -= 1
            if entries.count >= Self.memory, let oldest = entries.min(by: { $0.value.until < $1.value.until }) {
                entries[oldest.key] = nil
            }
            entries[domain] = entry
        }
        return entry.fingerprints.contains { Self.matches($0, certificate) }
    }

    /// RFC 7711 §3.1: any hash that both know; a weak one does not count.
    nonisolated static func matches(_ fingerprint: Fingerprint, _ certificate: [UInt8]) -> Bool {
        for (name, hash) in [("sha-256", Digest.sha256), ("sha-512", Digest.sha512)] as [(String, ([UInt8]) -> [UInt8])]
        {
            guard let text = fingerprint[name] else { continue }
            // Some leave the padding out, as the RFC's own example does.
            let padded = text + String(repeating: "=", count: (4 - text.utf8.count % 4) % 4)
            if let bytes = Base64.decode(padded), bytes == hash(certificate) { return true }
        }
        return false
    }

    private func fetch(_ domain: String, _ trust: TLSTrust) async -> Entry {
        let federation = self.federation
        let now = federation.server.clock.now
        let nothing = Entry(fingerprints: [], until: now + Self.absence)
        do {
            let path = "/.well-known/posh/\(ServiceFinder.Kind.server.service).json"
            let first = try await document(HTTPSRequest(host: domain, path: path), trust)
            var last = first
            if let url = first.url {
                // RFC 7711 §3.2: one reference, which must not lead to another.
                guard let request = HTTPSRequest(url: url) else { return nothing }
                last = try await document(request, trust)
                guard last.url == nil else { return nothing }
            }
            // RFC 7711 §6: the shorter of the two; zero says that it is not valid.
            let seconds = min(first.expires ?? Self.longest, last.expires ?? Self.longest, Self.longest)
            guard seconds > 0 else { return nothing }
            return Entry(
                fingerprints: Array((last.fingerprints ?? []).prefix(32)), until: now + .seconds(max(60, seconds)))
        } catch {
            federation.log.debug("No POSH", metadata: ["remote": "\(domain)", "reason": "\(error)"])
            // That it could not be asked says nothing about what it would have said.
            return error is HTTPSRequest.Failure ? nothing : Entry(fingerprints: [], until: now + .seconds(30))
        }
    }

    private func document(_ request: HTTPSRequest, _ trust: TLSTrust) async throws -> Document {
        let dns = federation.dns
        let bytes = try await request.get(dns: dns, trust: trust)
        return try JSONDecoder().decode(Document.self, from: Data(bytes))
    }
}
