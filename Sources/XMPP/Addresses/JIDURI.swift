extension JID {
    /// The address as a URI. RFC 5122 §2.2.
    public var uri: String {
        let allowed: (UInt8) -> Bool = { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"):
                true
            default: "-._~!$&'()*+,;=@:[]/".utf8.contains(byte)
            }
        }
        let digits = Array("0123456789ABCDEF".utf8)
        var bytes = Array("xmpp:".utf8)
        for byte in description.utf8 {
            if allowed(byte) {
                bytes.append(byte)
            } else {
                bytes += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
