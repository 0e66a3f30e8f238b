import ServerKit

/// Threads that read, each with a connection of its own. The first starts with the first read, so that a server which
/// only writes pays for none.
final class ReaderPool: Sendable {
    typealias Job = @Sendable (Result<Queries, StorageError>) -> Void

    private struct State {
        var jobs: [Job] = []
        var threads: [WorkerThread] = []
        var idle = 0
        var isClosing = false
    }

    private let state = Monitor(State())
    private let limit: Int
    private let connect: @Sendable () throws(StorageError) -> Database

    init(limit: Int, _ connect: @escaping @Sendable () throws(StorageError) -> Database) {
        self.limit = max(1, limit)
        self.connect = connect
    }

    func run(_ job: @escaping Job) {
        let refusal: StorageError? = state.locked { state in
            guard !state.isClosing else { return StorageError(.closed, "The storage is closed.") }
            if state.idle <= state.jobs.count, state.threads.count < limit {
                do throws(StorageError) {
                    state.threads.append(try WorkerThread("storage-read") { [self] in work() })
                } catch {
                    if state.threads.isEmpty { return error }
                }
            }
            state.jobs.append(job)
            return nil
        }
        if let refusal { return job(.failure(refusal)) }
        state.wakeOne()
    }

    /// Finishes the queued reads and ends the threads.
    func close() {
        let threads = state.locked { state in
            state.isClosing = true
            defer { state.threads = [] }
            return state.threads
        }
        state.wakeAll()
        for thread in threads { thread.join() }
    }

    private func work() {
        var database: Database?
        state.locked { $0.idle += 1 }
        while true {
            let jobs: [Job]? = state.wait { state in
                guard !state.jobs.isEmpty else { return state.isClosing ? .proceed(nil) : .sleep }
                state.idle -= 1
                // With one thread all are taken at once, which saves moving the rest down for each.
                defer { state.jobs.removeFirst(limit == 1 ? state.jobs.count : 1) }
                return .proceed(limit == 1 ? state.jobs : [state.jobs[0]])
            }
            guard let jobs else { return }
            for job in jobs {
                do throws(StorageError) {
                    if database == nil { database = try connect() }
                    if let database { job(.success(Queries(database: database))) }
                } catch {
                    job(.failure(error))
                }
            }
            state.locked { $0.idle += 1 }
        }
    }
}
