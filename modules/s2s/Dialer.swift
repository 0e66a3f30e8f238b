import NIOCore
import NIOPosix
import ServerKit

/// Where a stream is opened to.
struct DialTarget: Sendable, CustomStringConvertible {
    let endpoint: ServiceEndpoint
    /// What DNS says about its certificate; nil when nobody was asked.
    var tlsa: TLSAFinding?

    var isDirectTLS: Bool { endpoint.isDirectTLS }

    var description: String { "\(endpoint.target):\(endpoint.port)" + (isDirectTLS ? " (direct TLS)" : "") }
}

/// Why a domain cannot be reached, and all that was tried.
struct DialFailure: Error, Sendable {
    let error: StanzaError
    /// Whether it may be different soon.
    let isTemporary: Bool
    /// What was tried, in order.
    let steps: [String]
    /// The certificates that were refused, a line each.
    let certificates: [String]

    init(
        _ condition: StanzaError.Condition, _ text: String, isTemporary: Bool, steps: [String] = [],
        certificates: [String] = []
    ) {
        error = StanzaError(condition, isTemporary ? .wait : .cancel, text)
        self.isTemporary = isTemporary
        self.steps = steps
        self.certificates = certificates
    }

    var text: String { error.text ?? error.condition.rawValue }
}

/// Opens streams to other servers: finds where they are, and tries one place after the other. RFC 6120 §3.2.
@ServerActor
final class Dialer {
    private unowned let federation: Federation
    private let finder: ServiceFinder
    private var hasNotedValidating = false

    /// After how long no further place is tried.
    private static let patience = Duration.seconds(90)

    init(_ federation: Federation) {
        self.federation = federation
        finder = ServiceFinder(dns: federation.dns)
    }

    /// Opens a stream to the domain of a pair.
    ///
    /// - Parameters:
    ///   - authenticates: whether it is for stanzas of the pair.
    ///   - note: is told each step, for whoever watches.
    func dial(
        _ pair: DomainPair, authenticates: Bool, note: @ServerActor (String) -> Void = { _ in }
    ) async -> Result<ServerStream, DialFailure> {
        if let reason = federation.policies.refusal(of: pair.remote) {
            return .failure(DialFailure(.notAllowed, reason, isTemporary: false))
        }
        let targets: [DialTarget]
        switch await find(pair.remote) {
        case .success(let found): targets = found
        case .failure(let failure):
            note(failure.text)
            return .failure(failure)
        }
        note("\(pair.remote) is at \(targets.map(\.description).joined(separator: ", ")).")
        var steps: [String] = []
        var certificates: [String] = []
        var isTemporary = false
        var wasReached = false
        let start = federation.server.clock.now
        for var target in targets {
            // Those who list many places that do not answer keep nobody waiting for all of them.
            if federation.isStopping || federation.server.clock.now - start > Self.patience { break }
            if target.endpoint.isSecure {
                target.tlsa = await finder.tlsa(for: target.endpoint)
                if case .failed(let reason)? = target.tlsa {
                    let step = "\(target): \(reason)"
                    note(step)
                    steps.append(step)
                    isTemporary = true
                    continue
                }
            }
            switch await open(pair, target, authenticates: authenticates) {
            case .success(let stream):
                note("\(target) took the stream.")
                return .success(stream)
            case .failure(let failure):
                let step = "\(target): \(failure.text)"
                note(step)
                if !failure.certificates.isEmpty { note("It showed:") }
                for line in failure.certificates { note("    " + line) }
                certificates += failure.certificates.filter { !certificates.contains($0) }
                steps.append(step)
                isTemporary = isTemporary || failure.isTemporary
                wasReached = wasReached || failure.wasReached
            }
        }
        let text = "\(pair.remote) cannot be used. " + steps.joined(separator: " ")
        let condition: StanzaError.Condition = isTemporary || !wasReached ? .remoteServerTimeout : .remoteServerNotFound
        return .failure(
            DialFailure(condition, text, isTemporary: isTemporary, steps: steps, certificates: certificates))
    }

    /// Where a domain is: what the configuration says, or DNS.
    private func find(_ domain: String) async -> Result<[DialTarget], DialFailure> {
        let addresses = federation.policies.settings(of: domain).addresses
        if !addresses.isEmpty {
            return .success(
                addresses.map { address in
                    DialTarget(
                        endpoint: ServiceEndpoint(
                            target: address.host, port: address.port, isDirectTLS: address.port == 5270))
                })
        }
        let name = JID(unchecked: nil, domainpart: domain, resourcepart: nil).asciiDomain
        let finding = await finder.find(name)
        noteWhetherValidating()
        switch finding {
        case .endpoints(let endpoints): return .success(endpoints.map { DialTarget(endpoint: $0) })
        case .notOffered:
            return .failure(
                DialFailure(
                    .remoteServerNotFound, "\(domain) says that it has no XMPP server for others.", isTemporary: false))
        case .noSuchDomain:
            return .failure(
                DialFailure(.remoteServerNotFound, "There is no \(domain) in the DNS.", isTemporary: false))
        case .failed(let reason):
            return .failure(
                DialFailure(.remoteServerTimeout, "\(domain) cannot be looked up: \(reason)", isTemporary: true))
        }
    }

