import Glibc
import ServerKit

/// Keeps a second server away from a database: an flock on `path.lock`, which the kernel drops with the process. The
/// file holds the holder's process id until a clean close.
struct DatabaseLock: Sendable {
    /// Whether the last holder ended without closing.
    let wasUnclean: Bool
    private let descriptor: Int32

    init(_ path: String) throws(StorageError) {
        let path = path + ".lock"
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o640)
        guard descriptor >= 0 else {
            let reason = String(cString: strerror(errno))
            throw StorageError(
                .readOnly,
                "\(path): cannot be created (\(reason)). Check that its directory exists and can be written to.")
        }
        let holder = Self.processID(in: descriptor)
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            Glibc.close(descriptor)
            throw StorageError(
                .locked, "\(path): process \(holder ?? "unknown") serves from this database already. End it first.")
        }
        wasUnclean = holder != nil
        self.descriptor = descriptor
        let text = "\(getpid())\n"
        ftruncate(descriptor, 0)
        _ = text.withCString { pwrite(descriptor, $0, strlen($0), 0) }
    }

    /// Marks a clean close and lets others in. The file stays: removing it could give two processes a lock each.
    func release() {
        ftruncate(descriptor, 0)
        // A child of this process that has not become another program yet holds the descriptor, too, and the lock with
        // it, until it is given up by name.
        flock(descriptor, LOCK_UN)
        Glibc.close(descriptor)
    }

    private static func processID(in descriptor: Int32) -> String? {
        var bytes = [UInt8](repeating: 0, count: 20)
        let count = pread(descriptor, &bytes, bytes.count, 0)
        guard count > 0 else { return nil }
        return String(decoding: bytes.prefix(count).prefix { $0 != 0x0A }, as: UTF8.self)
    }
}
