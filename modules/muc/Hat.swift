import ServerKit

/// A hat: something that somebody is in a room, beyond roles and affiliations. XEP-0317 §3.1.
struct Hat: Codable, Sendable, Equatable {
    /// What identifies it.
    let uri: String
    /// Its name for people.
    var title: String
    /// The angle of its colour, in degrees.
    var hue: String?

    /// - Throws: `.notAcceptable` for what is no URI, no title or no angle, naming the field.
    init(uri: String, title: String, hue: String?) throws(StanzaError) {
        guard Self.isURI(uri) else { throw DataFormProblem("hats#uri", "is no URI").stanzaError }
        guard !title.isEmpty, title.count <= 100 else {
            throw DataFormProblem("hats#title", "is no title of at most 100 characters").stanzaError
        }
        if let hue, !Self.isAngle(hue) { throw DataFormProblem("hats#hue", "is no angle from 0 to 360").stanzaError }
        self.uri = uri
        self.title = title
        self.hue = hue
    }

    /// RFC 3986 §3: a scheme, and no spaces or controls.
    private static func isURI(_ text: String) -> Bool {
        guard text.utf8.count <= 1_000, let colon = text.utf8.firstIndex(of: UInt8(ascii: ":")) else { return false }
        let scheme = text.utf8[..<colon]
        guard let first = scheme.first, isLetter(first), text.utf8.index(after: colon) < text.utf8.endIndex else {
            return false
        }
        return scheme.allSatisfy { byte in
            isLetter(byte) || UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte
                || [UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: ".")].contains(byte)
        }
            && text.unicodeScalars.allSatisfy {
                $0.value > 0x20 && !(0x7F...0x9F ~= $0.value) && !$0.properties.isWhitespace
            }
    }

    private static func isLetter(_ byte: UInt8) -> Bool { UInt8(ascii: "a")...UInt8(ascii: "z") ~= byte | 0x20 }

    private static func isAngle(_ text: String) -> Bool {
        guard text.utf8.count <= 20, text.utf8.allSatisfy({ byte in byte == UInt8(ascii: ".") || 0x30...0x39 ~= byte })
        else { return false }
        return Double(text).map { 0...360 ~= $0 } ?? false
    }

    var element: Element { Element("hat", .hats, ["title": title, "uri": uri, "hue": hue]) }
}

/// The hats of a room, and who wears them. XEP-0317 §3. It is stored with the room.
struct HatRack: Codable, Sendable, Equatable {
    /// In the order in which they were made.
    private(set) var hats: [Hat] = []
    /// The URIs of their hats, by bare JID, in the order in which they got them.
    private(set) var wearers: [String: [String]] = [:]

    var isEmpty: Bool { hats.isEmpty }

    func hat(_ uri: String) -> Hat? { hats.first { $0.uri == uri } }

    /// The hats that somebody wears.
    func hats(of jid: JID) -> [Hat] {
        guard !wearers.isEmpty, let uris = wearers[jid.description] else { return [] }
        return uris.compactMap(hat)
    }

    /// Who wears a hat.
    func wearers(of uri: String) -> [String] { wearers.filter { $0.value.contains(uri) }.keys.sorted() }

    /// How many hats are on heads.
    var wornCount: Int { wearers.values.reduce(0) { $0 + $1.count } }

    /// Makes a hat, or changes the one with this URI. XEP-0317 §3.2.
    mutating func put(_ hat: Hat) {
        if let index = hats.firstIndex(where: { $0.uri == hat.uri }) { hats[index] = hat } else { hats.append(hat) }
    }

    /// Destroys a hat; nobody wears it any more. XEP-0317 §3.3.
    mutating func destroy(_ uri: String) {
        hats.removeAll { $0.uri == uri }
        for jid in wearers.keys { take(uri, from: jid) }
    }

    /// Gives somebody a hat. XEP-0317 §3.5.
    ///
    /// - Returns: false when it has it already.
    mutating func give(_ uri: String, to jid: JID) -> Bool {
        let key = jid.description
        guard wearers[key]?.contains(uri) != true else { return false }
        wearers[key, default: []].append(uri)
        return true
    }

    /// Takes a hat from somebody. XEP-0317 §3.6.
    ///
    /// - Returns: false when it did not wear it.
    mutating func take(_ uri: String, from jid: JID) -> Bool { take(uri, from: jid.description) }

    @discardableResult
    private mutating func take(_ uri: String, from key: String) -> Bool {
        guard let worn = wearers[key], worn.contains(uri) else { return false }
        let rest = worn.filter { $0 != uri }
        wearers[key] = rest.isEmpty ? nil : rest
        return true
    }

    /// What tells that the list has changed. XEP-0317 §2 leaves open how it is made.
    var hash: String {
        let text = hats.sorted { $0.uri < $1.uri }.map { "\($0.uri)\u{0}\($0.title)\u{0}\($0.hue ?? "")" }
        return Hex.encode(Digest.hash(.sha1, Array(text.joined(separator: "\u{1}").utf8)))
    }
}

extension Room {
    /// The hats of an occupant, for its presence. XEP-0317 §3.1.
    func hatsElement(of occupant: Occupant) -> Element? {
        guard let hats = record.hats?.hats(of: occupant.bareJID), !hats.isEmpty else { return nil }
        return Element("hats", .hats) { hats.map(\.element) }
    }

    /// Changes hats, stores them, and shows everybody who wears others now.
    func changeHats(_ body: (inout HatRack) throws(StanzaError) -> Void) throws(StanzaError) {
        let old = record.hats ?? HatRack()
        var new = old
        try body(&new)
        guard new != old else { return }
        change { $0.hats = new.isEmpty ? nil : new }
        for occupant in occupants where old.hats(of: occupant.bareJID) != new.hats(of: occupant.bareJID) {
            occupant.forgetPresence()
            announce(occupant)
        }
        // XEP-0317 §3.2: the list is a part of the room's configuration.
        guard old.hats != new.hats else { return }
        distribute(
            Message(from: jid, id: service.makeID(), kind: .groupchat) {
                Element("x", .mucUser) { Status.configurationChanged.element }
            })
    }
}

extension Namespace {
    static let hats: Namespace = "urn:xmpp:hats:0"
    /// COMPAT clients that know what Prosody had before XEP-0317 was taken up again.
    static let olderHats: Namespace = "xmpp:prosody.im/protocol/hats:1"
}