    /// Without DNSSEC what the DNS says of certificates is worth nothing, which an administrator should know.
    private func noteWhetherValidating() {
        guard !hasNotedValidating, let isValidating = (federation.dns as? DNSResolver)?.isValidating else { return }
        hasNotedValidating = true
        guard !isValidating else { return }
        let remedy =
            federation.options.dns.trustAnchorFile == nil
            ? "The root zone's keys are missing: install dns-root-data or unbound-anchor."
            : "The DNS servers leave signatures out: set others as the option resolver."
        federation.log.notice("DNSSEC cannot be used, nor DANE with it", metadata: ["remedy": "\(remedy)"])
    }

    /// Why one place did not do.
    private struct Failure: Error {
        let text: String
        let isTemporary: Bool
        /// Whether somebody answered there.
        let wasReached: Bool
        var certificates: [String] = []

        static func unreachable(_ text: String) -> Failure { Failure(text: text, isTemporary: true, wasReached: false) }
    }

    private func open(
        _ pair: DomainPair, _ target: DialTarget, authenticates: Bool
    ) async -> Result<ServerStream, Failure> {
        let federation = self.federation
        let limit = federation.options.connectTime
        let made = Made()
        let directTLS: TLSClient?
        do { directTLS = target.isDirectTLS ? try federation.security.client(for: pair, direct: true) : nil } catch {
            return .failure(Failure(text: "\(error)", isTemporary: false, wasReached: true))
        }
        let bootstrap = ClientBootstrap(group: ServerActor.group)
            .resolver(AddressFinder(federation.dns, on: ServerActor.loop))
            .connectTimeout(.milliseconds(Int64(limit.components.seconds * 1_000)))
            .channelOption(.socketOption(.tcp_nodelay), value: 1)
            .channelOption(.socketOption(.so_keepalive), value: 1)
            .channelOption(.tcpOption(.init(rawValue: 18 /* TCP_USER_TIMEOUT */)), value: ServicePorts.Service.brief)
            .channelOption(
                .recvAllocator, value: AdaptiveRecvByteBufferAllocator(minimum: 512, initial: 1_024, maximum: 65_536)
            )
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    // Of several connections that are tried at the same time one is used.
                    let transport = SocketTransport(channel: channel, directTLSTo: directTLS) { transport in
                        let stream = ServerStream(federation, transport: transport, isInitiator: true)
                        made.streams[ObjectIdentifier(channel)] = stream
                        return stream
                    }
                    try channel.pipeline.syncOperations.addHandler(transport)
                }
            }
        let channel: any Channel
        do {
            channel = try await bootstrap.connect(host: target.endpoint.target, port: target.endpoint.port).get()
        } catch {
            return .failure(.unreachable(Self.text(error)))
        }
        guard let stream = made.streams[ObjectIdentifier(channel)], !federation.isStopping else {
            channel.close(promise: nil)
            return .failure(.unreachable("The connection was lost."))
        }
        let result: Result<ServerStream, InitiationFailure> = await withCheckedContinuation { continuation in
            let initiator = Initiator(pair, target, stream, authenticates: authenticates) {
                continuation.resume(returning: $0)
            }
            stream.begin(initiator)
            federation.add(stream, initiator)
            federation.server.clock.after(federation.options.authenticationTime) { [weak initiator] in
                initiator?.expire()
            }
            initiator.connected()
        }
        switch result {
        case .success(let stream): return .success(stream)
        case .failure(let failure):
            return .failure(
                Failure(
                    text: failure.text, isTemporary: failure.isTemporary, wasReached: true,
                    certificates: failure.certificates))
        }
    }

    /// The streams of connections that are being tried.
    @ServerActor
    private final class Made {
        var streams: [ObjectIdentifier: ServerStream] = [:]
        nonisolated init() {}
    }

    private static func text(_ error: any Error) -> String {
        if let problem = AddressProblem(error) { return problem.description }
        guard let error = error as? NIOConnectionError else { return "The connection failed: \(error)." }
        let reasons = error.connectionErrors.map { single in
            let reason =
                (single.error as? IOError).map { String(cString: strerror($0.errnoCode)) } ?? "no answer in time"
            return "\(single.target.ipAddress ?? "?"): \(reason)"
        }
        return "No connection: " + (reasons.isEmpty ? "no answer in time" : reasons.joined(separator: ", ")) + "."
    }
}
