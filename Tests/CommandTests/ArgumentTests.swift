import Testing

@testable import MartletCommand

@Suite("Command line") struct ArgumentTests {
    @Test(
        "What the manual shows is understood",
        arguments: [
            "run", "run --config f.yaml", "run -c f.yaml --log debug", "demo", "demo --directory d", "setup example.org",
            "setup example.org --admin anna --data d --certificates c -c f.yaml --password-stdin",
            "user add anna@example.org", "user add anna@example.org --password-stdin --config f.yaml",
            "user passwd anna@example.org --generate", "user remove anna@example.org", "user list",
            "user list example.org --json --details", "user lock anna@example.org", "user unlock anna@example.org",
            "user import file --config f.yaml", "user import -", "modules", "modules --json", "modules info c2s",
            "check", "check config", "check certs dns ports --json", "status --json", "reload", "stop", "log", "log debug",
            "log --trace anna@example.org", "log --untrace anna@example.org", "docs etc",
            "guests", "guests list guests.example.org --json", "guests revoke 0123456789ab",
            "guests invite anna@example.org room@rooms.example.org --host guests.example.org --name Bob --places 3",
        ])
    func understood(line: String) throws {
        _ = try RootCommand.parseAsRoot(line.split(separator: " ").map(String.init))
    }

    @Test(
        "What is wrong ends with exit code 2",
        arguments: [
            "serve", "run --bogus", "user add", "user add example.org", "user add anna@example.org/phone",
            "user add anna@example.org --generate --password-stdin", "log loud", "check everything", "setup",
            "run --config", "modules info",
        ])
    func refused(line: String) async {
        #expect(await MartletMain.execute(line.split(separator: " ").map(String.init)) == 2)
    }

    @Test("Help and version are no errors", arguments: ["--help", "--version", "help run", "user add --help"])
    func help(line: String) async {
        #expect(await MartletMain.execute(line.split(separator: " ").map(String.init)) == 0)
    }

    @Test("A missing or wrong configuration is exit code 2, a server that does not run 3")
    func configuration() async throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/f.yaml"
        #expect(await MartletMain.execute(["run", "--config", path]) == 2)
        try Files.write("hosts: { a.example: {} }\nbogus: 1\n", to: path)
        #expect(await MartletMain.execute(["run", "--config", path]) == 2)
        try Files.write(
            "hosts: { a.example: {} }\ndata_directory: \(folder.path)/data\n", to: path, isReplacing: true)
        #expect(await MartletMain.execute(["status", "--config", path]) == 3)
        #expect(await MartletMain.execute(["user", "add", "x@b.example", "--generate", "--config", path]) == 2)
        #expect(await MartletMain.execute(["user", "add", "x@a.example", "--generate", "--config", path]) == 0)
        #expect(await MartletMain.execute(["user", "add", "x@a.example", "--generate", "--config", path]) == 1)
        #expect(await MartletMain.execute(["user", "lock", "x@a.example", "--config", path]) == 0)
        #expect(await MartletMain.execute(["user", "list", "--details", "--config", path]) == 0)
        #expect(await MartletMain.execute(["user", "remove", "x@a.example", "--config", path]) == 0)
        #expect(await MartletMain.execute(["user", "unlock", "x@a.example", "--config", path]) == 1)
    }

    @Test("Durations are told in two units", arguments: [(0, "0 s"), (61, "1 min 1 s"), (90_000, "1 d 1 h")])
    func durations(seconds: Int64, text: String) {
        #expect(Status.duration(seconds) == text)
    }
}
