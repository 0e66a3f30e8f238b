import Glibc
import ServerKit

/// State that threads share and wait on: a mutex and a condition variable.
///
/// `@unchecked Sendable`: `state` is touched only in closures that run while the mutex is held.
final class Monitor<State>: @unchecked Sendable {
    /// What a waiting thread does next.
    enum Step<Value> {
        case proceed(Value)
        case sleep
        /// Until a time of the monotonic clock, in nanoseconds.
        case sleepUntil(UInt64)
    }

    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var state: State

    init(_ state: sending State) {
        self.state = state
        pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(condition, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    func locked<Value>(_ body: (inout State) -> Value) -> Value {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body(&state)
    }

    /// Asks `step` again after every wake-up until it proceeds.
    func wait<Value>(_ step: (inout State) -> Step<Value>) -> Value {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while true {
            switch step(&state) {
            case .proceed(let value): return value
            case .sleep: pthread_cond_wait(condition, mutex)
            case .sleepUntil(let nanoseconds):
                var time = timespec(
                    tv_sec: Int(nanoseconds / 1_000_000_000), tv_nsec: Int(nanoseconds % 1_000_000_000))
                pthread_cond_timedwait(condition, mutex, &time)
            }
        }
    }

    func wakeOne() { pthread_cond_signal(condition) }
    func wakeAll() { pthread_cond_broadcast(condition) }
}

/// The monotonic clock, in nanoseconds.
func monotonicNow() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// A thread of its own for work that blocks. The pools of Dispatch and Swift concurrency are sized for work that does
/// not, and a password hash in them must not delay a commit.
struct WorkerThread: Sendable {
    private let handle: pthread_t

    /// - Parameter name: at most 15 bytes, shown by `ps -L` and `top -H`.
    init(_ name: String, _ body: @escaping @Sendable () -> Void) throws(StorageError) {
        final class Start: Sendable {
            let body: @Sendable () -> Void
            init(_ body: @escaping @Sendable () -> Void) { self.body = body }
        }
        let named: @Sendable () -> Void = {
            Self.setName(name)
            body()
        }
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setstacksize(&attributes, 512 * 1024)
        var handle = pthread_t()
        let start = Unmanaged.passRetained(Start(named))
        let result = pthread_create(&handle, &attributes, { argument in
            // The argument is the box retained above; pthread_create passes it on unchanged.
            guard let argument else { return nil }
            Unmanaged<Start>.fromOpaque(argument).takeRetainedValue().body()
            return nil
        }, start.toOpaque())
        guard result == 0 else {
            start.release()
            throw StorageError(.refused, "No thread for the storage: \(String(cString: strerror(result))).")
        }
        self.handle = handle
    }

    func join() { pthread_join(handle, nil) }

    /// Glibc's module does not declare pthread_setname_np. Without its name the thread works as well.
    private static func setName(_ name: String) {
        let file = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
        guard file >= 0 else { return }
        _ = name.withCString { write(file, $0, strlen($0)) }
        close(file)
    }
}
