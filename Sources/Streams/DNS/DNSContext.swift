import CUnbound
import Glibc

/// One question, until it is answered.
struct DNSQuestion: Sendable {
    let name: String
    let type: DNSRecordType
    let deadline: ContinuousClock.Instant
    /// To be called exactly once.
    let answer: @Sendable (DNSAnswer) -> Void
}

/// A context of libunbound with its cache, its own worker thread and the questions put to it.
///
/// It belongs to one thread. Its callbacks come while that thread is in `process`, and outside the library's locks.
final class DNSContext {
    struct Failure: Error {
        /// A sentence for administrators.
        let reason: String
    }

    /// What a callback of the library is about: alive as long as the context knows it.
    private final class Pending {
        unowned let context: DNSContext
        let deadline: ContinuousClock.Instant
        let finish: (CInt, UnsafeMutablePointer<ub_result>?) -> Void
        let giveUp: (String) -> Void
        var id: CInt = 0

        init(
            _ context: DNSContext, deadline: ContinuousClock.Instant,
            finish: @escaping (CInt, UnsafeMutablePointer<ub_result>?) -> Void,
            giveUp: @escaping (String) -> Void
        ) {
            self.context = context
            self.deadline = deadline
            self.finish = finish
            self.giveUp = giveUp
        }
    }

    let madeAt = ContinuousClock.now
    /// Readable when there are answers to `process`.
    let descriptor: CInt
    /// Whether answers are validated by DNSSEC.
    let isValidating: Bool
    private let pointer: OpaquePointer
    private var pending: [CInt: Pending] = [:]

    init(_ settings: DNSSettings, isValidating: Bool) throws(Failure) {
        guard let pointer = ub_ctx_create() else { throw Failure(reason: "libunbound cannot be started.") }
        do throws(Failure) { try Self.configure(pointer, settings, isValidating) } catch {
            ub_ctx_delete(pointer)
            throw error
        }
        self.pointer = pointer
        self.isValidating = isValidating
        descriptor = ub_fd(pointer)
    }

    deinit { ub_ctx_delete(pointer) }

    private static func configure(
        _ pointer: OpaquePointer, _ settings: DNSSettings, _ isValidating: Bool
    ) throws(Failure) {
        // What it complains about reaches the administrator by the answers.
        ub_ctx_debugout(pointer, nil)
        ub_ctx_async(pointer, 1)
        var options = [
            ("msg-cache-size:", "1m"), ("rrset-cache-size:", "2m"), ("key-cache-size:", "512k"),
            ("neg-cache-size:", "256k"), ("infra-cache-numhosts:", "1000"),
            // Questions under way at once, so that a few that nobody answers do not hold up the others.
            ("num-queries-per-thread:", "2048"), ("outgoing-range:", "256"), ("outgoing-num-tcp:", "16"),
            // An hour is enough for what may turn out to be wrong, a minute for what may turn up.
            ("cache-max-ttl:", "3600"), ("cache-max-negative-ttl:", "60"),
            // A resolver that was away is tried again soon.
            ("infra-host-ttl:", "30"), ("infra-keep-probing:", "yes"),
            // One on this machine is as good as any.
            ("do-not-query-localhost:", "no"),
            // That the root has no `test` must not hide the local zone of that name.
            ("aggressive-nsec:", "no"),
            ("module-config:", isValidating ? "validator iterator" : "iterator"),
        ]
        for zone in settings.localZones {
            guard DNSName.isValid(zone) else { throw Failure(reason: "\"\(zone)\" is not the name of a zone.") }
            let name = zone.hasSuffix(".") ? zone : zone + "."
            options += [("local-zone:", "\(name) transparent"), ("domain-insecure:", name)]
        }
        for (name, value) in options {
            try check(ub_ctx_set_option(pointer, name, value), "libunbound does not take \"\(name) \(value)\"")
        }
        if isValidating, let file = settings.trustAnchorFile {
            try check(ub_ctx_add_ta_file(pointer, file), "The trust anchor in \(file) cannot be used")
        }
        if let file = settings.hostsFile, access(file, R_OK) == 0 {
            try check(ub_ctx_hosts(pointer, file), "\(file) cannot be read")
        }
        for server in settings.servers {
            try check(ub_ctx_set_fwd(pointer, server), "\"\(server)\" is not the address of a resolver")
        }
        if settings.servers.isEmpty, access(settings.resolverFile, R_OK) == 0 {
            try check(ub_ctx_resolvconf(pointer, settings.resolverFile), "\(settings.resolverFile) cannot be read")
        }
    }

