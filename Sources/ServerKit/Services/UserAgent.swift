/// What a client says about itself when it logs in, for its user's eyes only. XEP-0388 §2.3.
public struct UserAgent: Sendable, Hashable, Codable {
    /// The name of the software.
    public var software: String?
    /// The name of the device.
    public var device: String?

    public init(software: String? = nil, device: String? = nil) {
        self.software = software
        self.device = device
    }

    /// What stands for an installation of a client among those of an account: nobody can tell from it the id that the
    /// client gave itself, which must not be exposed (XEP-0386 §3.2.1).
    @ServerActor
    public static func client(_ id: String, of account: String, on host: Host) -> String {
        let text = "client\0\(account)@\(host.domain)\0\(id)"
        return Hex.encode(Digest.hmac(.sha256, key: host.server.secret, Array(text.utf8)).prefix(12))
    }
}

/// How the client of a session logged in. Kept with the stream, and with its resource once there is one.
public struct ClientLogin: Sendable, Hashable, Codable {
    public var userAgent: UserAgent?
    /// What stands for the installation; nil if the client does not identify itself.
    public var client: String?
    public var mechanism: String
    /// The version of the password it knew; nil if it used a token, or is nobody's.
    public var passwordVersion: Int?

    public init(
        userAgent: UserAgent? = nil, client: String? = nil, mechanism: String, passwordVersion: Int? = nil
    ) {
        self.userAgent = userAgent
        self.client = client
        self.mechanism = mechanism
        self.passwordVersion = passwordVersion
    }

    /// Where it is kept.
    public enum Key: StreamKey, ResourceKey {
        public static var defaultValue: ClientLogin? { nil }
    }
}
