import ServerKit

/// Capabilities that somebody proved, by their hash: nobody is asked for them again. XEP-0115 §8.2.
@ServerActor
final class CapsCache {
    /// Capabilities, shared by all who have them.
    final class Profile: Sendable {
        let info: DiscoInfo
        let features: Set<Namespace>

        init(_ info: DiscoInfo) {
            self.info = info
            features = Set(info.features)
        }
    }

    private struct Entry {
        let profile: Profile
        let query: Element
        var used: Timestamp
    }

    private struct Stored: Codable, Sendable {
        /// The `<query/>` of the answer.
        let query: String
        /// When it was last of use, give or take a day.
        let used: Timestamp
    }

    private var entries: [CapsClaim.Key: Entry] = [:]
    private let store: MapStore<Stored>
    private let host: ModuleHost
    /// No localpart is empty: they belong to the host.
    private static let owner = ""

    init(_ host: ModuleHost) {
        self.host = host
        store = host.map("caps")
    }

    var count: Int { entries.count }

    /// Takes up what was known before a restart, so that it does not make the server ask everybody at once.
    func load(limit: Int) async {
        do {
            for entry in try await store.entries(of: Self.owner) {
                guard let key = CapsClaim.Key(stored: entry.key), entries.count < limit, entries[key] == nil,
                    let query = try? Element.parse(Array(entry.value.query.utf8)), let info = try? DiscoInfo(query)
                else { continue }
                entries[key] = Entry(profile: Profile(info), query: query, used: entry.value.used)
            }
        } catch {
            // It is learned anew.
            host.log.warning("Known capabilities cannot be read", metadata: ["reason": "\(error)"])
            store.deleteAll(of: Self.owner)
        }
    }

    /// What a hash stands for.
    func profile(_ key: CapsClaim.Key) -> Profile? {
        guard let entry = entries[key] else { return nil }
        let now = host.clock.date
        if entry.used.advanced(by: .seconds(86_400)) < now {
            entries[key]?.used = now
            save(key)
        } else {
            entries[key]?.used = max(now, entry.used)
        }
        return entry.profile
    }

    /// Keeps what was proven; what nobody has needed for the longest time makes room for it.
    func keep(_ info: DiscoInfo, _ query: Element, for key: CapsClaim.Key, limit: Int) -> Profile {
        if let known = entries[key] { return known.profile }
        while entries.count >= max(1, limit), let oldest = entries.min(by: { $0.value.used < $1.value.used }) {
            remove(oldest.key)
        }
        let profile = Profile(info)
        entries[key] = Entry(profile: profile, query: query, used: host.clock.date)
        save(key)
        return profile
    }

    /// Forgets what nobody has needed for this time.
    func expire(after time: Duration) {
        let limit = host.clock.date.advanced(by: .zero - time)
        for (key, entry) in entries where entry.used < limit { remove(key) }
    }

    private func save(_ key: CapsClaim.Key) {
        guard let entry = entries[key] else { return }
        let text = String(decoding: entry.query.xmlBytes, as: UTF8.self)
        store.set(Stored(query: text, used: entry.used), key.stored, of: Self.owner)
    }

    private func remove(_ key: CapsClaim.Key) {
        entries[key] = nil
        store.delete(key.stored, of: Self.owner)
    }
}

extension CapsClaim.Key {
    /// The name under which it is stored. No hash function that can be proven has a space in its name.
    fileprivate var stored: String { "\(hash) \(ver)" }

    fileprivate init?(stored: String) {
        let parts = stored.split(separator: " ", maxSplits: 1)
        guard parts.count == 2 else { return nil }
        self.init(hash: String(parts[0]), ver: String(parts[1]))
    }
}
