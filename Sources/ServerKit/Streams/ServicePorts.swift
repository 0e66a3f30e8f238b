/// The open ports of a module, kept as `listen:` says.
///
/// A module makes one, calls ``match(_:)`` when it starts and after each reload, and ``close()`` when it is unloaded.
@ServerActor
public final class ServicePorts {
    /// What is served under one name of `listen:`.
    public struct Service {
        /// The name under `listen:`.
        public let name: String
        /// How connections are secured before their first byte; nil for those that begin in plain text.
        public let directTLS: TLSServer?
        /// For how long what was sent may stay without TCP's acknowledgement, in milliseconds: then the peer has vanished.
        public let silence: Int
        /// Makes what takes the bytes of a connection; nil to refuse it.
        public let accept: @ServerActor @Sendable (any StreamTransport) -> (any StreamEndpoint)?

        /// For peers on the move, whose network may be gone for a while.
        public static let patient = 120_000
        /// For peers in one place, whose stanzas wait to go another way.
        public static let brief = 25_000

        public init(
            _ name: String, directTLS: TLSServer? = nil, silence: Int = Self.patient,
            accept: @escaping @ServerActor @Sendable (any StreamTransport) -> (any StreamEndpoint)?
        ) {
            self.name = name
            self.directTLS = directTLS
            self.silence = silence
            self.accept = accept
        }
    }

    private let server: Server
    private var listeners: [String: [StreamListener]] = [:]
    /// The last change of the open ports; the next one waits for it.
    private var opening: Task<Void, any Error>?
    private var isClosed = false

    public init(_ server: Server) {
        self.server = server
    }

    /// Makes the open ports match the configuration.
    ///
    /// - Throws: a ``ModuleError`` that says which port cannot be opened, and why.
    public func match(_ services: [Service]) async throws {
        let previous = opening
        let next = Task { @ServerActor in
            _ = await previous?.result
            for service in services { try await self.open(service) }
        }
        opening = next
        try await next.value
    }

    private func open(_ service: Service) async throws {
        let name = service.name
        let wanted = server.configuration.listen[name] ?? []
        for listener in listeners[name] ?? [] where !wanted.contains(listener.address) { listener.close() }
        listeners[name, default: []].removeAll { !wanted.contains($0.address) }
        for address in wanted where !listeners[name, default: []].contains(where: { $0.address == address }) {
            let listener = try await StreamListener.open(
                address, directTLS: service.directTLS, silence: service.silence, accept: service.accept)
            // The module may have been unloaded meanwhile.
            guard !isClosed else { return listener.close() }
            listeners[name, default: []].append(listener)
        }
        guard !isClosed else { return }
        server.listening[name] = listeners[name]?.map(\.boundAddress)
    }

    /// Closes all of them, for good.
    public func close() {
        isClosed = true
        for (name, open) in listeners {
            for listener in open { listener.close() }
            server.listening[name] = nil
        }
        listeners = [:]
    }
}
