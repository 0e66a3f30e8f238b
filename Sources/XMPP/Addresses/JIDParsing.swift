extension JID {
    /// Reads an address, or nil if it is none.
    public init?(_ string: String) {
        guard let jid = try? JID.parse(string) else { return nil }
        self = jid
    }

    /// Reads an address from UTF-8, or nil if it is none.
    public init?(utf8: UnsafeBufferPointer<UInt8>) {
        guard let jid = try? JID.parse(utf8: utf8) else { return nil }
        self = jid
    }

    /// Reads an address and says what is wrong with it.
    public static func parse(_ string: String) throws(JIDError) -> JID {
        try string.withBytes { bytes throws(JIDError) in try parse(utf8: bytes) }
    }

    /// Reads an address from UTF-8 and says what is wrong with it.
    public static func parse(utf8 bytes: UnsafeBufferPointer<UInt8>) throws(JIDError) -> JID {
        // The first slash ends the domainpart, and only then does the first at-sign start it. RFC 7622 §3.2.
        let slash = bytes.firstIndex(of: UInt8(ascii: "/"))
        let address = UnsafeBufferPointer(rebasing: bytes[..<(slash ?? bytes.endIndex)])
        let at = address.firstIndex(of: UInt8(ascii: "@"))
        var localpart: String?
        var resourcepart: String?
        if let at { localpart = try JIDParts.localpart(UnsafeBufferPointer(rebasing: address[..<at])) }
        let domain = UnsafeBufferPointer(rebasing: address[(at.map { $0 + 1 } ?? 0)...])
        let domainpart = try JIDParts.domainpart(domain)
        if let slash { resourcepart = try JIDParts.resourcepart(UnsafeBufferPointer(rebasing: bytes[(slash + 1)...])) }
        return JID(unchecked: localpart, domainpart: domainpart, resourcepart: resourcepart)
    }
}

/// Enforces the rules for each part of an address: straight from the bytes when they are ASCII, through PRECIS and IDNA
/// when they are not.
enum JIDParts {
    /// RFC 7622 §3.1: after all mapping, in bytes.
    static let maximumLength = 1023
    /// No mapping makes a string four times shorter, so that longer input is known to be too long without mapping it.
    private static let maximumInput = 4 * maximumLength

    static func localpart(_ string: String) throws(JIDError) -> String {
        try string.withBytes { bytes throws(JIDError) in try localpart(bytes) }
    }

    static func domainpart(_ string: String) throws(JIDError) -> String {
        try string.withBytes { bytes throws(JIDError) in try domainpart(bytes) }
    }

    static func resourcepart(_ string: String) throws(JIDError) -> String {
        try string.withBytes { bytes throws(JIDError) in try resourcepart(bytes) }
    }

    static func localpart(_ bytes: UnsafeBufferPointer<UInt8>) throws(JIDError) -> String {
        try checkLength(bytes, of: .localpart)
        var hasUppercase = false
        for byte in bytes {
            if byte >= 0x80 { return try internationalLocalpart(bytes) }
            guard isAllowedInLocalpart(byte) else { throw .disallowed(.localpart) }
            hasUppercase = hasUppercase || (0x41...0x5A).contains(byte)
        }
        guard bytes.count <= maximumLength else { throw .tooLong(.localpart) }
        return String(ascii: bytes, lowercasing: hasUppercase)
    }

    static func domainpart(_ bytes: UnsafeBufferPointer<UInt8>) throws(JIDError) -> String {
        try checkLength(bytes, of: .domainpart)
        return try Domainpart.normalized(bytes)
    }

    static func resourcepart(_ bytes: UnsafeBufferPointer<UInt8>) throws(JIDError) -> String {
        try checkLength(bytes, of: .resourcepart)
        for byte in bytes {
            if byte >= 0x80 { return try internationalResourcepart(bytes) }
            guard (0x20...0x7E).contains(byte) else { throw .disallowed(.resourcepart) }
        }
        guard bytes.count <= maximumLength else { throw .tooLong(.resourcepart) }
        return String(ascii: bytes, lowercasing: false)
    }

    private static func checkLength(_ bytes: UnsafeBufferPointer<UInt8>, of part: JID.Part) throws(JIDError) {
        guard !bytes.isEmpty else { throw .empty(part) }
        guard bytes.count <= maximumInput else { throw .tooLong(part) }
    }

    private static func internationalLocalpart(_ bytes: UnsafeBufferPointer<UInt8>) throws(JIDError) -> String {
        guard let string = String(validating: bytes, as: UTF8.self) else { throw .notUTF8 }
        guard let localpart = try? PRECIS.usernameCaseMapped(string) else { throw .disallowed(.localpart) }
        // After mapping: the fullwidth forms of the excluded characters become those characters.
        for byte in localpart.utf8 where byte < 0x80 {
            guard isAllowedInLocalpart(byte) else { throw .disallowed(.localpart) }
        }
        guard localpart.utf8.count <= maximumLength else { throw .tooLong(.localpart) }
        return localpart
    }

    private static func internationalResourcepart(_ bytes: UnsafeBufferPointer<UInt8>) throws(JIDError) -> String {
        guard let string = String(validating: bytes, as: UTF8.self) else { throw .notUTF8 }
        guard let resourcepart = try? PRECIS.opaqueString(string) else { throw .disallowed(.resourcepart) }
        guard resourcepart.utf8.count <= maximumLength else { throw .tooLong(.resourcepart) }
        return resourcepart
    }

    /// ASCII7 (RFC 8264 §9.11) without the characters that RFC 7622 §3.3.1 excludes.
    private static func isAllowedInLocalpart(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "&"), UInt8(ascii: "'"), UInt8(ascii: "/"), UInt8(ascii: ":"),
            UInt8(ascii: "<"), UInt8(ascii: ">"), UInt8(ascii: "@"):
            false
        case 0x21...0x7E:
            true
        default:
            false
        }
    }
}

extension String {
    /// Makes a string of bytes that are known to be ASCII.
    init(ascii bytes: UnsafeBufferPointer<UInt8>, lowercasing: Bool) {
        self.init(unsafeUninitializedCapacity: bytes.count) { target in
            guard lowercasing else { return target.initialize(fromContentsOf: bytes) }
            for (index, byte) in bytes.enumerated() {
                target.initializeElement(at: index, to: (0x41...0x5A).contains(byte) ? byte | 0x20 : byte)
            }
            return bytes.count
        }
    }

    /// `withUTF8` with a typed error.
    func withBytes<Result, Failure: Error>(
        _ body: (UnsafeBufferPointer<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        var copy = self
        return try copy.withUTF8 { bytes in
            Swift.Result { () throws(Failure) -> Result in try body(bytes) }
        }.get()
    }
}
