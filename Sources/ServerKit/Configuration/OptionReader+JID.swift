import XMPP

/// Options that are XMPP addresses.
extension OptionReader {
    private static var noun: String { "an address such as anna@example.org" }

    /// An address.
    public mutating func jid(_ key: String, default value: JID, _ sentence: String) -> JID {
        parsed(key, default: value, as: Self.noun, sentence) { JID($0) }
    }

    /// An address, nil when it was not written.
    public mutating func optionalJID(_ key: String, _ sentence: String) -> JID? {
        optionalParsed(key, as: Self.noun, sentence) { JID($0) }
    }

    /// A list of addresses, or one.
    public mutating func jids(_ key: String, default values: [JID] = [], _ sentence: String) -> [JID] {
        parsedList(key, default: values, as: Self.noun, sentence) { JID($0) }
    }
}
