import Glibc
import ServerKit

/// The tool's end of a running server's control socket. Blocks while the server thinks.
final class ControlClient {
    private let descriptor: Int32
    private var received: [UInt8] = []

    private init(_ descriptor: Int32) {
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    /// Connects to the server that uses this data directory; nil when none is running.
    static func connect(_ configuration: ServerConfiguration) throws -> ControlClient? {
        try connect(path: configuration.controlPath)
    }

    /// Connects, or says that there is no server.
    static func require(_ configuration: ServerConfiguration) throws -> ControlClient {
        guard let client = try connect(configuration) else {
            throw CommandFailure(
                "No server is running with the data in \(configuration.dataDirectory).", ExitStatus.notRunning)
        }
        return client
    }

    static func connect(path: String) throws -> ControlClient? {
        guard path.utf8.count <= UnixSocket.pathLimit else {
            throw CommandFailure("The path \(path) is too long for a socket.", ExitStatus.configuration)
        }
        let descriptor = UnixSocket.connect(path)
        if descriptor >= 0 { return ControlClient(descriptor) }
        switch errno {
        // Nothing there, or what a server left that was killed.
        case ENOENT, ENOTDIR, ECONNREFUSED: return nil
        case EACCES, EPERM: throw CommandFailure("\(path) may be opened by the server's own user and by root only.")
        default: throw CommandFailure("\(path) cannot be opened: \(String(cString: strerror(errno))).")
        }
    }

    /// Asks the server and waits for its answer.
    ///
    /// - Throws: the ``ControlFailure`` that the server answers with, or a ``CommandFailure``.
    func ask<Arguments, Reply>(_ command: ControlCommand<Arguments, Reply>, _ arguments: Arguments) throws -> Reply {
        try send(try ControlCoding.request(command, arguments))
        guard let line = try receiveLine() else {
            throw CommandFailure("The server closed the connection without an answer.")
        }
        return try ControlCoding.reply(to: command, line)
    }

    func ask<Reply>(_ command: ControlCommand<ControlNothing, Reply>) throws -> Reply {
        try ask(command, ControlNothing())
    }

    /// Returns when the server has closed the connection, as it does at its very end.
    func waitForEnd() throws {
        while try receiveLine() != nil {}
    }

    private func send(_ bytes: [UInt8]) throws {
        try bytes.withUnsafeBytes { bytes in
            var rest = bytes[...]
            while !rest.isEmpty {
                let start = UnsafeRawBufferPointer(rebasing: rest).baseAddress
                let count = Glibc.send(descriptor, start, rest.count, Int32(MSG_NOSIGNAL))
                if count > 0 {
                    rest = rest.dropFirst(count)
                } else if errno != EINTR {
                    throw CommandFailure("The server closed the connection: \(String(cString: strerror(errno))).")
                }
            }
        }
    }

    /// The next line without its newline; nil at the end.
    private func receiveLine() throws -> [UInt8]? {
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            if let end = received.firstIndex(of: UInt8(ascii: "\n")) {
                defer { received.removeSubrange(...end) }
                return Array(received[..<end])
            }
            let count = recv(descriptor, &chunk, chunk.count, 0)
            if count < 0 && errno == EINTR { continue }
            // A server that is killed resets the connection, which is an end as well.
            guard count > 0 else { return nil }
            received += chunk[..<count]
        }
    }
}
