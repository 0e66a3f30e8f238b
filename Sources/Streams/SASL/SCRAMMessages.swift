import XMPP

/// The text `attribute=value,attribute=value` that SCRAM messages are made of. RFC 5802 §7.
struct SCRAMAttribute {
    let name: UInt8
    let value: ArraySlice<UInt8>

    /// Reads a list of attributes, of which values and names obey `attr-val`. Nil where they do not.
    static func list(_ bytes: ArraySlice<UInt8>) -> [SCRAMAttribute]? {
        var attributes: [SCRAMAttribute] = []
        for field in bytes.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false) {
            guard field.count > 2, let name = field.first, name.isLetter,
                field[field.startIndex + 1] == UInt8(ascii: "="), !field.contains(0)
            else { return nil }
            attributes.append(SCRAMAttribute(name: name, value: field.dropFirst(2)))
        }
        return attributes
    }

    /// Whether nothing but optional extensions, which are ignored, stands here. The letters RFC 5802 §5.1 assigns have
    /// their places, and this is none of them.
    static func areExtensions(_ attributes: ArraySlice<SCRAMAttribute>) -> Bool {
        let assigned = Array("anmrcsipve".utf8)
        return attributes.allSatisfy { !assigned.contains($0.name) }
    }

    func `is`(_ name: Unicode.Scalar) -> Bool { self.name == UInt8(ascii: name) }

    /// The value of a base 64 attribute.
    var base64: [UInt8]? { Base64.decode(String(decoding: value, as: UTF8.self)) }

    /// A `saslname`, in which ',' and '=' are escaped. RFC 5802 §5.1: any other '=' must fail.
    static func name(_ value: ArraySlice<UInt8>) -> String? {
        var bytes: [UInt8] = []
        var rest = value
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "=") else {
                bytes.append(byte)
                continue
            }
            switch (rest.popFirst(), rest.popFirst()) {
            case (UInt8(ascii: "2"), UInt8(ascii: "C")): bytes.append(UInt8(ascii: ","))
            case (UInt8(ascii: "3"), UInt8(ascii: "D")): bytes.append(UInt8(ascii: "="))
            default: return nil
            }
        }
        return bytes.isEmpty || bytes.contains(0) ? nil : String(validating: bytes, as: UTF8.self)
    }

    /// The opposite of ``name(_:)``.
    static func escape(_ name: String) -> String {
        var escaped = ""
        for character in name.unicodeScalars {
            switch character {
            case ",": escaped += "=2C"
            case "=": escaped += "=3D"
            default: escaped.unicodeScalars.append(character)
            }
        }
        return escaped
    }

    /// Whether these bytes may be a nonce: printable ASCII without a comma.
    static func isNonce(_ value: ArraySlice<UInt8>) -> Bool {
        !value.isEmpty && value.allSatisfy { (0x21...0x7E).contains($0) && $0 != UInt8(ascii: ",") }
    }

    /// A nonce of 144 random bits.
    static func makeNonce() -> String { Base64.encode(Digest.randomBytes(18)) }
}

extension UInt8 {
    fileprivate var isLetter: Bool { (0x41...0x5A).contains(self) || (0x61...0x7A).contains(self) }
}

/// The client's first message: `n,,n=user,r=nonce`. RFC 5802 §5, §7.
struct SCRAMClientFirst: Sendable {
    /// What the client says about channel binding. RFC 5802 §6.
    enum Flag: Sendable, Hashable {
        /// `n`: it supports none.
        case unsupported
        /// `y`: it does, and believes the server does not.
        case notOffered
        /// `p`: it uses this type.
        case used(String)
    }

    let flag: Flag
    let authzid: String?
    let username: String
    let nonce: [UInt8]
    /// From the flag to the second comma, as received.
    let gs2Header: [UInt8]
    /// All that follows.
    let bare: [UInt8]

    init(_ message: [UInt8]) throws(SASLFailure) {
        guard String(validating: message, as: UTF8.self) != nil else {
            throw SASLFailure.malformedRequest("The message is not UTF-8.")
        }
        let comma = UInt8(ascii: ",")
        let parts = message.split(separator: comma, maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 3 else { throw SASLFailure.malformedRequest }
        flag = try Self.flag(parts[0])
        authzid = try Self.authzid(parts[1])
        gs2Header = Array(message[..<parts[2].startIndex])
        bare = Array(parts[2])

        guard let attributes = SCRAMAttribute.list(parts[2]) else { throw SASLFailure.malformedRequest }
        // RFC 5802 §5.1: a mandatory extension that is not understood fails the authentication.
        guard !attributes.contains(where: { $0.is("m") }) else {
            throw SASLFailure.malformedRequest("Mandatory extensions are not supported.")
        }
        guard attributes.count >= 2, attributes[0].is("n"), attributes[1].is("r"),
            SCRAMAttribute.areExtensions(attributes[2...]), SCRAMAttribute.isNonce(attributes[1].value),
            let username = SCRAMAttribute.name(attributes[0].value)
        else { throw SASLFailure.malformedRequest }
        self.username = username
        nonce = Array(attributes[1].value)
    }

    private static func flag(_ field: ArraySlice<UInt8>) throws(SASLFailure) -> Flag {
        switch String(decoding: field, as: UTF8.self) {
        case "n": return .unsupported
        case "y": return .notOffered
        case let text where text.hasPrefix("p="):
            let name = field.dropFirst(2)
            let isName = name.allSatisfy {
                $0.isLetter || (0x30...0x39).contains($0) || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-")
            }
            guard isName, !name.isEmpty else { throw SASLFailure.malformedRequest }
            return .used(String(decoding: name, as: UTF8.self))
        default: throw SASLFailure.malformedRequest
        }
    }

    private static func authzid(_ field: ArraySlice<UInt8>) throws(SASLFailure) -> String? {
        if field.isEmpty { return nil }
        guard field.starts(with: Array("a=".utf8)), let authzid = SCRAMAttribute.name(field.dropFirst(2)) else {
            throw SASLFailure.malformedRequest
        }
        return authzid
    }
}

/// The client's last message: `c=biws,r=nonce,p=proof`. RFC 5802 §5, §7.
struct SCRAMClientFinal {
    /// The GS2 header and the channel binding data, decoded.
    let channelBinding: [UInt8]
    let nonce: [UInt8]
    let proof: [UInt8]
    let withoutProof: [UInt8]

    init(_ message: [UInt8]) throws(SASLFailure) {
        guard String(validating: message, as: UTF8.self) != nil else {
            throw SASLFailure.malformedRequest("The message is not UTF-8.")
        }
        guard let attributes = SCRAMAttribute.list(message[...]), attributes.count >= 3,
            let last = attributes.last, attributes[0].is("c"), attributes[1].is("r"), last.is("p"),
            SCRAMAttribute.areExtensions(attributes[2..<(attributes.count - 1)]),
            let channelBinding = attributes[0].base64, let proof = last.base64
        else { throw SASLFailure.malformedRequest }
        self.channelBinding = channelBinding
        self.proof = proof
        nonce = Array(attributes[1].value)
        // The proof's value begins after ",p=".
        withoutProof = Array(message[..<(last.value.startIndex - 3)])
    }
}
