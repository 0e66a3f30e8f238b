import Glibc

/// Where a peer connects from, as far as limits are concerned: an IPv4 address, or the /64 of an IPv6 address, since
/// whoever has one address of a /64 has all of them.
public struct PeerNetwork: Hashable, Sendable {
    /// For IPv4 the address, with ``isIPv4``; for IPv6 the first eight bytes.
    private let bits: UInt64
    private let isIPv4: Bool

    /// The network of an address of 4 or 16 bytes, as in a socket address; nil for other lengths.
    public init?(bytes: some Collection<UInt8>) {
        let bytes = Array(bytes)
        switch bytes.count {
        case 4:
            isIPv4 = true
            bits = Self.number(bytes[...])
        // ::ffff:0:0/96, an IPv4 peer on a socket that speaks both. RFC 4291 §2.5.5.2.
        case 16 where bytes[..<10].allSatisfy({ $0 == 0 }) && bytes[10] == 0xFF && bytes[11] == 0xFF:
            isIPv4 = true
            bits = Self.number(bytes[12...])
        case 16:
            isIPv4 = false
            bits = Self.number(bytes[..<8])
        default: return nil
        }
    }

    /// The network of an address as text, without brackets; a zone (`%eth0`) is ignored. Nil for anything else.
    public init?(_ text: String) {
        let address = String(text.prefix { $0 != "%" })
        var buffer = [UInt8](repeating: 0, count: 16)
        if inet_pton(AF_INET, address, &buffer) == 1 {
            self.init(bytes: buffer[..<4])
        } else if inet_pton(AF_INET6, address, &buffer) == 1 {
            self.init(bytes: buffer)
        } else {
            return nil
        }
    }

    private static func number(_ bytes: ArraySlice<UInt8>) -> UInt64 {
        bytes.reduce(0) { $0 << 8 | UInt64($1) }
    }
}
