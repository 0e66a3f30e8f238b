import CUnbound
import Glibc
import Synchronization

/// The thread that puts questions to libunbound and hands out its answers: the library's functions may wait for locks
/// and files, so that nobody else calls them.
final class DNSWorker: Sendable {
    private struct Inbox {
        var questions: [DNSQuestion] = []
        /// Nil: the context stays. False: it goes if it is not fresh.
        var startsAnew: Bool?
        var isRunning = false
        var isClosed = false
        var isValidating: Bool?
    }

    /// Questions that wait to be put; more are refused.
    private static let capacity = 4096
    /// Contexts that wait for their last answers; each takes memory and a thread.
    private static let maximumRetired = 8
    /// How old what is remembered may be and still count as new.
    private static let freshness = Duration.seconds(2)
    /// How long a resolver may take to show whether it knows DNSSEC.
    private static let probeTime = Duration.seconds(5)
    /// After which time a resolver that did not know DNSSEC is tried again.
    private static let probeInterval = Duration.seconds(3600)

    private let settings: DNSSettings
    private let inbox = Mutex(Inbox())
    /// A pipe with something in it when there is something in the inbox; -1 if there were no descriptors left.
    private let bell: (heard: CInt, pulled: CInt)

    init(_ settings: DNSSettings) {
        self.settings = settings
        var ends: [CInt] = [-1, -1]
        if pipe(&ends) == 0 {
            for end in ends {
                _ = fcntl(end, F_SETFD, FD_CLOEXEC)
                _ = fcntl(end, F_SETFL, O_NONBLOCK)
            }
        }
        bell = (ends[0], ends[1])
    }

    deinit {
        guard bell.heard >= 0 else { return }
        Glibc.close(bell.heard)
        Glibc.close(bell.pulled)
    }

    /// Puts a question. Its answer comes on the worker's thread, or at once if it cannot be put.
    func ask(_ question: DNSQuestion) {
        let problem: String? = inbox.withLock { inbox in
            guard !inbox.isClosed else { return "The resolver has been closed." }
            guard bell.heard >= 0 else { return "There are no file descriptors left for looking up names." }
            guard inbox.questions.count < Self.capacity else { return "Too many names are being looked up at once." }
            if !inbox.isRunning {
                guard begin() else { return "There is no thread for looking up names." }
                inbox.isRunning = true
            }
            inbox.questions.append(question)
            return nil
        }
        if let problem { question.answer(DNSAnswer(.failed(problem))) } else { ring() }
    }

    /// Drops what is remembered before the next question.
    func startAnew(evenIfFresh: Bool) {
        let isRunning = inbox.withLock { inbox in
            inbox.startsAnew = inbox.startsAnew == true || evenIfFresh
            return inbox.isRunning
        }
        if isRunning { ring() }
    }

    var isValidating: Bool? { inbox.withLock { $0.isValidating } }

    func close() {
        inbox.withLock { $0.isClosed = true }
        ring()
    }

    private func ring() {
        // A full pipe is heard as well.
        _ = withUnsafeBytes(of: 1 as UInt8) { write(bell.pulled, $0.baseAddress, 1) }
    }

