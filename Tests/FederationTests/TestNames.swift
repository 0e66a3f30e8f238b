import ServerKit
import Synchronization

/// The DNS of a play.
final class TestNames: DNSLookup {
    private struct Key: Hashable {
        let name: String
        let type: DNSRecordType
    }

    private let answers = Mutex<[Key: DNSAnswer]>([:])

    func lookup(_ name: String, _ type: DNSRecordType) async -> DNSAnswer {
        answers.withLock { table in
            if let answer = table[Key(name: name, type: type)] { return answer }
            return DNSAnswer(table.keys.contains { $0.name == name } ? .noRecords : .noSuchName)
        }
    }

    func set(_ name: String, _ type: DNSRecordType, _ answer: DNSAnswer) {
        answers.withLock { $0[Key(name: name, type: type)] = answer }
    }

    /// A service of this machine.
    func serve(_ domain: String, port: UInt16, directTLS: Bool = false) {
        set("127-0-0-1.example", .a, DNSAnswer(.records([[127, 0, 0, 1]])))
        let service = directTLS ? "_xmpps-server" : "_xmpp-server"
        set("\(service)._tcp.\(domain)", .srv, DNSAnswer(.records([Self.service("127-0-0-1.example", port)])))
    }

    /// The data of an SRV record. RFC 2782.
    static func service(_ target: String, _ port: UInt16, priority: UInt8 = 0) -> [UInt8] {
        var data: [UInt8] = [0, priority, 0, 0, UInt8(port >> 8), UInt8(port & 255)]
        for label in target.split(separator: ".") { data += [UInt8(label.utf8.count)] + Array(label.utf8) }
        return data + [0]
    }
}
