/// Binds resources for whatever negotiates it otherwise than by the IQ of RFC 6120 §7; offered by the module `bind`.
@ServerActor
public protocol ResourceBinding: AnyObject {
    /// Binds a resource to a stream on which `account` has logged in.
    ///
    /// - Parameters:
    ///   - name: The resourcepart, prepared.
    ///   - alternative: One that nobody else has, for when the name is taken.
    ///   - rivals: Sessions that end now, and do not count.
    func bind(
        _ stream: ClientStream, to account: Account, as name: String, or alternative: String, instead rivals: [Resource]
    ) throws(StanzaError) -> Resource
}
