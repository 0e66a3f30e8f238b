import Glibc

/// Unix sockets, as far as they are used without an event loop. Descriptors are plain numbers and belong to the caller;
/// -1 stands for a failure, whose reason is in `errno`.
public enum UnixSocket {
    /// The longest path that fits into an address, in bytes.
    public static let pathLimit = 107

    /// Connects to whoever listens at `path`, which must fit.
    public static func connect(_ path: String) -> Int32 {
        open(SOCK_STREAM) { descriptor in withAddress(path) { Glibc.connect(descriptor, $0, $1) } }
    }

    /// Binds a stream socket to `path`, which must fit and be free.
    static func bind(_ path: String, mode: UInt32) -> Int32 {
        open(SOCK_STREAM) { descriptor in
            // Linux gives the file the mode of the socket, so that at no moment anybody else may open it.
            fchmod(descriptor, mode)
            return withAddress(path) { Glibc.bind(descriptor, $0, $1) }
        }
    }

    /// Sends one datagram to a path, or to an abstract name after an `@`. Failures are nobody's concern.
    public static func send(_ bytes: [UInt8], to name: String) {
        guard let first = name.first, first == "/" || first == "@", name.utf8.count <= pathLimit else { return }
        let descriptor = open(SOCK_DGRAM) { _ in 0 }
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        // The @ stands for a zero byte, and the length of such a name counts. unix(7)
        let isAbstract = first == "@"
        _ = withAddress(isAbstract ? "\0" + name.dropFirst() : name) { address, length in
            let offset = MemoryLayout<sockaddr_un>.offset(of: \.sun_path) ?? 2
            let size = isAbstract ? socklen_t(offset + name.utf8.count) : length
            return sendto(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL), address, size)
        }
    }

    /// A socket for which `body` succeeded.
    private static func open(_ type: __socket_type, _ body: (Int32) -> Int32) -> Int32 {
        let descriptor = socket(AF_UNIX, Int32(type.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0, body(descriptor) != 0 else { return descriptor }
        let reason = errno
        close(descriptor)
        errno = reason
        return -1
    }

    private static func withAddress<Result>(
        _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { field in
            // One byte stays zero, whatever the caller checked.
            field.copyBytes(from: path.utf8.prefix(field.count - 1))
        }
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }
}
