import ServerKit

/// What a `<c/>` in presence says: where the capabilities of its sender can be asked for, and their hash. XEP-0115 §4.
struct CapsClaim: Hashable, Codable, Sendable {
    /// Capabilities by what proves them; the software's name is no part of that.
    struct Key: Hashable, Sendable {
        let hash: String
        let ver: String
    }

    let node: String
    let hash: String
    let ver: String

    /// Longer ones are nobody's.
    private static let longest = 1_024

    /// Reads the capabilities in presence; nil when there are none that count. XEP-0115 §13: without a hash they are
    /// in the legacy format, and what they stand for cannot be verified.
    init?(_ presence: Presence) {
        guard let element = presence.payload.child("c", .caps), let node = element["node"], let hash = element["hash"],
            let ver = element["ver"], !ver.isEmpty, node.utf8.count + hash.utf8.count + ver.utf8.count < Self.longest
        else { return nil }
        self.node = node
        self.hash = hash
        self.ver = ver
    }

    var key: Key { Key(hash: hash, ver: ver) }

    /// The node to ask about. XEP-0115 §6.2.
    var discoNode: String { "\(node)#\(ver)" }

    /// The hash function; nil for one that is not known here. XEP-0115 §5.4 step 2.
    private var algorithm: Digest.Algorithm? {
        switch hash {
        case "sha-1": .sha1
        case "sha-256": .sha256
        case "sha-512": .sha512
        default: nil
        }
    }

    /// What an answer is worth.
    enum Verdict: Sendable, Equatable {
        /// It is what the hash stands for, whoever claims it.
        case proven(DiscoInfo)
        /// It holds for the one who gave it and for nobody else.
        case claimed(DiscoInfo)
        /// It is no answer at all.
        case illFormed
    }

    /// Compares an answer with the hash. XEP-0115 §5.4 step 3.
    func verdict(on query: Element) -> Verdict {
        guard let info = try? DiscoInfo(query), info.isWellFormed(query) else { return .illFormed }
        guard let algorithm, info.isUnambiguous, info.verificationString(algorithm) == ver else {
            // XEP-0115 §5.4 step 3.9 calls it invalid. It is still what this client says of itself, and some cannot
            // count; as with unknown hash functions (step 2.3) it holds for its JID only.
            return .claimed(info)
        }
        return .proven(info)
    }
}

extension DiscoInfo {
    /// XEP-0115 §5.4 steps 3.3 to 3.5.
    fileprivate func isWellFormed(_ query: Element) -> Bool {
        guard Set(identities).count == identities.count, Set(features).count == features.count else { return false }
        let types = forms.compactMap(\.formType)
        guard Set(types).count == types.count else { return false }
        return forms.allSatisfy { form in
            guard form.formType != nil, let field = form["FORM_TYPE"] else { return true }
            return Set(field.values).count <= 1
        }
    }

    /// Whether nothing else has the same verification string. Its parts are not kept apart well: a feature "a<b" looks
    /// like two, and the last features, taken for a form, would be hidden from all who believe it (XEP-0115 §9.3).
    /// Those who really have such features answer for themselves.
    fileprivate var isUnambiguous: Bool {
        let identitiesAreClear = identities.allSatisfy { identity in
            let parts = [identity.category, identity.type, identity.language ?? ""]
            // A feature such as `http://…` can be cut into the parts of an identity, its end into the name.
            let isNoFeature = !identity.category.isEmpty && !identity.category.contains(":") && !identity.type.isEmpty
            return isNoFeature && parts.allSatisfy { !$0.contains { "/<".contains($0) } }
                && !(identity.name ?? "").contains("<")
        }
        guard identitiesAreClear, features.allSatisfy({ !$0.uri.contains("<") }) else { return false }
        return forms.allSatisfy { form in
            guard let type = form.formType else { return true }
            let fields = form.fields.filter { $0.name != "FORM_TYPE" }
            return !type.contains("<") && !fields.isEmpty
                && fields.allSatisfy { field in
                    let name = field.name ?? ":"
                    return !name.contains { ":<".contains($0) } && !field.values.isEmpty
                        && field.values.allSatisfy { !$0.contains("<") }
                }
        }
    }
}
