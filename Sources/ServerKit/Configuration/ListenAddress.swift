import Glibc

/// Where a service listens: `5222` on every interface, `127.0.0.1:5280` or `[::1]:5222` on one.
public struct ListenAddress: Sendable, Hashable, CustomStringConvertible {
    /// The IPv4 or IPv6 address without brackets; nil for every interface and both families.
    public let host: String?
    /// The port; 0 lets the system choose a free one.
    public let port: UInt16

    /// A port on one interface, or on all.
    public init(host: String? = nil, port: UInt16) {
        self.host = host
        self.port = port
    }

    /// Reads `5222`, `*:5222`, `127.0.0.1:5280` or `[::1]:5222`. Names are refused: what they stand for may change.
    public init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":") else {
            guard let port = Self.port(text[...]) else { return nil }
            self.init(port: port)
            return
        }
        guard let port = Self.port(text[text.index(after: colon)...]) else { return nil }
        let host = text[..<colon]
        if host == "*" {
            self.init(port: port)
        } else if host.hasPrefix("["), host.hasSuffix("]"), Self.isAddress(host.dropFirst().dropLast(), AF_INET6) {
            self.init(host: String(host.dropFirst().dropLast()), port: port)
        } else if Self.isAddress(host, AF_INET) {
            self.init(host: String(host), port: port)
        } else {
            return nil
        }
    }

    /// Whether nobody on another machine can connect to it.
    public var isLoopback: Bool { host.map { $0.hasPrefix("127.") || $0 == "::1" } ?? false }

    public var description: String {
        guard let host else { return "\(port)" }
        return host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    private static func port(_ text: Substring) -> UInt16? {
        // UInt16 alone would take a sign.
        text.allSatisfy { $0.isASCII && $0.isNumber } ? UInt16(text) : nil
    }

    private static func isAddress(_ text: Substring, _ family: Int32) -> Bool {
        var address = in6_addr()
        return !text.utf8.contains(0) && inet_pton(family, String(text), &address) == 1
    }
}
