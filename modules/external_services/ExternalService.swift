import ServerKit

/// A service outside of XMPP. XEP-0215 §2.
struct ExternalService: Sendable {
    enum Transport: String, Sendable, CaseIterable, CustomStringConvertible {
        case tcp, udp
        var description: String { rawValue }
    }

    enum Credentials: Sendable {
        /// The same for everybody.
        case fixed(ServiceLogin)
        /// Made for each user with a secret that the service knows, too.
        case shared(secret: String)
    }

    let type: String
    /// A domain in ASCII or an IP address.
    let host: String
    let port: UInt16?
    let transport: Transport?
    let name: String?
    /// nil when anybody may use it.
    let credentials: Credentials?

    /// Reads an item of the configuration; nil when it is not what it should be.
    init?(_ config: inout OptionReader, sharedSecret: String?) {
        let type = config.required(
            "type", example: "turn", as: "a word such as turn, turns, stun or stuns",
            "What it is: stun, turn, or with TLS stuns, turns.", Self.type)
        let host = config.required(
            "host", example: "turn.example.org", as: "a domain or an IP address", "Where it is.", Self.host)
        let port = config.optionalParsed(
            "port", as: "a port from 1 to 65535", "Its port, if that is not the usual one.", Self.port)
        let transport = config.optionalParsed(
            "transport", as: "a transport, udp or tcp", "How it is reached.", Transport.init)
        name = config.optionalString("name", "What people call it.")
        let username = config.optionalString("username", "The name by which all users log in.")
        let password = config.optionalString("password", "The password to it.")
        let secret = config.optionalString("secret", "A shared secret in place of the one for all services.")
        guard (username == nil) == (password == nil) else {
            config.report(username == nil ? "password" : "username", "a username and a password belong together.")
            return nil
        }
        guard secret == nil || username == nil else {
            config.report("secret", "a service has a shared secret or a username, not both.")
            return nil
        }
        guard let type, let host else { return nil }
        self.type = type
        self.host = host
        self.port = port ?? Self.defaults[type]?.port
        self.transport = transport ?? Self.defaults[type]?.transport
        if let username, let password {
            credentials = .fixed(ServiceLogin(username: username, password: password, expiry: nil))
        } else if let secret = secret ?? (Self.needsLogin.contains(type) ? sharedSecret : nil) {
            credentials = .shared(secret: secret)
        } else {
            credentials = nil
        }
    }

    /// RFC 5389 §9, RFC 5766 §4; clients do not always know them.
    private static let defaults: [String: (port: UInt16, transport: Transport)] = [
        "stun": (3478, .udp), "turn": (3478, .udp), "stuns": (5349, .tcp), "turns": (5349, .tcp),
    ]

    /// Relays. Everybody may ask a STUN server.
    private static let needsLogin: Set<String> = ["turn", "turns"]

    private static func type(_ text: String) -> String? {
        let isGood = !text.isEmpty && text.utf8.allSatisfy { byte in
            UInt8(ascii: "a")...UInt8(ascii: "z") ~= byte || UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte
                || byte == UInt8(ascii: "-")
        }
        return isGood ? text : nil
    }

    private static func port(_ text: String) -> UInt16? { UInt16(text).flatMap { $0 == 0 ? nil : $0 } }

    /// Addresses of IPv6 without the brackets that they have in JIDs.
    private static func host(_ text: String) -> String? {
        guard let jid = JID(domain: text) ?? JID(domain: "[\(text)]") else { return nil }
        let domain = jid.asciiDomain
        return domain.hasPrefix("[") ? String(domain.dropFirst().dropLast()) : domain
    }

    /// Whether a request for credentials names it. XEP-0215 §3.3.
    func isMeant(by request: Element) -> Bool {
        guard let host = request["host"], let type = request["type"] else { return false }
        if let port = request["port"], UInt16(port) != self.port { return false }
        return type == self.type && (host == self.host || Self.host(host) == self.host)
    }

    func element(_ login: ServiceLogin?) -> Element {
        Element(
            "service", .externalServices,
            [
                "type": type, "host": host, "port": port.map(String.init), "transport": transport?.rawValue,
                "name": name, "restricted": login == nil ? nil : "true", "username": login?.username,
                "password": login?.password, "expires": login?.expiry?.description,
            ])
    }
}

/// What a client logs in with.
struct ServiceLogin: Sendable {
    let username: String
    let password: String
    let expiry: Timestamp?

    /// Credentials that the service can check without having seen them before, as "A REST API For Access To TURN
    /// Services" (draft-uberti-behave-turn-rest-00 §2.2) and coturn have them: when they expire is in the name, and the
    /// password proves that somebody with the secret has said so.
    static func timeLimited(user: String, secret: String, until expiry: Timestamp) -> ServiceLogin {
        let username = "\(expiry.seconds):\(user)"
        let password = Base64.encode(Digest.hmac(.sha1, key: Array(secret.utf8), Array(username.utf8)))
        // Whole seconds, as in the name.
        return ServiceLogin(username: username, password: password, expiry: Timestamp(seconds: expiry.seconds))
    }
}
