import Glibc
import NIOCore
import NIOPosix

/// An IP address in text.
struct IPAddress: Equatable {
    enum Family { case v4, v6 }

    let family: Family
    /// Without brackets.
    let text: String

    /// - Returns: nil when the text is none.
    init?(_ text: String) {
        var plain = Substring(text)
        if plain.hasPrefix("["), plain.hasSuffix("]") { plain = plain.dropFirst().dropLast() }
        guard !plain.utf8.contains(0) else { return nil }
        self.text = String(plain)
        var address = in6_addr()
        if plain.count == text.count, inet_pton(AF_INET, self.text, &address) == 1 {
            family = .v4
        } else if inet_pton(AF_INET6, self.text, &address) == 1 {
            family = .v6
        } else {
            return nil
        }
    }
}

/// Why a host has no address to connect to.
public enum AddressProblem: Error, Sendable, Equatable, CustomStringConvertible {
    /// Nobody has this name.
    case noSuchName(String)
    /// The name is there, but has no address.
    case noAddresses(String)
    /// It is not known. A sentence for administrators; it makes sense to ask again later.
    case failed(String)

    public var description: String {
        switch self {
        case .noSuchName(let host): "\(host) does not exist in the DNS."
        case .noAddresses(let host): "\(host) has no address in the DNS."
        case .failed(let reason): reason
        }
    }

    /// Why a connection did not come about, if it was for lack of an address.
    ///
    /// - Parameter error: what `ClientBootstrap.connect(host:port:)` threw.
    /// - Returns: nil when there was an address, and nobody answered there.
    public init?(_ error: any Error) {
        if let problem = error as? AddressProblem {
            self = problem
            return
        }
        guard let error = error as? NIOConnectionError, error.connectionErrors.isEmpty else { return nil }
        let problems = [error.dnsAError, error.dnsAAAAError].compactMap { $0 as? AddressProblem }
        // That one question failed outweighs that the other found nothing.
        guard let problem = problems.first(where: \.isFailure) ?? problems.first else { return nil }
        self = problem
    }

    fileprivate var isFailure: Bool { if case .failed = self { true } else { false } }
}

/// Looks up addresses for a connection: IPv6 and IPv4 at the same time, and NIO's `ClientBootstrap` tries them by Happy
/// Eyeballs (RFC 8305). IP addresses stand for themselves.
///
///     ClientBootstrap(group: loop).resolver(AddressFinder(dns, on: loop)).connect(host: target, port: port)
///
/// What it fails with is an ``AddressProblem``.
public struct AddressFinder: Resolver, Sendable {
    /// How many addresses of one family are tried at most.
    static let maximumAddresses = 8

    private let dns: any DNSLookup
    private let loop: any EventLoop

    /// - Parameter loop: that of the connection.
    public init(_ dns: any DNSLookup, on loop: any EventLoop) {
        self.dns = dns
        self.loop = loop
    }

    public func initiateAQuery(host: String, port: Int) -> EventLoopFuture<[SocketAddress]> {
        addresses(.v4, host, port)
    }

    public func initiateAAAAQuery(host: String, port: Int) -> EventLoopFuture<[SocketAddress]> {
        addresses(.v6, host, port)
    }

    /// Nothing: what is under way ends by itself, and is remembered for the next time.
    public func cancelQueries() {}

    private func addresses(
        _ family: IPAddress.Family, _ host: String, _ port: Int
    ) -> EventLoopFuture<[SocketAddress]> {
        let dns = dns
        return loop.makeFutureWithTask { try await Self.find(host, port: port, family, dns).get() }
    }

    /// The addresses of a host in text, IPv6 first; empty when there are none or it is not known.
    public static func addresses(of host: String, _ dns: any DNSLookup) async -> [String] {
        guard case .success(let found) = await find(host, port: 0, dns) else { return [] }
        return found.compactMap(\.ipAddress)
    }

    /// The addresses of both families, IPv6 first.
    static func find(
        _ host: String, port: Int, _ dns: any DNSLookup
    ) async -> Result<[SocketAddress], AddressProblem> {
        async let six = find(host, port: port, .v6, dns)
        let four = await find(host, port: port, .v4, dns)
        switch (await six, four) {
        case (.success(let six), .success(let four)): return .success(six + four)
        case (.success(let some), .failure), (.failure, .success(let some)): return .success(some)
        case (.failure(let one), .failure(let other)): return .failure(one.isFailure ? one : other)
        }
    }

    private static func find(
        _ host: String, port: Int, _ family: IPAddress.Family, _ dns: any DNSLookup
    ) async -> Result<[SocketAddress], AddressProblem> {
        if let address = IPAddress(host) {
            guard address.family == family, let socket = try? SocketAddress(ipAddress: address.text, port: port) else {
                return .failure(.noAddresses(host))
            }
            return .success([socket])
        }
        let answer = await dns.lookup(host, family == .v4 ? .a : .aaaa)
        switch answer.outcome {
        case .noSuchName: return .failure(.noSuchName(host))
        case .noRecords: return .failure(.noAddresses(host))
        case .failed(let reason), .bogus(let reason): return .failure(.failed(reason))
        case .records(let records):
            let addresses = records.lazy.filter { $0.count == (family == .v4 ? 4 : 16) }.compactMap {
                try? SocketAddress(packedIPAddress: ByteBuffer(bytes: $0), port: port)
            }
            let usable = Array(addresses.prefix(maximumAddresses))
            return usable.isEmpty ? .failure(.noAddresses(host)) : .success(usable)
        }
    }
}
