import ServerKit

/// What did not work lately, by domain, for administrators.
struct Refusals {
    struct Entry: Sendable {
        let reason: String
        /// Whether it was this server that could not, or did not want to, connect.
        let isOurs: Bool
        let date: Timestamp
        var count: Int
    }

    private(set) var entries: [String: Entry] = [:]
    private static let limit = 500
    /// Characters of a reason.
    private static let lengthLimit = 2_000

    mutating func note(_ pair: DomainPair, _ reason: String, isOurs: Bool, at date: Timestamp) {
        if entries.count >= Self.limit, entries[pair.remote] == nil,
            let oldest = entries.min(by: { $0.value.date < $1.value.date })
        {
            entries[oldest.key] = nil
        }
        let count = (entries[pair.remote]?.count ?? 0) + 1
        // Some of it is what the peer said.
        entries[pair.remote] = Entry(
            reason: String(reason.prefix(Self.lengthLimit)), isOurs: isOurs, date: date, count: count)
    }

    mutating func forget(_ domain: String) { entries[domain] = nil }
}

extension Logger.Metadata {
    /// With the certificates that a peer presented, so far as they fit: it may make them as long as it likes.
    func showing(_ certificates: [String]) -> Self {
        guard !certificates.isEmpty else { return self }
        var metadata = self
        metadata["certificates"] = "\(certificates.prefix(3).map { String($0.prefix(500)) }.joined(separator: " | "))"
        return metadata
    }
}
