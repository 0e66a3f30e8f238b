import NIOCore

/// Secures a channel: ciphertext towards the socket, plaintext towards the stream.
///
/// Add it first in the pipeline; for STARTTLS to a live one, at the moment the protocol has agreed on it. Bytes that
/// were received before then were not secured: whoever adds the handler must drop them, never read them as if they had
/// come through it (RFC 6120 §5.4.3.3). The time a handshake may take is for the owner to limit.
///
/// What is written within one turn of the loop leaves as few records in one flush. Nothing is held back when the peer
/// does not read: it shows in the channel's writability. Only writes before the end of the handshake wait here, see
/// `pendingBytes`. Errors of this handler are `TLSError`s, and it closes the channel after a fatal one.
public final class TLSHandler: ChannelDuplexHandler {
    public typealias InboundIn = ByteBuffer
    public typealias InboundOut = ByteBuffer
    public typealias OutboundIn = ByteBuffer
    public typealias OutboundOut = ByteBuffer

    /// Bytes of plaintext that wait for the end of the handshake or of the loop's turn.
    public private(set) var pendingBytes = 0

    /// How long close waits for a peer that does not take the last bytes.
    private static let closeGrace = TimeAmount.seconds(5)
    /// How much plaintext is sealed at once, which bounds the buffer all connections of a thread share.
    private static let batchSize = 65_536

    private var session: TLSSession?
    /// How to secure a connection that was accepted and has said nothing so far: whoever only connects gets no memory.
    private var awaited: TLSServer?
    private var context: ChannelHandlerContext?
    private var pendingWrites: [ByteBuffer] = []
    private var pendingPromises: [EventLoopPromise<Void>] = []
    private var status: Status = []
    private let gathersWrites: Bool

    private struct Status: OptionSet {
        let rawValue: UInt16
        /// The owner wants everything written so far to leave.
        static let flushRequested = Status(rawValue: 1)
        /// A flush at the end of this turn is arranged.
        static let flushScheduled = Status(rawValue: 2)
        /// This side has ended its half; nothing more may be written.
        static let outputEnded = Status(rawValue: 4)
        /// The peer has ended its half by close_notify.
        static let inputEnded = Status(rawValue: 8)
        /// The channel is being closed.
        static let closing = Status(rawValue: 16)
        /// The owner asked for data and has not got any yet.
        static let readRequested = Status(rawValue: 32)
        /// The peer was shown to have ended the connection.
        static let inputEndReported = Status(rawValue: 64)
    }

    /// Secures a connection that was accepted.
    ///
    /// - Parameter gathersWrites: whether what is flushed leaves at the end of the loop's turn, together with what is
    ///   written until then, and not at once. Owners who gather for themselves save a turn.
    public init(server: TLSServer, gathersWrites: Bool = true) {
        awaited = server
        self.gathersWrites = gathersWrites
    }

    /// Secures a connection to another server.
    ///
    /// - Parameters:
    ///   - context: a client's context.
    ///   - serverName: the host to ask for and, if the context verifies, to expect, in ASCII form.
    ///   - applicationProtocols: what to offer, in order of preference.
    ///   - gathersWrites: as above.
    public init(
        client context: TLSContext, serverName: String, applicationProtocols: [String] = [], gathersWrites: Bool = true
    ) throws(TLSError) {
        self.gathersWrites = gathersWrites
        session = try TLSSession(
            client: context, serverName: serverName, applicationProtocols: applicationProtocols)
    }

    /// What was agreed upon; nil until the handshake is complete and after the channel's end.
    public var info: TLSInfo? { session.flatMap { $0.isOpen ? TLSInfo($0) : nil } }

