import ServerKit

/// Contact Addresses for XMPP Services (XEP-0157): whom to write to about abuse, security or anything else.
final class ContactAddresses: Module {
    static let info = ModuleInfo(
        "contact", "Publishes how to reach the people behind the server",
        implements: [.xep(157, "1.1.1")],
        group: .recommended, scope: .domain, requires: ["disco"])

    struct Options: ModuleOptions {
        /// The addresses of each kind that has any, by the name of its field.
        let addresses: [(field: String, uris: [String])]
        /// Whether the administrators' own addresses take the place of missing ones.
        let namesAdmins: Bool

        init(_ config: inout OptionReader) {
            func uris(_ key: String, _ sentence: String) -> (field: String, uris: [String]) {
                let noun = "a URI such as mailto:abuse@example.org, xmpp:help@example.org or https://example.org/help"
                return ("\(key)-addresses", config.parsedList(key, as: noun, sentence, ContactURI.check))
            }
            namesAdmins = !config.isGiven("admin")
            addresses = [
                uris("abuse", "Where to report abuse."),
                uris("admin", "Where to reach the administrators; their own addresses, unless it is set."),
                uris("feedback", "Where users say what they think."),
                uris("sales", "Where to ask about offers."),
                uris("security", "Where to report weaknesses."),
                uris("status", "Where to see whether the service is up."),
                uris("support", "Where users find help."),
            ]
        }
    }

    private let options: Options

    init(options: Options) {
        self.options = options
    }

    func load(into host: ModuleHost) {
        host.extendInfo(of: .host) { self.form(host.host) }
    }

    /// XEP-0157 §3.
    private func form(_ host: Host) -> DataForm? {
        var fields: [DataFormField] = []
        for (name, uris) in options.addresses {
            var uris = uris
            // A server that nobody can be asked about is soon blocked by others. Where the administrators fear unwanted
            // messages (XEP-0157 §5), `admin: []` keeps their addresses back.
            if name == "admin-addresses", options.namesAdmins { uris = host.admins.map(ContactURI.make) }
            if !uris.isEmpty { fields.append(DataFormField(name, .listMulti, values: uris)) }
        }
        return fields.isEmpty ? nil : .extendedInfo(Self.formType, fields)
    }

    private static let formType = "http://jabber.org/network/serverinfo"
}

/// Addresses of people.
enum ContactURI {
    /// The text, if it is a URI with one of the schemes that clients can open. XEP-0157 §3.
    static func check(_ text: String) -> String? {
        let isPlain = text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && !"\"<>\\^`{|}".utf8.contains($0) }
        guard isPlain, let colon = text.utf8.firstIndex(of: UInt8(ascii: ":")) else { return nil }
        let rest = text[text.index(after: colon)...]
        let isGood: Bool
        switch text[..<colon].lowercased() {
        case "mailto":
            let parts = rest.prefix { $0 != "?" }.split(separator: "@", omittingEmptySubsequences: false)
            isGood = parts.count == 2 && parts.allSatisfy { !$0.isEmpty }
        case "xmpp":
            isGood = decode(rest.prefix { $0 != "?" && $0 != "#" }).flatMap { JID($0) } != nil
        case "http", "https":
            isGood = rest.hasPrefix("//") && !rest.dropFirst(2).prefix { !"/?#".contains($0) }.isEmpty
        default:
            isGood = false
        }
        return isGood ? text : nil
    }

    /// The URI of an address. RFC 5122 §2.2.
    static func make(_ jid: JID) -> String {
        let localpart = jid.localpart.map { encode($0) + "@" } ?? ""
        return "xmpp:" + localpart + jid.asciiDomain
    }

    private static func encode(_ text: String) -> String {
        var result = ""
        for byte in text.utf8 {
            let isPlain =
                UInt8(ascii: "a")...UInt8(ascii: "z") ~= byte || UInt8(ascii: "A")...UInt8(ascii: "Z") ~= byte
                || UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte || "-._~!$()*+,;=".utf8.contains(byte)
            result += isPlain ? String(UnicodeScalar(byte)) : "%" + Hex.encode([byte]).uppercased()
        }
        return result
    }

    /// Without percent-encoding; nil if that is broken.
    private static func decode(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var rest = text.utf8
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard rest.count >= 2, let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) else {
                return nil
            }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return String(validating: bytes, as: UTF8.self)
    }
}

extension Host {
    /// The administrators of the server and of this host, each once.
    fileprivate var admins: [JID] {
        var seen: Set<JID> = []
        return (server.configuration.admins + configuration.admins).filter { seen.insert($0).inserted }
    }
}
