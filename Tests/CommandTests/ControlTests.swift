import Glibc
import ServerKit
import StorageMemory
import Testing

@testable import MartletCommand

extension ControlCommand where Arguments == [String], Reply == String {
    fileprivate static var join: Self { Self("test.join") }
    fileprivate static var other: Self { Self("test.other") }
}

@Suite("Control socket") struct ControlTests {
    private let folder = TemporaryFolder()
    private var path: String { folder.path + "/control.sock" }

    @ServerActor
    private func open() async throws -> (Server, ControlSocket) {
        let (configuration, _) = ServerConfiguration.read(
            bytes: Array("hosts: { example.org: {} }".utf8), file: "f.yaml", listeners: [])
        let server = Server(
            configuration: try #require(configuration), storage: Storage(MemoryStorageDriver()), modules: [],
            log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        server.control.answer(.join) { words in
            guard !words.isEmpty else { throw ControlFailure("No words.", exitCode: 7) }
            return words.joined(separator: " ")
        }
        return (server, try await ControlSocket.open(at: path, server.control))
    }

    @Test("A question is answered, an error arrives with its exit code, and the connection goes on")
    func roundTrip() async throws {
        let (_, socket) = try await open()
        let client = try #require(try ControlClient.connect(path: path))
        #expect(try client.ask(.join, ["a", "b\n\"c\""]) == "a b\n\"c\"")
        #expect(throws: ControlFailure("No words.", exitCode: 7)) { try client.ask(.join, []) }
        #expect(throws: ControlFailure("This server knows no command \"test.other\".", exitCode: 2)) {
            try client.ask(.other, [])
        }
        let long = String(repeating: "x", count: 1_000_000)
        #expect(try client.ask(.join, [long]) == long)
        await socket.close()
    }

    @Test("Only the owner may open the socket; what an earlier server left is replaced; closing removes it")
    func file() async throws {
        let left = UnixSocketFile.leave(at: path)
        #expect(try ControlClient.connect(path: path) == nil)
        close(left)
        let (_, socket) = try await open()
        var status = stat()
        #expect(stat(path, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
        await socket.close()
        #expect(stat(path, &status) != 0)
        #expect(try ControlClient.connect(path: path) == nil)
    }

    @Test(
        "What is no request is refused",
        arguments: ["", "{", "[]", "null", "{\"command\":5}", "\u{0}", "{\"command\":\"test.join\",\"arguments\":{}}"])
    func garbage(line: String) async throws {
        let (server, socket) = try await open()
        let answer = String(decoding: await server.control.reply(to: Array(line.utf8)), as: UTF8.self)
        #expect(answer.hasPrefix("{\"error\":{\"exitCode\":2,"))
        #expect(answer.hasSuffix("}\n"))
        await socket.close()
    }

    @Test("A path that fits no socket is refused in words")
    func longPath() async throws {
        let path = "/tmp/" + String(repeating: "x", count: 200)
        await #expect(throws: ControlFailure.self) {
            let (server, socket) = try await open()
            await socket.close()
            _ = try await ControlSocket.open(at: path, server.control)
        }
        #expect(throws: CommandFailure.self) { try ControlClient.connect(path: path) }
    }
}

private enum UnixSocketFile {
    /// A file in the way, as a killed server leaves it.
    static func leave(at path: String) -> Int32 {
        open(path, O_CREAT | O_WRONLY, 0o644)
    }
}