    private static func check(_ code: CInt, _ problem: String) throws(Failure) {
        if code != 0 { throw Failure(reason: "\(problem): \(String(cString: ub_strerror(code))).") }
    }

    var isIdle: Bool { pending.isEmpty }

    /// When the first of the questions will have waited for too long.
    var deadline: ContinuousClock.Instant? { pending.values.lazy.map(\.deadline).min() }

    /// Puts a question. It is answered from `process` or `expire`, or at once if it cannot be put.
    func ask(_ question: DNSQuestion) {
        let new = Pending(self, deadline: question.deadline) { code, result in
            question.answer(DNSAnswer(code, result?.pointee, name: question.name, type: question.type))
        } giveUp: {
            question.answer(DNSAnswer(.failed($0)))
        }
        start(new, question.name, CInt(question.type.rawValue))
    }

    /// Asks for the keys of the root zone, which only resolvers that know DNSSEC hand out together with signatures.
    ///
    /// - Parameter then: gets whether what came is certainly not valid. Must not ask anything.
    func probe(deadline: ContinuousClock.Instant, then: @escaping (_ isBogus: Bool) -> Void) {
        let dnskey: CInt = 48
        start(
            Pending(self, deadline: deadline) { _, result in
                then(result.map { $0.pointee.bogus != 0 } ?? false)
            } giveUp: { _ in
                then(false)
            }, ".", dnskey)
    }

    private func start(_ new: Pending, _ name: String, _ type: CInt) {
        let internet: CInt = 1
        let argument = Unmanaged.passUnretained(new).toOpaque()
        let code = ub_resolve_async(
            pointer, name, type, internet, argument,
            { argument, code, result in
                defer { ub_resolve_free(result) }
                guard let argument else { return }
                let pending = Unmanaged<Pending>.fromOpaque(argument).takeUnretainedValue()
                pending.context.pending[pending.id] = nil
                pending.finish(code, result)
            }, &new.id)
        // Without the library's lock nothing has been called back yet, for that happens on this thread only.
        if code == 0 { pending[new.id] = new } else { new.finish(code, nil) }
    }

    /// Hands out the answers that are there.
    func process() { ub_process(pointer) }

    /// Gives up the questions that have waited for too long.
    func expire(_ now: ContinuousClock.Instant) {
        for (id, question) in pending where question.deadline <= now {
            // Whatever comes of it, there is no callback from now on: the library has forgotten the question already,
            // or will drop the answer.
            ub_cancel(pointer, id)
            pending[id] = nil
            question.giveUp("No resolver answered in time.")
        }
    }

    /// Gives up all questions. The context must not be used any more.
    func abandon(_ reason: String) {
        let all = pending.values
        pending = [:]
        for question in all { question.giveUp(reason) }
    }
}

extension DNSAnswer {
    fileprivate init(_ code: CInt, _ result: ub_result?, name: String, type: DNSRecordType) {
        guard code == 0, let result else {
            self.init(.failed("\(name) could not be looked up: \(String(cString: ub_strerror(code)))."))
            return
        }
        let outcome: Outcome
        if result.bogus != 0 {
            let reason = result.why_bogus.map { String(cString: $0) } ?? "no reason was given"
            outcome = .bogus("The answer for \(name) \(type) is not what its zone has signed (DNSSEC): \(reason).")
        } else if result.nxdomain != 0 {
            outcome = .noSuchName
        } else if result.rcode != 0 {
            outcome = .failed("\(name) \(type) could not be looked up: the resolver says \(Self.error(result.rcode)).")
        } else if result.havedata != 0 {
            var records: [[UInt8]] = []
            while let data = result.data[records.count] {
                let bytes = UnsafeRawBufferPointer(start: data, count: max(0, Int(result.len[records.count])))
                records.append(Array(bytes))
            }
            outcome = records.isEmpty ? .noRecords : .records(records)
        } else {
            outcome = .noRecords
        }
        self.init(outcome, isSecure: result.secure != 0, timeToLive: .seconds(max(0, Int(result.ttl))))
    }

    /// RFC 1035 §4.1.1.
    private static func error(_ rcode: CInt) -> String {
        switch rcode {
        case 1: "FORMERR"
        case 2: "SERVFAIL (it cannot reach the zone's servers, or they cannot be believed)"
        case 4: "NOTIMP"
        case 5: "REFUSED"
        default: "RCODE \(rcode)"
        }
    }
}
