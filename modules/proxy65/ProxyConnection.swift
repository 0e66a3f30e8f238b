import ServerKit

/// One connection to the proxy: SOCKS5 (RFC 1928) as XEP-0065 §10.2 uses it, and then bytes.
@ServerActor
final class ProxyConnection: StreamEndpoint {
    private enum Phase {
        case greeting, request
        /// It has named a hash, or is part of a transfer.
        case connected
        case closed
    }

    let transport: any StreamTransport
    let network: PeerNetwork?
    /// What it is for: SHA-1 of stream id, requester and target, in hexadecimal.
    private(set) var hash: String?
    /// Since when it waits for what is due next.
    private(set) var since: Duration
    var transfer: ProxyTransfer? {
        didSet { since = relay.clock.now }
    }

    private let relay: ProxyRelay
    private var phase = Phase.greeting
    private var pending: [UInt8] = []
    private var isReading = true

    init(_ relay: ProxyRelay, _ transport: any StreamTransport, _ network: PeerNetwork?) {
        self.relay = relay
        self.transport = transport
        self.network = network
        since = relay.clock.now
    }

    func receive(_ bytes: UnsafeRawBufferPointer) {
        switch phase {
        case .closed: return
        // What comes before the stream is activated is ignored. XEP-0065 §10.1.
        case .connected: transfer?.pass(bytes, from: self)
        case .greeting, .request:
            pending += bytes
            // The longest request that could become a good one has not half as many.
            guard pending.count <= 600 else { return close() }
            negotiate()
        }
    }

    func secured() {}

    func connectionLost(_ reason: String) {
        guard phase != .closed else { return }
        phase = .closed
        relay.forget(self)
        transfer?.lost(self)
        transfer = nil
    }

    func setReading(_ isReading: Bool) {
        guard phase != .closed, isReading != self.isReading else { return }
        self.isReading = isReading
        transport.setReading(isReading)
    }

    func close() {
        guard phase != .closed else { return }
        phase = .closed
        transfer = nil
        relay.forget(self)
        transport.close()
    }

    // MARK: SOCKS5

    private func negotiate() {
        while true {
            switch phase {
            case .greeting:
                // RFC 1928 §3: version, number of methods, methods.
                guard let version = pending.first else { return }
                guard version == 5 else { return close() }
                guard pending.count >= 2, pending.count >= 2 + Int(pending[1]) else { return }
                let methods = pending[2..<(2 + Int(pending[1]))]
                pending.removeFirst(2 + methods.count)
                guard methods.contains(0) else {
                    transport.write([5, 0xFF], isUrgent: true)
                    return close()
                }
                transport.write([5, 0], isUrgent: true)
                phase = .request
            case .request:
                guard readRequest() else { return }
            case .connected, .closed: return
            }
        }
    }

    /// What a request is refused with. RFC 1928 §6.
    private enum Refusal: UInt8 {
        case notAllowed = 2
        case commandNotSupported = 7
        case addressTypeNotSupported = 8
    }

    /// RFC 1928 §4: version, command, reserved, type of address, address, port.
    ///
    /// - Returns: whether there may be more to read.
    private func readRequest() -> Bool {
        guard pending.count >= 4 else { return false }
        guard pending[0] == 5 else {
            close()
            return false
        }
        guard pending[1] == 1 else { return refuse(.commandNotSupported) }
        guard pending[3] == 3 else { return refuse(.addressTypeNotSupported) }
        guard pending.count >= 5, pending.count >= 7 + Int(pending[4]) else { return false }
        let end = 5 + Int(pending[4])
        let address = pending[5..<end]
        let isHash =
            address.count == 40
            && address.allSatisfy {
                UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0
                    || UInt8(ascii: "a")...UInt8(ascii: "f") ~= $0 || UInt8(ascii: "A")...UInt8(ascii: "F") ~= $0
            }
        // XEP-0065 §6.3.2: the port is 0.
        guard isHash, pending[end] == 0, pending[end + 1] == 0 else { return refuse(.notAllowed) }
        let hash = String(decoding: address, as: UTF8.self).lowercased()
        guard relay.register(self, for: hash) else { return refuse(.notAllowed) }
        self.hash = hash
        since = relay.clock.now
        phase = .connected
        // The address of the answer is the one of the request. XEP-0065 §6.3.2.
        transport.write([5, 0, 0, 3, UInt8(address.count)] + address + [0, 0], isUrgent: true)
        pending = []
        return false
    }

    private func refuse(_ refusal: Refusal) -> Bool {
        transport.write([5, refusal.rawValue, 0, 1, 0, 0, 0, 0, 0, 0], isUrgent: true)
        close()
        return false
    }
}
