import Glibc
import Synchronization
import Testing

@testable import Streams

/// A DNS that knows what a test tells it; of everything else there is no such name.
final class FakeDNS: DNSLookup {
    private let answers: [String: DNSAnswer]
    private let log = Mutex<[String]>([])

    /// - Parameter answers: by name and type, `example.org A` for instance.
    init(_ answers: [String: DNSAnswer]) { self.answers = answers }

    /// What has been asked.
    var asked: [String] { log.withLock { $0.sorted() } }

    func lookup(_ name: String, _ type: DNSRecordType) async -> DNSAnswer {
        let key = "\(name) \("\(type)".uppercased())"
        log.withLock { $0.append(key) }
        return answers[key] ?? DNSAnswer(.noSuchName)
    }
}

/// A name in the form of the wire.
func wire(_ name: String) -> [UInt8] {
    name.split(separator: ".").flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) } + [0]
}

func srv(_ priority: UInt16, _ weight: UInt16, _ port: UInt16, _ target: String) -> [UInt8] {
    [priority, weight, port].flatMap { [UInt8($0 >> 8), UInt8($0 & 0xFF)] } + wire(target)
}

/// A name server on the loopback interface, with one thread.
final class NameServer: Sendable {
    enum Reply: Sendable {
        case records([[UInt8]], ttl: UInt32 = 300)
        /// Records of several types.
        case mixed([(type: UInt16, data: [UInt8])])
        case noRecords
        case error(UInt8)
        case silence
    }

    let port: Int
    private let socket: CInt
    private let zone = Mutex<[String: Reply]>([:])
    private let log = Mutex<[String]>([])

    /// - Parameter zone: by name and type, `example.org A` for instance; of everything else there is no such name.
    init(_ zone: [String: Reply]) throws {
        let socket = Glibc.socket(AF_INET, CInt(SOCK_DGRAM.rawValue), 0)
        try #require(socket >= 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let bound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(socket, $0, size) == 0 && getsockname(socket, $0, &size) == 0
            }
        }
        try #require(bound)
        self.socket = socket
        port = Int(UInt16(bigEndian: address.sin_port))
        self.zone.withLock { $0 = zone }
        var thread = pthread_t()
        let code = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                Unmanaged<NameServer>.fromOpaque(argument).takeRetainedValue().serve()
                return nil
            }, Unmanaged.passRetained(self).toOpaque())
        try #require(code == 0)
        pthread_detach(thread)
    }

    /// For a resolver's settings.
    var address: String { "127.0.0.1@\(port)" }

    /// What has been asked for, in order.
    var asked: [String] { log.withLock { $0 } }

    subscript(key: String) -> Reply? {
        get { zone.withLock { $0[key] } }
        set { zone.withLock { $0[key] = newValue } }
    }

    func stop() { shutdown(socket, CInt(SHUT_RDWR)) }

    private func serve() {
        var query = [UInt8](repeating: 0, count: 4096)
        while true {
            var peer = sockaddr_storage()
            var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
            let count = withUnsafeMutablePointer(to: &peer) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    recvfrom(socket, &query, query.count, 0, $0, &size)
                }
            }
            guard count > 0 else { break }
            guard let reply = answer(Array(query[..<count])) else { continue }
            _ = withUnsafePointer(to: &peer) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    sendto(socket, reply, reply.count, 0, $0, size)
                }
            }
        }
        close(socket)
    }

    private func answer(_ query: [UInt8]) -> [UInt8]? {
        guard query.count > 16 else { return nil }
        var labels: [String] = []
        var index = 12
        while query[index] != 0 {
            labels.append(String(decoding: query[(index + 1)...(index + Int(query[index]))], as: UTF8.self))
            index += 1 + Int(query[index])
        }
        let number = UInt16(query[index + 1]) << 8 | UInt16(query[index + 2])
        let type = DNSRecordType(rawValue: number).map { "\($0)".uppercased() } ?? "TYPE\(number)"
        let name = labels.joined(separator: ".").lowercased()
        let key = "\(name) \(type)"
        log.withLock { $0.append(key) }
        let question = query[12..<(index + 5)]
        var code: UInt8 = 0
        var records: [(type: UInt16, data: [UInt8])] = []
        var ttl: UInt32 = 300
        switch self[key] {
        case .records(let list, let seconds): (records, ttl) = (list.map { (number, $0) }, seconds)
        case .mixed(let list): records = list
        case .noRecords: break
        case .error(let error): code = error
        case .silence: return nil
        case nil: code = name.isEmpty || zone.withLock { $0.keys.contains { $0.hasPrefix(name + " ") } } ? 0 : 3
        }
        // QR, AA, RD and RA; one question.
        var reply = Array(query[..<2]) + [0x85, 0x80 | code, 0, 1, 0, UInt8(records.count)]
        reply += [0, records.isEmpty && (code == 0 || code == 3) ? 1 : 0, 0, 0] + question
        for (type, data) in records {
            reply += [0xC0, 12, UInt8(type >> 8), UInt8(type & 0xFF), 0, 1]
            reply += withUnsafeBytes(of: ttl.bigEndian, Array.init)
            reply += [UInt8(data.count >> 8), UInt8(data.count & 0xFF)] + data
        }
        if records.isEmpty {
            // The SOA that says how long there is nothing. RFC 2308 §3.
            let soa = wire("ns.test") + wire("admin.test") + [UInt8](repeating: 0, count: 19) + [1]
            reply += [0, 0, 6, 0, 1, 0, 0, 0, 1, 0, UInt8(soa.count)] + soa
        }
        return reply
    }
}