    public func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { start(context) }
    }

    public func handlerRemoved(context: ChannelHandlerContext) {
        release(failing: .closed)
        self.context = nil
    }

    public func channelActive(context: ChannelHandlerContext) {
        start(context)
        context.fireChannelActive()
    }

    private func start(_ context: ChannelHandlerContext) {
        guard let session, session.server == nil, !session.isOpen else { return }
        act(on: session.start(context.channel.allocator), context)
        context.read()
    }

    public func channelInactive(context: ChannelHandlerContext) {
        reportEnd(context)
        release(failing: .closed)
        context.fireChannelInactive()
    }

    /// Says what is wrong about the end of the connection, once and if anything is.
    private func reportEnd(_ context: ChannelHandlerContext) {
        guard let session, !session.hasFailed, status.isDisjoint(with: [.inputEnded, .inputEndReported, .closing])
        else { return }
        status.insert(.inputEndReported)
        context.fireErrorCaught(session.isOpen ? TLSError.truncated : .closedDuringHandshake)
    }

    private func release(failing error: TLSError) {
        session = nil
        awaited = nil
        failWrites(error)
    }

    private func failWrites(_ error: TLSError) {
        let promises = pendingPromises
        pendingWrites = []
        pendingPromises = []
        pendingBytes = 0
        for promise in promises { promise.fail(error) }
    }

    public func read(context: ChannelHandlerContext) {
        status.insert(.readRequested)
        context.read()
    }

    public func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if let server = awaited {
            awaited = nil
            do throws(TLSError) { session = try TLSSession(server: server) } catch { return fail(error, context) }
        }
        guard let session, !status.contains(.inputEnded) else { return }
        act(on: session.receive(unwrapInboundIn(data), context.channel.allocator), context)
    }

    public func channelReadComplete(context: ChannelHandlerContext) {
        context.fireChannelReadComplete()
        // Ciphertext without plaintext has not given the owner what it asked for.
        if status.contains(.readRequested), session != nil || awaited != nil { context.read() }
    }

    public func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let event = event as? ChannelEvent, event == .inputClosed {
            if status.contains(.inputEnded) { return }
            reportEnd(context)
            if session?.isOpen != true { return close(context: context, mode: .all, promise: nil) }
        }
        context.fireUserInboundEventTriggered(event)
    }

    private func act(
        on result: (toSend: ByteBuffer?, received: TLSSession.Received), _ context: ChannelHandlerContext
    ) {
        let received = result.received
        let wasWritable = context.channel.isWritable
        if let toSend = result.toSend {
            context.write(wrapOutboundOut(toSend), promise: nil)
            if received.failure == nil { flush(context: context) } else { context.flush() }
        }
        if received.isHandshakeCompleted, let session {
            context.fireUserInboundEventTriggered(TLSEvent.handshakeCompleted(TLSInfo(session)))
            if status.contains(.flushRequested) { scheduleFlush(context) }
        } else if result.toSend != nil, !wasWritable, session?.isOpen == true, received.failure == nil {
            // Answers that the peer provokes but does not read would pile up without bound.
            return fail(.protocolViolation("the peer asks for answers and does not read them"), context)
        }
        if let plaintext = received.plaintext, !status.contains(.closing) {
            status.remove(.readRequested)
            context.fireChannelRead(wrapInboundOut(plaintext))
        }
        if received.isEnded { endInput(context) }
        if let failure = received.failure { fail(failure, context) }
    }

    /// The peer's close_notify is to the stream what FIN is to TCP.
    private func endInput(_ context: ChannelHandlerContext) {
        guard status.isDisjoint(with: [.inputEnded, .closing]) else { return }
        status.insert(.inputEnded)
        if (try? context.channel.syncOptions?.getOption(.allowRemoteHalfClosure)) == true {
            context.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
        } else {
            close(context: context, mode: .all, promise: nil)
        }
    }

    private func fail(_ error: TLSError, _ context: ChannelHandlerContext) {
        status.formUnion([.closing, .outputEnded])
        failWrites(error)
        context.fireErrorCaught(error)
        context.close(promise: nil)
    }

    public func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard session != nil || awaited != nil, !status.contains(.outputEnded) else {
            promise?.fail(TLSError.closed)
            return
        }
        let buffer = unwrapOutboundIn(data)
        pendingBytes += buffer.readableBytes
        pendingWrites.append(buffer)
        if let promise { pendingPromises.append(promise) }
        // Promises are kept for a batch, so that a batch must end where it grows too large.
        if pendingBytes >= Self.batchSize, session?.isOpen == true { seal(context) }
    }

    public func flush(context: ChannelHandlerContext) {
        status.insert(.flushRequested)
        if gathersWrites { scheduleFlush(context) } else { flushNow(context) }
    }

    private func scheduleFlush(_ context: ChannelHandlerContext) {
        guard !status.contains(.flushScheduled) else { return }
        status.insert(.flushScheduled)
        context.eventLoop.assumeIsolated().execute {
            self.status.remove(.flushScheduled)
            if let context = self.context { self.flushNow(context) }
        }
    }

    private func flushNow(_ context: ChannelHandlerContext) {
        guard session != nil else { return }
        if session?.isOpen == true {
            status.remove(.flushRequested)
            seal(context)
        }
        context.flush()
    }

    /// Hands everything that waits to the channel as ciphertext. Its promises are kept when that has left.
    private func seal(_ context: ChannelHandlerContext) {
        guard let session, !pendingWrites.isEmpty else { return }
        let writes = pendingWrites
        let promises = pendingPromises
        pendingWrites = []
        pendingPromises = []
        pendingBytes = 0
        guard let ciphertext = session.encrypt(writes, context.channel.allocator) else {
            for promise in promises { promise.fail(TLSError.closed) }
            return fail(.protocolViolation("OpenSSL could not encrypt"), context)
        }
        let promise = promises.first
        for other in promises.dropFirst() { promise?.futureResult.cascade(to: other) }
        context.write(wrapOutboundOut(ciphertext), promise: promise)
    }

    public func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        guard mode != .input, let session, session.isOpen, !session.hasFailed, !status.contains(.closing) else {
            if mode == .all {
                status.insert(.closing)
                failWrites(.closed)
            }
            context.close(mode: mode, promise: promise)
            return
        }
        // Half of the connection ends: after what was written, close_notify, then TCP. RFC 8446 §6.1.
        seal(context)
        let wasEnded = status.contains(.outputEnded)
        status.insert(.outputEnded)
        if mode == .all { status.insert(.closing) }
        let left = context.eventLoop.makePromise(of: Void.self)
        let farewell = wasEnded ? nil : session.end(context.channel.allocator)
        context.writeAndFlush(wrapOutboundOut(farewell ?? ByteBuffer()), promise: left)
        let isolated = left.futureResult.assumeIsolated()
        guard mode == .all else {
            isolated.whenComplete { _ in context.close(mode: mode, promise: promise) }
            return
        }
        var deadline: Scheduled<Void>?
        var hasLeft = false
        isolated.whenComplete { _ in
            guard !hasLeft else { return }
            hasLeft = true
            deadline?.cancel()
            context.close(mode: .all, promise: promise)
        }
        guard !hasLeft else { return }
        deadline = context.eventLoop.assumeIsolated().scheduleTask(in: Self.closeGrace) {
            guard !hasLeft else { return }
            hasLeft = true
            context.close(mode: .all, promise: promise)
        }
    }
}
