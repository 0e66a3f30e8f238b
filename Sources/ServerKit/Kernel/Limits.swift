/// What strangers and users may make the server hold, in one place.
public struct Limits: Sendable, Hashable {
    /// What the parser accepts before a client has authenticated.
    public var unauthenticated: XMLLimits
    /// What it accepts afterwards.
    public var authenticated: XMLLimits
    /// Bytes that may wait for a client that does not read, before its connection is closed.
    public var outputBacklog: Int
    /// Bytes that a client may send before it has authenticated; above that it is read more slowly. Nil for no limit.
    public var rateBeforeLogin: Rate?
    /// The same for one that has authenticated.
    public var rate: Rate?

    public init(
        unauthenticated: XMLLimits = .unauthenticated, authenticated: XMLLimits = .authenticated,
        outputBacklog: Int = 8_388_608, rateBeforeLogin: Rate? = nil, rate: Rate? = nil
    ) {
        self.unauthenticated = unauthenticated
        self.authenticated = authenticated
        self.outputBacklog = outputBacklog
        self.rateBeforeLogin = rateBeforeLogin
        self.rate = rate
    }
}
