import COpenSSL
import Glibc
import Synchronization

/// The keys that protect session tickets: one set for the whole process, so that resumption works across listeners,
/// host names and certificate reloads. RFC 5077 §4, RFC 8446 §4.6.1.
final class TLSTicketKeys: Sendable {
    static let shared = TLSTicketKeys()

    /// How long a key seals new tickets, and how long after that it still opens old ones, in seconds.
    static let lifetime = 12 * 3600

    /// One key and the 16 bytes by which tickets name it.
    struct Key: Sendable {
        let name: [UInt8]
        let cipherKey: [UInt8]
        let macKey: [UInt8]
        let created: Int
    }

    private let keys = Mutex<[Key]>([])

    /// The key that seals new tickets, replaced by a fresh one when its time is over.
    ///
    /// - Returns: nil when the system has no randomness to give.
    func sealing(now: Int) -> Key? {
        keys.withLock { keys in
            if let newest = keys.first, now - newest.created < Self.lifetime { return newest }
            guard let bytes = randomBytes(80) else { return nil }
            let key = Key(
                name: Array(bytes[..<16]), cipherKey: Array(bytes[16..<48]), macKey: Array(bytes[48...]), created: now)
            keys.removeAll { now - $0.created >= 2 * Self.lifetime }
            keys.insert(key, at: 0)
            return key
        }
    }

    /// The key a ticket names, and whether a newer one has taken its place.
    func opening(_ name: UnsafeBufferPointer<UInt8>, now: Int) -> (key: Key, isOutdated: Bool)? {
        keys.withLock { keys in
            guard let index = keys.firstIndex(where: { $0.name.elementsEqual(name) }) else { return nil }
            let age = now - keys[index].created
            guard age < 2 * Self.lifetime else { return nil }
            return (keys[index], index > 0 || age >= Self.lifetime)
        }
    }

    /// What OpenSSL calls to seal (`encrypting` is 1) or open a ticket.
    ///
    /// - Returns: -1 to fail, 0 to go on without resumption, 1 to go on, 2 to go on and issue a new ticket.
    static func apply(
        name: UnsafeMutablePointer<UInt8>, iv: UnsafeMutablePointer<UInt8>, cipher: OpaquePointer, mac: OpaquePointer,
        encrypting: Bool
    ) -> CInt {
        let now = time(nil)
        if encrypting {
            guard let key = shared.sealing(now: now), RAND_bytes(iv, EVP_MAX_IV_LENGTH) == 1 else { return -1 }
            name.update(from: key.name, count: 16)
            return copenssl_key_ticket(cipher, mac, key.cipherKey, key.macKey, iv, 1) == 1 ? 1 : -1
        }
        guard let (key, isOutdated) = shared.opening(UnsafeBufferPointer(start: name, count: 16), now: now) else {
            return 0
        }
        guard copenssl_key_ticket(cipher, mac, key.cipherKey, key.macKey, iv, 0) == 1 else { return -1 }
        return isOutdated ? 2 : 1
    }
}

private func randomBytes(_ count: Int) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: count)
    return RAND_bytes(&bytes, CInt(count)) == 1 ? bytes : nil
}
