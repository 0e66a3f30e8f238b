/// The content of a disco#info result. XEP-0030 §3.1, XEP-0128.
public struct DiscoInfo: Sendable, Hashable {
    public var identities: [DiscoRegistry.Identity]
    public var features: [Namespace]
    /// Extended information. XEP-0128.
    public var forms: [DataForm]

    public init(
        identities: [DiscoRegistry.Identity] = [], features: [Namespace] = [], forms: [DataForm] = []
    ) {
        self.identities = identities
        self.features = features
        self.forms = forms
    }

    /// Reads the `<query/>` of a result.
    ///
    /// - Throws: `.badRequest` when an identity or a feature lacks an attribute, or a form is malformed.
    public init(_ query: Element) throws(StanzaError) {
        self.init()
        for child in query.children {
            switch (child.name, child.namespace) {
            case ("identity", .discoInfo):
                guard let category = child["category"], let type = child["type"] else {
                    throw .badRequest("An identity has a category and a type.")
                }
                identities.append(.init(category, type, name: child["name"], language: child["xml:lang"]))
            case ("feature", .discoInfo):
                guard let feature = child["var"] else { throw .badRequest("A feature has a name.") }
                features.append(Namespace(feature))
            case ("x", .dataForms): forms.append(try DataForm(child))
            default: break
            }
        }
    }

    /// The children of `<query/>`.
    public var elements: [Element] {
        let identities = identities.map { identity in
            Element(
                "identity", .discoInfo,
                [
                    "category": identity.category, "type": identity.type, "name": identity.name,
                    "xml:lang": identity.language,
                ])
        }
        let features = features.map { Element("feature", .discoInfo, ["var": $0.uri]) }
        return identities + features + forms.map(\.element)
    }

    /// The verification string of entity capabilities, in Base64. XEP-0115 §5.1.
    public func verificationString(_ algorithm: Digest.Algorithm = .sha1) -> String {
        var text = ""
        // A zero byte, which XML cannot hold, sorts before everything and keeps the parts apart.
        let identities = identities.sortedByOctets {
            "\($0.category)\u{0}\($0.type)\u{0}\($0.language ?? "")\u{0}\($0.name ?? "")"
        }
        for identity in identities {
            text += "\(identity.category)/\(identity.type)/\(identity.language ?? "")/\(identity.name ?? "")<"
        }
        for feature in features.sortedByOctets(\.uri) { text += "\(feature.uri)<" }
        for form in forms.sortedByOctets({ $0.formType ?? "" }) {
            // XEP-0115 §5.4 step 3.6: a form without a hidden FORM_TYPE does not count.
            guard let formType = form.formType else { continue }
            text += "\(formType)<"
            for field in form.fields.sortedByOctets({ $0.name ?? "" }) where field.name != "FORM_TYPE" {
                text += "\(field.name ?? "")<"
                for value in field.values.sortedByOctets(\.self) { text += "\(value)<" }
            }
        }
        return Base64.encode(Digest.hash(algorithm, Array(text.utf8)))
    }
}

extension DiscoRegistry {
    /// What disco#info says about the host or its accounts.
    public func info(of subject: Subject) -> DiscoInfo {
        DiscoInfo(identities: identities(of: subject), features: features(of: subject), forms: forms(of: subject))
    }
}

extension Sequence {
    /// Sorted by the bytes of a key: the collation `i;octet`, RFC 4790 §9.3.
    fileprivate func sortedByOctets(_ key: (Element) -> String) -> [Element] {
        map { (key: Array(key($0).utf8), element: $0) }
            .sorted { $0.key.lexicographicallyPrecedes($1.key) }
            .map(\.element)
    }
}

extension Namespace {
    /// XEP-0030 §3.
    public static let discoInfo: Namespace = "http://jabber.org/protocol/disco#info"
    /// XEP-0030 §4.
    public static let discoItems: Namespace = "http://jabber.org/protocol/disco#items"
}
