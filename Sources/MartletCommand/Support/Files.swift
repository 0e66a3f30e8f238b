import Glibc
import ServerKit

/// The few things done with files, without a library for it.
enum Files {
    static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    /// All of a file, or of standard input for `-`.
    ///
    /// - Throws: ``CommandFailure``, also past `limit` bytes.
    static func read(_ path: String, limit: Int = 256 << 20) throws -> [UInt8] {
        let descriptor = path == "-" ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("cannot be read", path) }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw failure("cannot be read", path) }
            guard count > 0 else { return bytes }
            bytes += chunk[..<count]
            guard bytes.count <= limit else { throw CommandFailure("\(path) is larger than \(limit >> 20) MiB.") }
        }
    }

    /// Writes a file. Whoever opens it finds either what was there or all of the new.
    ///
    /// - Throws: ``CommandFailure``; a file that exists is one unless `isReplacing`.
    static func write(_ text: String, to path: String, mode: mode_t = 0o644, isReplacing: Bool = false) throws {
        if !isReplacing, exists(path) { throw CommandFailure("\(path) exists already and is left as it is.") }
        let temporary = path + ".new"
        unlink(temporary)
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
        guard descriptor >= 0 else { throw failure("cannot be written", path) }
        fchmod(descriptor, mode)
        let bytes = Array(text.utf8)
        let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        let isWritten = count == bytes.count && fsync(descriptor) == 0
        guard close(descriptor) == 0, isWritten, rename(temporary, path) == 0 else {
            let failure = failure("cannot be written", path)
            unlink(temporary)
            throw failure
        }
    }

    /// Makes a directory and those above it. One that exists keeps its mode.
    static func makeDirectory(_ path: String, mode: mode_t = 0o750) throws {
        if exists(path) { return }
        if let slash = path.lastIndex(of: "/"), slash != path.startIndex {
            try makeDirectory(String(path[..<slash]), mode: 0o755)
        }
        guard mkdir(path, mode) == 0 || errno == EEXIST else { throw failure("cannot be made", path) }
        chmod(path, mode)
    }

    /// The path from the root on, without links; the file must exist.
    static func absolute(_ path: String) -> String {
        guard let resolved = realpath(path, nil) else { return path }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    /// Gives a file to a user, where this process may do that.
    static func give(_ path: String, to owner: (user: uid_t, group: gid_t)?) {
        if let owner { chown(path, owner.user, owner.group) }
    }

    /// The user and group a file belongs to.
    static func owner(of path: String) -> (user: uid_t, group: gid_t)? {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        return (status.st_uid, status.st_gid)
    }

    private static func failure(_ what: String, _ path: String) -> CommandFailure {
        CommandFailure("\(path) \(what): \(String(cString: strerror(errno))).")
    }
}
