import ServerKit

/// Cards of vcard-temp (XEP-0054) as vCard 4 (RFC 6351) and back, as far as one has a place for what the other says.
/// XEP-0292 §11.
enum CardConversion {
    /// What becomes of a property: its text under another name.
    private struct Property {
        let old: String
        let new: String
        /// The element that holds the value: `text`, `uri`, `date` …
        let value: String
        /// Whether it is read into vcard-temp, where another property has the same name.
        var isReadBack = true
    }

    /// XEP-0292 §11.4; DESC becomes a note (§11.1.1).
    private static let simple = [
        Property(old: "FN", new: "fn", value: "text"),
        Property(old: "NICKNAME", new: "nickname", value: "text"),
        Property(old: "BDAY", new: "bday", value: "date"),
        Property(old: "TITLE", new: "title", value: "text"),
        Property(old: "ROLE", new: "role", value: "text"),
        Property(old: "URL", new: "url", value: "uri"),
        Property(old: "TZ", new: "tz", value: "text"),
        Property(old: "UID", new: "uid", value: "text"),
        Property(old: "REV", new: "rev", value: "timestamp"),
        Property(old: "PRODID", new: "prodid", value: "text"),
        Property(old: "NOTE", new: "note", value: "text"),
        Property(old: "DESC", new: "note", value: "text", isReadBack: false),
    ]

    private static let nameParts = [
        ("FAMILY", "surname"), ("GIVEN", "given"), ("MIDDLE", "additional"), ("PREFIX", "prefix"), ("SUFFIX", "suffix"),
    ]

    private static let addressParts = [
        ("POBOX", "pobox"), ("EXTADD", "ext"), ("STREET", "street"), ("LOCALITY", "locality"), ("REGION", "region"),
        ("PCODE", "code"), ("CTRY", "country"),
    ]

    /// The kinds of number and address that both know. XEP-0292 §11.3.5.
    private static let kinds = [
        ("HOME", "home"), ("WORK", "work"), ("VOICE", "voice"), ("FAX", "fax"), ("PAGER", "pager"), ("CELL", "cell"),
        ("VIDEO", "video"), ("TEXT", "text"),
    ]

    /// The properties of vcard-temp that are replaced by what a vCard 4 says; the others have no counterpart, and stay.
    private static let replaced =
        Set(simple.map(\.old) + ["N", "ADR", "TEL", "EMAIL", "JABBERID", "GEO", "ORG", "CATEGORIES"])

    // MARK: To vCard 4

    static func vCard4(_ card: Element) -> Element {
        Element("vcard", .vCard4) {
            for property in simple {
                for text in card.texts(property.old) {
                    Element(property.new) { Element(property.value, text: text) }
                }
            }
            if let name = card.child("N", .vCard), name.hasChildren {
                Element("n") { parts(of: name, nameParts.map { ($0.0, $0.1) }) }
            }
            for address in card.children("ADR", .vCard) {
                Element("adr") {
                    parameters(of: address)
                    parts(of: address, addressParts.map { ($0.0, $0.1) })
                }
            }
            for number in card.children("TEL", .vCard) {
                if let text = number.value("NUMBER") {
                    Element("tel") {
                        parameters(of: number)
                        Element("uri", text: text.hasPrefix("tel:") ? text : "tel:" + text)
                    }
                }
            }
            for email in card.children("EMAIL", .vCard) {
                // Some clients write the address where its type belongs.
                if let text = email.value("USERID") ?? email.solidText {
                    Element("email") {
                        parameters(of: email)
                        Element("text", text: text)
                    }
                }
            }
            for text in card.texts("JABBERID") {
                Element("impp") { Element("uri", text: "xmpp:" + text) }
            }
            if let place = card.child("GEO", .vCard), let latitude = place.value("LAT"),
                let longitude = place.value("LON")
            {
                Element("geo") { Element("uri", text: "geo:\(latitude),\(longitude)") }
            }
            for organization in card.children("ORG", .vCard) {
                let texts = organization.texts("ORGNAME") + organization.texts("ORGUNIT")
                if !texts.isEmpty {
                    Element("org") { texts.map { Element("text", text: $0) } }
                }
            }
            if let categories = card.child("CATEGORIES", .vCard) {
                let texts = categories.texts("KEYWORD")
                if !texts.isEmpty {
                    Element("categories") { texts.map { Element("text", text: $0) } }
                }
            }
        }
    }

    private static func parts(of element: Element, _ names: [(from: String, to: String)]) -> [Element] {
        names.compactMap { name in element.value(name.from).map { Element(name.to, text: $0) } }
    }

    private static func parameters(of element: Element) -> Element? {
        let types = kinds.filter { element.has($0.0, .vCard) }.map(\.1)
        let isPreferred = element.has("PREF", .vCard)
        guard isPreferred || !types.isEmpty else { return nil }
        return Element("parameters") {
            if !types.isEmpty {
                Element("type") { types.map { Element("text", text: $0) } }
            }
            if isPreferred {
                Element("pref") { Element("integer", text: "1") }
            }
        }
    }

