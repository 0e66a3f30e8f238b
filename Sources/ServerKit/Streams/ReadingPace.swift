/// Decides when a stream takes bytes from its peer: not while an answer is being prepared, nor faster than its rate
/// allows or the disk keeps up with.
@ServerActor
public final class ReadingPace {
    /// Whether everything is read all the same: a stream that ends waits for nothing but the peer's end tag.
    public var isUnlimited = false {
        didSet { update() }
    }

    private let server: Server
    private let transport: any StreamTransport
    private var suspensions = 0
    private var isThrottled = false
    private var waitsForStorage = false
    private var isReading = true
    private var flow = TokenBucket()
    /// What is counted with others.
    private var shared: SharedBucket?

    public init(server: Server, transport: any StreamTransport) {
        self.server = server
        self.transport = transport
    }

    /// Whether answers are being prepared.
    public var isSuspended: Bool { suspensions > 0 }

    /// Reads no further until as many calls of ``resume()`` have followed.
    public func suspend() {
        suspensions += 1
        update()
    }

    /// Takes one ``suspend()`` back; reading goes on with ``update()``, once what was held back has been handled.
    ///
    /// - Returns: whether there was one.
    public func resume() -> Bool {
        guard isSuspended else { return false }
        suspensions -= 1
        return true
    }

    /// Reads no further for a while when the peer sends more than it may.
    public func count(_ bytes: Int, limit: Rate?) {
        guard let limit, let pause = add(bytes, limit), !isThrottled else { return }
        isThrottled = true
        update()
        server.clock.after(pause) {
            self.isThrottled = false
            self.update()
        }
    }

    private func add(_ bytes: Int, _ limit: Rate) -> Duration? {
        let now = server.clock.now
        if let shared { return shared.bucket.add(bytes, limit: limit, now: now) }
        return flow.add(bytes, limit: limit, now: now)
    }

    /// Begins to count anew: the peer has authenticated, and another rate holds.
    ///
    /// - Parameter bucket: where to count from now on, if the rate is one for several streams.
    public func forgetCounted(_ bucket: SharedBucket? = nil) {
        flow = TokenBucket()
        shared = bucket
    }

    /// If the disk is behind, reads no further until it has taken what waits for it now: whoever writes meanwhile goes
    /// at its pace, so that neither the queue nor the time until a stanza is acknowledged grows without end.
    public func keepPaceWithStorage() {
        let storage = server.storage
        guard storage.isBehind, !waitsForStorage, !isUnlimited else { return }
        waitsForStorage = true
        update()
        storage.onCommit(storage.lastEnqueued) { _ in
            ServerActor.enqueue {
                self.waitsForStorage = false
                self.update()
            }
        }
    }

    /// Tells the transport, if anything has changed.
    public func update() {
        let wanted = isUnlimited || !isSuspended && !isThrottled && !waitsForStorage
        guard wanted != isReading else { return }
        isReading = wanted
        transport.setReading(wanted)
    }
}
