import FoundationEssentials
import ServerKit

/// Certificates that a domain's web server vouches for: for domains whose XMPP server is run by somebody else, who has
/// no certificate for them. RFC 7711.
@ServerActor
final class POSH {
    /// What a domain's web server said.
    private struct Entry {
        var fingerprints: [Fingerprint] = []
        /// Why it is not known what it says.
        var failure: String?
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

    /// What a web server says about a certificate.
    enum Answer {
        case yes
        case no
        /// It could not be asked, which says nothing about what it would have said. A sentence for administrators.
        case unknown(String)
    }

    /// How documents are got; tests have their own web.
    var get: @ServerActor (HTTPSRequest, TLSTrust) async throws -> HTTPSRequest.Answer

    private unowned let federation: Federation
    private var entries: [String: Entry] = [:]
    /// How many web servers are being asked.
    private var asking = 0
    private static let askingLimit = 16

    /// How many domains are remembered, and how many certificates of each.
    private static let memory = 1_000
    private static let fingerprints = 32
    /// For how long at most, in seconds, after how many it is asked again when there was nothing, and after how many
    /// when it could not be asked.
    private static let longest = 86_400
    private static let absence = Duration.seconds(600)
    private static let failure = Duration.seconds(30)
    /// RFC 7711 §10 recommends no more than ten.
    private static let redirects = 3
    /// For all documents together.
    private static let patience = Duration.seconds(25)

    init(_ federation: Federation) {
        self.federation = federation
        let dns = federation.dns
        get = { try await $0.get(dns: dns, trust: $1) }
    }

    /// Whether the web server of a domain vouches for a certificate.
    ///
    /// - Parameter certificate: in DER.
    func vouches(for certificate: [UInt8], of domain: String, trust: TLSTrust) async -> Answer {
        let federation = self.federation
        let clock = federation.server.clock
        defer { withExtendedLifetime(federation) {} }
        let entry: Entry
        if let known = entries[domain], known.until > clock.now {
            entry = known
        } else {
            // Strangers name the domains, so that they must not have many asked at a time.
            guard asking < Self.askingLimit else { return .unknown("Too many web servers are being asked.") }
            asking += 1
            entry = await fetch(domain, trust)
            asking -= 1
            if entries.count >= Self.memory, let oldest = entries.min(by: { $0.value.until < $1.value.until }) {
                entries[oldest.key] = nil
            }
            entries[domain] = entry
        }
        if let failure = entry.failure { return .unknown(failure) }
        return entry.fingerprints.contains { Self.matches($0, certificate) } ? .yes : .no
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
        do {
            let path = "/.well-known/posh/\(ServiceFinder.Kind.server.service).json"
            let first = try await document(HTTPSRequest(host: domain, path: path), trust, since: now)
            var last = first
            if let url = first.url {
                // RFC 7711 §3.2: one reference, which must not lead to another.
                guard let request = HTTPSRequest(url: url) else {
                    throw Absence(reason: "It refers to \(url.prefix(200)).")
                }
                last = try await document(request, trust, since: now)
                guard last.url == nil else { throw Absence(reason: "The document it refers to refers to another.") }
            }
            // RFC 7711 §6: the shorter of the two; zero says that it is not valid.
            let seconds = min(first.expires ?? Self.longest, last.expires ?? Self.longest, Self.longest)
            guard seconds > 0 else { throw Absence(reason: "The document is not valid.") }
            return Entry(
                fingerprints: (last.fingerprints ?? []).prefix(Self.fingerprints).map(Self.usable),
                until: now + .seconds(max(60, seconds)))
        } catch let absence as Absence {
            federation.log.debug("No POSH", metadata: ["remote": "\(domain)", "reason": "\(absence.reason)"])
            return Entry(until: now + Self.absence)
        } catch {
            federation.log.debug("POSH failed", metadata: ["remote": "\(domain)", "reason": "\(error)"])
            let reason = (error as? HTTPSRequest.Failure)?.description ?? "It cannot be asked now."
            return Entry(failure: reason, until: now + Self.failure)
        }
    }

    /// There is nothing, and asking again would not help.
    private struct Absence: Error {
        let reason: String
    }

    private func document(_ first: HTTPSRequest, _ trust: TLSTrust, since start: Duration) async throws -> Document {
        var request = first
        for _ in 0...Self.redirects {
            guard federation.server.clock.now - start < Self.patience else {
                throw HTTPSRequest.Failure(description: "It takes too long.")
            }
            switch try await get(request, trust) {
            case .document(let bytes):
                do { return try JSONDecoder().decode(Document.self, from: Data(bytes)) } catch {
                    throw HTTPSRequest.Failure(description: "The document cannot be read.")
                }
            case .absent(let reason): throw Absence(reason: reason)
            case .moved(let place):
                // RFC 7711 §10: to another HTTPS URI.
                guard let next = HTTPSRequest(url: place, from: request) else {
                    throw Absence(reason: "It redirects to \(place.prefix(200)).")
                }
                request = next
            }
        }
        throw Absence(reason: "It redirects too often.")
    }

    /// What of a fingerprint is worth remembering.
    private static func usable(_ fingerprint: Fingerprint) -> Fingerprint {
        fingerprint.filter { ["sha-256", "sha-512"].contains($0.key) && $0.value.utf8.count <= 100 }
    }
}
