/// An XMPP address, `localpart@domainpart/resourcepart`, in the one form that is routed, stored and compared. RFC 7622.
///
/// Every initialiser but `init(unchecked:domainpart:resourcepart:)` enforces the rules of RFC 7622 §3, so that two
/// addresses are the same if they are equal.
public struct JID: Sendable {
    /// The account or room, or nil. UsernameCaseMapped. RFC 7622 §3.3.
    public let localpart: String?
    /// A domain name with its labels in Unicode and lower case, or an IP address; IPv6 in brackets. RFC 7622 §3.2.
    public let domainpart: String
    /// The resource or occupant, or nil. OpaqueString. RFC 7622 §3.4.
    public let resourcepart: String?

    /// Makes an address of parts that are known to be normalised, such as parts of other addresses or of our own store.
    public init(unchecked localpart: String?, domainpart: String, resourcepart: String?) {
        self.localpart = localpart
        self.domainpart = domainpart
        self.resourcepart = resourcepart
    }

    /// Makes an address of parts, enforcing the rules for each.
    public init(localpart: String?, domainpart: String, resourcepart: String? = nil) throws(JIDError) {
        self.localpart = try localpart.map { part throws(JIDError) in try JIDParts.localpart(part) }
        self.domainpart = try JIDParts.domainpart(domainpart)
        self.resourcepart = try resourcepart.map { part throws(JIDError) in try JIDParts.resourcepart(part) }
    }

    /// The address of a domain, or nil if `domain` is not a domainpart.
    public init?(domain: String) {
        guard let domainpart = try? JIDParts.domainpart(domain) else { return nil }
        self.init(unchecked: nil, domainpart: domainpart, resourcepart: nil)
    }

    /// The same address without the resourcepart.
    public var bare: JID {
        resourcepart == nil ? self : JID(unchecked: localpart, domainpart: domainpart, resourcepart: nil)
    }

    /// The domain on its own.
    public var domainOnly: JID { JID(unchecked: nil, domainpart: domainpart, resourcepart: nil) }

    /// Whether this is a bare JID: no resourcepart.
    public var isBare: Bool { resourcepart == nil }

    /// Whether this is a full JID: a resourcepart.
    public var isFull: Bool { resourcepart != nil }

    /// Whether this is a domain and nothing more.
    public var isDomain: Bool { localpart == nil && resourcepart == nil }

    /// The same address with this resourcepart, enforced.
    public func with(resource: String) throws(JIDError) -> JID {
        JID(unchecked: localpart, domainpart: domainpart, resourcepart: try JIDParts.resourcepart(resource))
    }

    /// The domainpart as DNS, TLS and SRV want it: A-labels in ASCII. RFC 5890 §2.3.2.1.
    public var asciiDomain: String { Domainpart.ascii(domainpart) ?? domainpart }
}

extension JID: Hashable {
    /// Hashes bytes. The parts are in Form C, for which equal strings have equal bytes.
    public func hash(into hasher: inout Hasher) {
        JID.hash(localpart, into: &hasher)
        JID.hash(domainpart, into: &hasher)
        JID.hash(resourcepart, into: &hasher)
    }

    private static func hash(_ part: String?, into hasher: inout Hasher) {
        if var part { part.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) } }
        // No part contains this byte, so that parts cannot run into each other.
        hasher.combine(0xFF as UInt8)
    }
}

extension JID: LosslessStringConvertible, CustomStringConvertible {
    public var description: String {
        if isDomain { return domainpart }
        var text = ""
        text.reserveCapacity(utf8Count)
        if let localpart {
            text += localpart
            text += "@"
        }
        text += domainpart
        if let resourcepart {
            text += "/"
            text += resourcepart
        }
        return text
    }

    /// The length of the address in bytes of UTF-8.
    public var utf8Count: Int {
        (localpart.map { $0.utf8.count + 1 } ?? 0) + domainpart.utf8.count
            + (resourcepart.map { $0.utf8.count + 1 } ?? 0)
    }

    /// Appends the address in UTF-8.
    public func append(to bytes: inout [UInt8]) {
        if let localpart {
            bytes.append(contentsOf: localpart.utf8)
            bytes.append(UInt8(ascii: "@"))
        }
        bytes.append(contentsOf: domainpart.utf8)
        if let resourcepart {
            bytes.append(UInt8(ascii: "/"))
            bytes.append(contentsOf: resourcepart.utf8)
        }
    }
}

extension JID: Codable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        do {
            self = try JID.parse(container.decode(String.self))
        } catch let error as JIDError {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: error.description)
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}
