import Glibc
import ServerKit

/// Finds out whether a port can be had.
enum PortProbe {
    enum Outcome: Equatable {
        case free
        case inUse
        /// Another reason, in the system's words.
        case refused(String)
    }

    /// Whether a server could listen there.
    static func bind(_ address: ListenAddress) -> Outcome {
        withSocket(address) { descriptor, pointer, length in
            // As the server does: connections of an earlier one that linger are no obstacle.
            var isOn: Int32 = 1
            setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &isOn, socklen_t(MemoryLayout<Int32>.size))
            guard Glibc.bind(descriptor, pointer, length) == 0, listen(descriptor, 1) == 0 else {
                return errno == EADDRINUSE ? .inUse : .refused(String(cString: strerror(errno)))
            }
            return .free
        }
    }

    /// Whether somebody accepts connections there, asked on this machine.
    static func connects(_ address: ListenAddress) -> Bool {
        let target = ListenAddress(host: address.host ?? "127.0.0.1", port: address.port)
        return withSocket(target) { descriptor, pointer, length in
            Glibc.connect(descriptor, pointer, length) == 0 ? .free : .refused("")
        } == .free
    }

    private static func withSocket(
        _ address: ListenAddress, _ body: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Outcome
    ) -> Outcome {
        var hints = addrinfo()
        hints.ai_family = address.host == nil ? AF_INET6 : AF_UNSPEC
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_PASSIVE | AI_NUMERICHOST
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(address.host, "\(address.port)", &hints, &found) == 0, let info = found else {
            return .refused("no such address")
        }
        defer { freeaddrinfo(found) }
        let descriptor = socket(info.pointee.ai_family, info.pointee.ai_socktype | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0, let pointer = info.pointee.ai_addr else {
            // A machine without IPv6 has every interface in IPv4.
            return address.host == nil && errno == EAFNOSUPPORT
                ? withSocket(ListenAddress(host: "0.0.0.0", port: address.port), body)
                : .refused(String(cString: strerror(errno)))
        }
        defer { close(descriptor) }
        return body(descriptor, pointer, info.pointee.ai_addrlen)
    }
}
