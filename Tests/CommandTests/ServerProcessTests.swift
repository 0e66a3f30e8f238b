import Glibc
import ServerKit
import Testing

@testable import MartletCommand

/// The program itself, as service managers and scripts see it.
@Suite("The process") struct ServerProcessTests {
    private let folder = TemporaryFolder()
    private var path: String { folder.path + "/martlet.yaml" }

    init() throws {
        try Files.write(
            """
            hosts: { localhost: {} }
            data_directory: \(folder.path)
            listen: { c2s: "127.0.0.1:0", c2s_tls: off, s2s: off, s2s_tls: off }
            """, to: path)
    }

    @Test("It prints a line when its ports are open, reloads on SIGHUP, and exits with 0 on SIGTERM")
    func contract() async throws {
        let child = try Child(["run", "--config", path])
        #expect(child.readLine()?.hasPrefix("Martlet is ready: c2s 127.0.0.1:") == true)
        let configuration = try ConfigurationFile.readLoosely(path)
        let client = try ControlClient.require(configuration)
        #expect(try client.ask(.status).processID == child.id)

        #expect(await MartletMain.execute(["user", "add", "anna@localhost", "--generate", "--config", path]) == 0)
        try Files.write("anna@localhost x\nbob@localhost x\n", to: folder.path + "/list")
        #expect(await MartletMain.execute(["user", "import", folder.path + "/list", "--config", path]) == 1)
        #expect(try client.ask(.status).hosts.map(\.accounts) == [2])

        #expect(try client.ask(.log, LogArguments(level: "error")).level == "error")
        try Files.write("hosts: { localhost: {} }\nbogus: 1\n", to: path, isReplacing: true)
        #expect(throws: ControlFailure.self) { try client.ask(.reload) }
        kill(child.id, SIGHUP)
        #expect(try client.ask(.status).hosts.map(\.name) == ["localhost"])
        kill(child.id, SIGTERM)
        #expect(child.wait() == 0)
        #expect(try ControlClient.connect(configuration) == nil)
    }

    @Test("A second server on the same data does not start, and says why; stop ends the first")
    func twice() async throws {
        let first = try Child(["run", "--config", path])
        #expect(first.readLine() != nil)
        #expect(try Child(["run", "--config", path]).wait() == 1)
        #expect(await MartletMain.execute(["check", "ports", "--config", path]) == 0)
        #expect(await MartletMain.execute(["stop", "--config", path]) == 0)
        #expect(first.wait() == 0)
    }

    @Test("keys shows what is recorded of an account's devices, and says when there is no account or no server")
    func keys() async throws {
        let child = try Child(["run", "--config", path])
        #expect(child.readLine() != nil)
        let client = try ControlClient.require(try ConfigurationFile.readLoosely(path))
        #expect(await MartletMain.execute(["user", "add", "anna@localhost", "--generate", "--config", path]) == 0)
        let report = try client.ask(.keys, AccountArguments(address: "anna@localhost"))
        #expect(report == KeyLogReport(entries: [], head: "", devices: [:], problem: nil))
        #expect(await MartletMain.execute(["keys", "anna@localhost", "--config", path]) == 0)
        #expect(await MartletMain.execute(["keys", "anna@localhost", "--json", "--config", path]) == 0)
        #expect(await MartletMain.execute(["keys", "bob@localhost", "--config", path]) == 1)
        #expect(await MartletMain.execute(["keys", "localhost", "--config", path]) == 2)
        kill(child.id, SIGTERM)
        #expect(child.wait() == 0)
        #expect(await MartletMain.execute(["keys", "anna@localhost", "--config", path]) == 3)
    }

