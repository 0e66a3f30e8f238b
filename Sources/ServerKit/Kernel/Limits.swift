/// What strangers and users may make the server hold, in one place.
public struct Limits: Sendable, Hashable {
    /// What the parser accepts before a client has authenticated.
    public var unauthenticated: XMLLimits
    /// What it accepts afterwards.
    public var authenticated: XMLLimits
    /// Bytes that may wait for a client that does not read, before its connection is closed.
    public var outputBacklog: Int

    public init(
        unauthenticated: XMLLimits = .unauthenticated, authenticated: XMLLimits = .authenticated,
        outputBacklog: Int = 8_388_608
    ) {
        self.unauthenticated = unauthenticated
        self.authenticated = authenticated
        self.outputBacklog = outputBacklog
    }
}
