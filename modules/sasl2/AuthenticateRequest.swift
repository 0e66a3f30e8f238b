import ServerKit

/// What a client asks for in its `<authenticate/>`. XEP-0388 §2.3.
struct AuthenticateRequest {
    let element: Element
    let mechanism: String
    let initialResponse: [UInt8]?
    /// The id of the installation, in lower case; nil if there is none, or something else than a UUID.
    let agentID: String?
    let userAgent: UserAgent?
    /// XEP-0386 §3.2.
    let bind: Element?
    /// The names of the upgrades it is ready for. XEP-0480 §2.2.
    let upgrades: [String]

    /// Bytes that are kept of the names of software and device.
    private static let nameLength = 100

    init(_ element: Element) throws(SASLFailure) {
        guard let mechanism = element["mechanism"], !mechanism.isEmpty else { throw .malformedRequest }
        let responses = element.children("initial-response", .sasl2)
        let agents = element.children("user-agent", .sasl2)
        let binds = element.children("bind", .bind2)
        guard responses.count <= 1, agents.count <= 1, binds.count <= 1 else { throw .malformedRequest }
        self.element = element
        self.mechanism = mechanism
        initialResponse = try responses.first.map { response throws(SASLFailure) in try response.saslData() }
        agentID = agents.first?["id"].flatMap(Self.uuid)
        userAgent = agents.first.map { agent in
            UserAgent(software: Self.name(agent, "software"), device: Self.name(agent, "device"))
        }
        bind = binds.first
        upgrades = element.children("upgrade", .saslUpgrade).map(\.text.trimmedXMLSpace)
    }

    /// The schema's pattern: 32 digits in five groups. XEP-0388 §8.
    private static func uuid(_ text: String) -> String? {
        let groups = text.utf8.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
        guard groups.map(\.count) == [8, 4, 4, 4, 12], text.allSatisfy({ $0 == "-" || $0.isHexDigit && $0.isASCII })
        else { return nil }
        return text.lowercased()
    }

    private static func name(_ agent: Element, _ child: String) -> String? {
        guard let text = agent.text(of: child, .sasl2)?.trimmedXMLSpace, !text.isEmpty else { return nil }
        // By scalars: how characters combine would have to be found out anew for each that is cut off.
        var name = String.UnicodeScalarView()
        var length = 0
        for scalar in text.unicodeScalars {
            length += UTF8.width(scalar)
            if length > nameLength { break }
            name.append(scalar)
        }
        return String(name)
    }
}

extension Element {
    /// The data of an element, which unlike in RFC 6120 has no sign for data that is there but empty. XEP-0388 §2.2.
    func saslData() throws(SASLFailure) -> [UInt8] {
        guard let data = Base64.decode(text.trimmedXMLSpace) else { throw .incorrectEncoding }
        return data
    }
}