    private func begin() -> Bool {
        var thread = pthread_t()
        let retained = Unmanaged.passRetained(self)
        let code = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                let worker = Unmanaged<DNSWorker>.fromOpaque(argument).takeRetainedValue()
                // Signals are for the threads that expect them.
                var all = sigset_t()
                sigfillset(&all)
                pthread_sigmask(SIG_SETMASK, &all, nil)
                worker.run()
                return nil
            }, retained.toOpaque())
        if code == 0 { pthread_detach(thread) } else { retained.release() }
        return code == 0
    }

    // What follows runs on the worker's thread.

    /// The contexts and what waits for them.
    private struct Contexts {
        var current: DNSContext?
        var retired: [DNSContext] = []
        /// Questions that wait until it is known whether the resolver knows DNSSEC; nil when it is.
        var waiting: [DNSQuestion]?
        /// Whether it does not, once the probe has found out.
        var hasFailedProbe: Bool?
        /// Whether it is to be replaced then.
        var isOutdated = false
        /// When a resolver that does not is to be tried again.
        var probesAgain: ContinuousClock.Instant?

        var all: [DNSContext] { (current.map { [$0] } ?? []) + retired }
    }

    private final class Shelf { var contexts = Contexts() }

    private func run() {
        let shelf = Shelf()
        while true {
            let (questions, startsAnew, isClosed) = inbox.withLock { inbox in
                defer {
                    inbox.questions = []
                    inbox.startsAnew = nil
                }
                return (inbox.questions, inbox.startsAnew, inbox.isClosed)
            }
            guard !isClosed else { return finish(shelf, questions) }
            if let startsAnew { retire(shelf, evenIfFresh: startsAnew) }
            if let time = shelf.contexts.probesAgain, time <= .now, !questions.isEmpty {
                retire(shelf, evenIfFresh: true)
            }
            for question in questions { put(question, shelf) }
            wait(shelf)
            for context in shelf.contexts.all { context.expire(.now) }
            if let hasFailed = shelf.contexts.hasFailedProbe { endProbe(shelf, hasFailed) }
            shelf.contexts.retired.removeAll(where: \.isIdle)
        }
    }

    private func put(_ question: DNSQuestion, _ shelf: Shelf) {
        if shelf.contexts.current == nil {
            do {
                try makeContext(shelf, isValidating: settings.trustAnchorFile != nil)
            } catch { return question.answer(DNSAnswer(.failed(error.reason))) }
        }
        if shelf.contexts.waiting != nil {
            shelf.contexts.waiting?.append(question)
        } else {
            shelf.contexts.current?.ask(question)
        }
    }

    private func makeContext(_ shelf: Shelf, isValidating: Bool) throws(DNSContext.Failure) {
        let context = try DNSContext(settings, isValidating: isValidating)
        shelf.contexts.current = context
        inbox.withLock { $0.isValidating = isValidating }
        guard isValidating, !settings.demandsDNSSEC else { return }
        shelf.contexts.waiting = []
        context.probe(deadline: .now + min(Self.probeTime, settings.timeout / 2)) { [unowned shelf] isBogus in
            shelf.contexts.hasFailedProbe = isBogus
        }
        // It may have failed at once.
        ring()
    }

    /// Goes on with the questions that waited; without DNSSEC if the resolver leaves the signatures out, which would
    /// make all that is signed look forged.
    private func endProbe(_ shelf: Shelf, _ hasFailed: Bool) {
        let waiting = shelf.contexts.waiting ?? []
        shelf.contexts.waiting = nil
        shelf.contexts.hasFailedProbe = nil
        if shelf.contexts.isOutdated {
            shelf.contexts.isOutdated = false
            shelf.contexts.current = nil
            for question in waiting { put(question, shelf) }
            return
        }
        if hasFailed {
            shelf.contexts.current = nil
            shelf.contexts.probesAgain = .now + Self.probeInterval
            do { try makeContext(shelf, isValidating: false) } catch {
                for question in waiting { question.answer(DNSAnswer(.failed(error.reason))) }
                return
            }
        }
        for question in waiting { shelf.contexts.current?.ask(question) }
    }

    /// Makes place for a new context; the one that is there goes when its questions are answered.
    private func retire(_ shelf: Shelf, evenIfFresh: Bool) {
        guard let context = shelf.contexts.current else { return }
        guard shelf.contexts.waiting == nil else {
            // It is being probed, and remembers nothing yet; what it has read may be outdated.
            if evenIfFresh { shelf.contexts.isOutdated = true }
            return
        }
        guard evenIfFresh || context.madeAt + Self.freshness <= .now else { return }
        shelf.contexts.current = nil
        shelf.contexts.probesAgain = nil
        if !context.isIdle { shelf.contexts.retired.append(context) }
        if shelf.contexts.retired.count > Self.maximumRetired {
            shelf.contexts.retired.removeFirst().abandon("The resolver began anew.")
        }
    }

    private func wait(_ shelf: Shelf) {
        let contexts = shelf.contexts.all
        var polled = [pollfd(fd: bell.heard, events: Int16(POLLIN), revents: 0)]
        polled += contexts.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
        var milliseconds: CInt = -1
        if let deadline = contexts.compactMap(\.deadline).min() {
            let left = max(.zero, deadline - .now)
            // Rounded up, so that it has passed when this returns.
            milliseconds = CInt(
                clamping: left.components.seconds * 1000 + left.components.attoseconds / 1_000_000_000_000_000 + 1)
        }
        guard poll(&polled, nfds_t(polled.count), milliseconds) > 0 else { return }
        if polled[0].revents != 0 {
            var rings = [UInt8](repeating: 0, count: 256)
            _ = read(bell.heard, &rings, rings.count)
        }
        for (context, descriptor) in zip(contexts, polled.dropFirst()) where descriptor.revents != 0 {
            context.process()
        }
    }

    private func finish(_ shelf: Shelf, _ questions: [DNSQuestion]) {
        let closed = "The resolver has been closed."
        for question in questions + (shelf.contexts.waiting ?? []) { question.answer(DNSAnswer(.failed(closed))) }
        for context in shelf.contexts.all { context.abandon(closed) }
    }
}
