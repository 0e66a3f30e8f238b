import XMPP

/// Which mechanisms a host wants to offer at all.
public struct SASLPolicy: Hashable, Sendable {
    /// Whether the host lets in whoever comes, without credentials. ANONYMOUS follows this alone, since it must never
    /// come to be offered by default. XEP-0175 §3.
    public var isAnonymous: Bool
    /// Whether anybody has credentials.
    public var hasCredentials: Bool
    /// What the administrator left enabled of the mechanisms that take credentials.
    public var enabled: Set<SASLMechanism>

    /// Everything but PLAIN, which a server that can do SCRAM should not offer unless its users' clients need it.
    /// RFC 6120 §13.8.3.
    public static let recommended = Set(SASLMechanism.byPreference).subtracting([.plain])

    /// - Parameter hasCredentials: nil for the opposite of `isAnonymous`: accounts, or anonymous users and nobody else.
    public init(
        isAnonymous: Bool = false, hasCredentials: Bool? = nil, enabled: Set<SASLMechanism> = recommended
    ) {
        self.isAnonymous = isAnonymous
        self.hasCredentials = hasCredentials ?? !isAnonymous
        self.enabled = enabled
    }

    fileprivate func allows(_ mechanism: SASLMechanism) -> Bool {
        switch mechanism {
        case .anonymous: isAnonymous
        case .scram, .plain, .external: hasCredentials && enabled.contains(mechanism)
        }
    }
}

/// The mechanisms offered on one stream, which are the only ones accepted on it.
public struct SASLMechanismList: Hashable, Sendable {
    /// The mechanisms, the best first. RFC 6120 §6.4.1.
    public let mechanisms: [SASLMechanism]
    /// The types to announce beside them, the best first; empty if no mechanism offered binds the channel, because a
    /// client has to take types without mechanisms for an attack. XEP-0440 §3.
    public let channelBindingTypes: [ChannelBindingType]
    /// What would be offered if the stream were protected.
    private let withheld: Set<SASLMechanism>

    /// - Parameters:
    ///   - hasTLS: Whether the stream is protected.
    ///   - channelBindingTypes: What the TLS connection can tell about itself.
    ///   - hasCertificate: Whether the peer proved an address with a certificate. RFC 6120 §6.3.4.
    public init(
        _ policy: SASLPolicy, hasTLS: Bool, channelBindingTypes: [ChannelBindingType] = [],
        hasCertificate: Bool = false
    ) {
        var offered: [SASLMechanism] = []
        var withheld: Set<SASLMechanism> = []
        for mechanism in SASLMechanism.byPreference where policy.allows(mechanism) {
            if mechanism == .external && !(hasTLS && hasCertificate) { continue }
            if mechanism.bindsChannel && !(hasTLS && !channelBindingTypes.isEmpty) { continue }
            // RFC 6120 §13.8.3: PLAIN must not be offered without TLS.
            if mechanism.needsConfidentiality && !hasTLS {
                withheld.insert(mechanism)
            } else {
                offered.append(mechanism)
            }
        }
        mechanisms = offered
        self.withheld = withheld
        let binds = offered.contains { $0.bindsChannel }
        self.channelBindingTypes = binds ? ChannelBindingType.allCases.filter(channelBindingTypes.contains) : []
    }

    /// Whether any mechanism offered binds the channel.
    public var offersChannelBinding: Bool { !channelBindingTypes.isEmpty }

    /// A hash over what is offered, by which a client that got the list unchanged knows so. XEP-0474 §6.1.
    func downgradeProtection(_ hash: SCRAMHash) -> String {
        let names = mechanisms.map(\.name).sorted().joined(separator: "\u{1E}")
        let types = channelBindingTypes.map(\.rawValue).sorted().joined(separator: "\u{1E}")
        let text = types.isEmpty ? names : "\(names)\u{1F}\(types)"
        return Base64.encode(Digest.hash(hash.algorithm, Array(text.utf8)))
    }

    /// The mechanism a client asked for by name.
    ///
    /// - Throws: invalid-mechanism for anything not offered, though we may implement it; encryption-required where
    ///   only TLS is missing.
    public func select(_ name: String) throws(SASLFailure) -> SASLMechanism {
        guard let mechanism = SASLMechanism(name: name) else { throw SASLFailure.invalidMechanism }
        if withheld.contains(mechanism) { throw SASLFailure.encryptionRequired }
        guard mechanisms.contains(mechanism) else { throw SASLFailure.invalidMechanism }
        return mechanism
    }
}