    // MARK: To vcard-temp

    /// - Parameter card: the vCard 4; nil for none at all.
    /// - Parameter before: the card that it changes.
    static func vCardTemp(_ card: Element?, changing before: Element?) -> Element? {
        let kept = (before?.children ?? []).filter { !($0.namespace == .vCard && replaced.contains($0.name)) }
        let new = Element("vCard", .vCard) {
            if let card {
                properties(of: card)
            }
            kept
        }
        return new.hasChildren ? new : nil
    }

    private static func properties(of card: Element) -> [Element] {
        var result: [Element] = []
        for property in simple where property.isReadBack {
            for element in card.children(property.new, .vCard4) {
                if let text = element.firstValue { result.append(Element(property.old, text: text)) }
            }
        }
        if let name = card.child("n", .vCard4), name.hasChildren {
            result.append(Element("N") { backParts(of: name, nameParts.map { ($0.1, $0.0) }) })
        }
        for address in card.children("adr", .vCard4) {
            result.append(
                Element("ADR") {
                    flags(of: address)
                    backParts(of: address, addressParts.map { ($0.1, $0.0) })
                })
        }
        for number in card.children("tel", .vCard4) {
            guard let text = number.firstValue else { continue }
            result.append(
                Element("TEL") {
                    flags(of: number)
                    Element("NUMBER", text: text.hasPrefix("tel:") ? String(text.dropFirst(4)) : text)
                })
        }
        for email in card.children("email", .vCard4) {
            guard let text = email.firstValue else { continue }
            result.append(
                Element("EMAIL") {
                    flags(of: email)
                    Element("INTERNET")
                    Element("USERID", text: text)
                })
        }
        return result + others(of: card)
    }

    private static func others(of card: Element) -> [Element] {
        var result: [Element] = []
        for address in card.children("impp", .vCard4) {
            guard let text = address.firstValue, text.hasPrefix("xmpp:") else { continue }
            result.append(Element("JABBERID", text: String(text.dropFirst(5))))
        }
        if let text = card.child("geo", .vCard4)?.firstValue, text.hasPrefix("geo:") {
            let numbers = (text.dropFirst(4).split(separator: ";").first ?? "").split(separator: ",")
            if numbers.count >= 2 {
                result.append(
                    Element("GEO") {
                        Element("LAT", text: String(numbers[0]))
                        Element("LON", text: String(numbers[1]))
                    })
            }
        }
        for organization in card.children("org", .vCard4) {
            let texts = organization.children("text", .vCard4).compactMap(\.solidText)
            guard let name = texts.first else { continue }
            result.append(
                Element("ORG") {
                    Element("ORGNAME", text: name)
                    texts.dropFirst().map { Element("ORGUNIT", text: $0) }
                })
        }
        let words = card.children("categories", .vCard4)
            .flatMap { $0.children("text", .vCard4).compactMap(\.solidText) }
        if !words.isEmpty {
            result.append(Element("CATEGORIES") { words.map { Element("KEYWORD", text: $0) } })
        }
        return result
    }

    private static func backParts(of element: Element, _ names: [(from: String, to: String)]) -> [Element] {
        names.compactMap { name in
            // vCard 4 has one element for each of several values.
            let texts = element.children(name.from, .vCard4).compactMap(\.solidText)
            return texts.isEmpty ? nil : Element(name.to, text: texts.joined(separator: ","))
        }
    }

    private static func flags(of element: Element) -> [Element] {
        guard let parameters = element.child("parameters", .vCard4) else { return [] }
        let types = Set(parameters.children("type", .vCard4).flatMap { $0.children.map(\.text) })
        let flags = kinds.filter { types.contains($0.1) && $0.0 != "TEXT" }.map { Element($0.0) }
        return flags + (parameters.has("pref", .vCard4) ? [Element("PREF")] : [])
    }
}

extension Element {
    /// The text, unless it is blank.
    fileprivate var solidText: String? {
        let text = self.text.trimmedXMLSpace
        return text.isEmpty ? nil : text
    }

    /// The text of a child of vcard-temp, unless it is blank.
    fileprivate func value(_ name: String) -> String? { child(name, .vCard)?.solidText }

    /// The texts of all children of vcard-temp with a name that are not blank.
    fileprivate func texts(_ name: String) -> [String] { children(name, .vCard).compactMap(\.solidText) }

    /// The value of a property of vCard 4, whatever its type.
    fileprivate var firstValue: String? {
        children.first { $0.namespace == .vCard4 && $0.name != "parameters" }?.solidText
    }
}

extension Namespace {
    /// RFC 6351 §4.
    static let vCard4: Namespace = "urn:ietf:params:xml:ns:vcard-4.0"
}