    @Test("guests makes invitations that outlive the server, lists them and takes them back")
    func guests() async throws {
        #expect(await MartletMain.execute(["guests", "--config", path]) == 3)
        let text = String(decoding: try Files.read(path), as: UTF8.self)
        let hosts = "localhost: {}, guests.localhost: { authentication: anonymous }"
        try Files.write(
            text.replacing("localhost: {}", with: hosts) + "\nmodules: { guests: on }\n", to: path, isReplacing: true)
        var child = try Child(["run", "--config", path])
        #expect(child.readLine() != nil)
        var client = try ControlClient.require(try ConfigurationFile.readLoosely(path))
        let pass = try client.ask(.inviteGuest, GuestRequest(peers: [JID("anna@localhost")!], name: "Bob", places: 2))
        #expect(pass.password.count == 40 && pass.hint.contains(pass.password))
        for (line, code) in [
            ("invite anna@localhost bob@elsewhere.example --expires 2h --json", Int32(0)),
            ("invite anna@localhost --host guests.localhost --places 3", 0), ("invite localhost", 2),
            ("invite anna@localhost --host localhost", 2), ("invite anna@localhost --expires soon", 2),
            ("invite anna@localhost/phone", 2), ("invite anna@localhost --places 0", 2), ("invite", 2),
            ("list --json", 0), ("list guests.localhost", 0), ("list localhost", 2), ("revoke nothing", 1),
        ] {
            let words = ["guests"] + line.split(separator: " ").map(String.init) + ["--config", path]
            #expect(await MartletMain.execute(words) == code, "\(line)")
        }
        kill(child.id, SIGTERM)
        #expect(child.wait() == 0)
        child = try Child(["run", "--config", path])
        #expect(child.readLine() != nil)
        client = try ControlClient.require(try ConfigurationFile.readLoosely(path))
        let all = try client.ask(.listGuests, GuestListArguments())
        #expect(all.count == 3 && all.first == pass.invitation)
        #expect(await MartletMain.execute(["guests", "revoke", pass.invitation.id, "--config", path]) == 0)
        #expect(try client.ask(.listGuests, GuestListArguments()).count == 2)
        kill(child.id, SIGTERM)
        #expect(child.wait() == 0)
    }

    @Test("Storage that is no database is an error at start")
    func corrupt() throws {
        try Files.write(String(repeating: "no database ", count: 500), to: folder.path + "/martlet.sqlite")
        #expect(try Child(["run", "--config", path]).wait() == 1)
    }
}

/// A process whose standard output is read and whose standard error is dropped.
private final class Child {
    let id: pid_t
    private let output: Int32

    init(_ arguments: [String]) throws {
        var link = [CChar](repeating: 0, count: 4_096)
        let length = readlink("/proc/self/exe", &link, link.count - 1)
        let own = String(decoding: link.prefix(max(0, length)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let program = String(own[..<(own.lastIndex(of: "/") ?? own.startIndex)]) + "/martlet"
        var ends: [Int32] = [0, 0]
        try #require(pipe(&ends) == 0)
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO)
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0)
        posix_spawn_file_actions_addclose(&actions, ends[0])
        posix_spawn_file_actions_addclose(&actions, ends[1])
        var words = ([program] + arguments).map { strdup($0) } + [nil]
        defer { for word in words { free(word) } }
        var child: pid_t = 0
        let result = posix_spawn(&child, program, &actions, nil, &words, environ)
        close(ends[1])
        output = ends[0]
        id = child
        try #require(result == 0)
    }

    deinit { close(output) }

    func readLine() -> String? {
        var bytes: [UInt8] = []
        var byte: UInt8 = 0
        while read(output, &byte, 1) == 1 {
            if byte == UInt8(ascii: "\n") { return String(decoding: bytes, as: UTF8.self) }
            bytes.append(byte)
        }
        return nil
    }

    /// The exit code; 128 and more for a signal.
    func wait() -> Int32 {
        var status: Int32 = 0
        waitpid(id, &status, 0)
        return status & 0x7F == 0 ? status >> 8 & 0xFF : 128 + (status & 0x7F)
    }
}
