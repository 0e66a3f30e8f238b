/// Asks the DNS by libunbound: validated by DNSSEC, and remembered for as long as the records say.
///
/// Nothing of it exists before the first question: then a thread and the library's context are made, which take about
/// 4 MB. The caller never waits for the library, and never longer than `DNSSettings.timeout` for an answer.
public final class DNSResolver: DNSLookup {
    public let settings: DNSSettings
    private let worker: DNSWorker

    public init(_ settings: DNSSettings = DNSSettings()) {
        self.settings = settings
        worker = DNSWorker(settings)
    }

    deinit { worker.close() }

    public func lookup(_ name: String, _ type: DNSRecordType) async -> DNSAnswer {
        // What does not fit into a question cannot be anybody's name.
        guard DNSName.isValid(name) else { return DNSAnswer(.noSuchName) }
        return await withCheckedContinuation { continuation in
            worker.ask(
                DNSQuestion(name: name, type: type, deadline: .now + settings.timeout) {
                    continuation.resume(returning: $0)
                })
        }
    }

    /// Drops what is remembered, and reads the files anew before the next question: after a change of
    /// `/etc/resolv.conf`, or when the network is another one.
    public func reset() { worker.startAnew(evenIfFresh: true) }

    /// Drops what is remembered about a name, for a peer that cannot be reached where it used to be.
    ///
    /// The library cannot forget a single name, so that it forgets all of them, unless all of what it remembers is
    /// newer than two seconds anyhow: peers that are lost by the hundred then cost one new beginning.
    public func forget(_ name: String) { worker.startAnew(evenIfFresh: false) }

    /// Whether answers are validated by DNSSEC; nil before the first one.
    public var isValidating: Bool? { worker.isValidating }

    /// Ends the thread; questions that wait for their answers fail, and so do later ones.
    public func close() { worker.close() }
}
