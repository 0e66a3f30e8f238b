import ServerKit

/// An avatar's image: what its bytes say about it.
struct AvatarImage: Sendable {
    let bytes: [UInt8]
    /// The hash that names it, in lower-case hexadecimal digits. XEP-0084 §3.1, XEP-0153 §3.1.
    let id: String
    let type: String
    let size: (width: Int, height: Int)?

    /// An image of at least one byte whose type is known from its bytes, or else from what its owner says.
    ///
    /// - Parameter claimed: the type it is said to have; the bytes know better. XEP-0153 §5.
    init?(_ bytes: [UInt8], claimed: String?) {
        guard !bytes.isEmpty, let type = Self.type(bytes) ?? claimed.flatMap(Self.imageType) else { return nil }
        self.bytes = bytes
        self.type = type
        id = Hex.encode(Digest.sha1(bytes))
        size = Self.size(bytes, type)
    }

    /// Reads Base64 with whatever whitespace is in it. XEP-0153 §4.6, XEP-0084 §4.1.
    static func decode(_ text: String) -> [UInt8]? {
        let solid = text.utf8.filter { $0 != 0x20 && $0 != 0x0A && $0 != 0x0D && $0 != 0x09 }
        return Base64.decode(String(decoding: solid, as: UTF8.self))
    }

    private static func imageType(_ claimed: String) -> String? {
        let type = claimed.trimmedXMLSpace.lowercased()
        return type.hasPrefix("image/") && type.utf8.count < 100 ? type : nil
    }

    private static func type(_ bytes: [UInt8]) -> String? {
        if bytes.starts(with: [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]) { return "image/png" }
        if bytes.starts(with: [0xFF, 0xD8, 0xFF]) { return "image/jpeg" }
        if bytes.starts(with: "GIF8".utf8) { return "image/gif" }
        if bytes.starts(with: "RIFF".utf8), bytes.dropFirst(8).starts(with: "WEBP".utf8) { return "image/webp" }
        return nil
    }

    /// The size, where it stands in a fixed place.
    private static func size(_ bytes: [UInt8], _ type: String) -> (width: Int, height: Int)? {
        switch type {
        case "image/png" where bytes.count >= 24:
            let number = { (at: Int) in bytes[at..<at + 4].reduce(0) { $0 << 8 | Int($1) } }
            return (number(16), number(20))
        case "image/gif" where bytes.count >= 10:
            return (Int(bytes[6]) | Int(bytes[7]) << 8, Int(bytes[8]) | Int(bytes[9]) << 8)
        default: return nil
        }
    }

    /// XEP-0084 §4.2.1.
    var metadata: Element {
        Element("metadata", .avatarMetadata) {
            Element(
                "info", nil,
                [
                    "bytes": String(bytes.count), "id": id, "type": type, "width": size.map { String($0.width) },
                    "height": size.map { String($0.height) },
                ])
        }
    }

    /// XEP-0084 §4.1.
    var data: Element { Element("data", .avatarData, text: Base64.encode(bytes)) }

    /// XEP-0153 §4.5.
    var photo: Element {
        Element("PHOTO", .vCard) {
            Element("TYPE", text: type)
            Element("BINVAL", text: Base64.encode(bytes))
        }
    }
}

extension Namespace {
    /// XEP-0084 §4.
    static let avatarData: Namespace = "urn:xmpp:avatar:data"
    static let avatarMetadata: Namespace = "urn:xmpp:avatar:metadata"
    /// XEP-0153 §3.1.
    static let avatarUpdate: Namespace = "vcard-temp:x:update"
    /// XEP-0398 §2.
    static let avatarConversion: Namespace = "urn:xmpp:pep-vcard-conversion:0"
}
