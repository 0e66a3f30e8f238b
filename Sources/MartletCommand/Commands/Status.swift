import ArgumentParser
import ServerKit

struct Status: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show how the running server is.",
        discussion: "Exits with 3 if no server is running.")

    @OptionGroup var file: ConfigurationOption
    @Flag(help: "Print JSON.") var json = false

    func run() async throws {
        let configuration = try ConfigurationFile.readLoosely(file.path)
        let status = try ControlClient.require(configuration).ask(.status)
        if json { return try Console.print(json: status) }
        let ports = status.listening.sorted { $0.key < $1.key }.filter { !$0.value.isEmpty }
        Console.print(table: [
            ["Version", status.version],
            ["Process", "\(status.processID), \(status.memoryKiB) KiB resident"],
            ["Started", "\(status.startedAt), \(Self.duration(status.uptimeSeconds)) ago"],
            ["Log level", status.logLevel],
        ] + ports.map { ["Listening", "\($0.key) on \($0.value.joined(separator: ", "))"] })
        Console.print("")
        Console.print(table: [["HOST", "ACCOUNTS", "CONNECTED", "MODULES"]] + status.hosts.map { host in
            [host.name, "\(host.accounts)", "\(host.resources)", "\(host.modules.count)"]
        })
        guard !status.components.isEmpty else { return }
        Console.print("")
        Console.print(table: [["COMPONENT", "MODULES"]] + status.components.map { component in
            [component.name, component.modules.joined(separator: ", ")]
        })
    }

    /// `3 d 4 h`, `25 min 3 s`
    static func duration(_ seconds: Int64) -> String {
        let parts = [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")]
        let first = parts.firstIndex { $0.0 > 0 } ?? parts.count - 1
        return parts[first...].prefix(2).map { "\($0.0) \($0.1)" }.joined(separator: " ")
    }
}
