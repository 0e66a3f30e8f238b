/// Asks clients that have been silent for a sign of life; offered by the module `ping`.
@ServerActor
public protocol LivenessCheck: AnyObject {
    /// After how much silence; nil if it never does.
    var interval: Duration? { get }
}
