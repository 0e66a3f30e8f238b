import ArgumentParser
import ServerKit

struct ServersCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "s2s", abstract: "Connections with other servers, or why there are none.",
        subcommands: [ServersList.self, ServersTest.self], defaultSubcommand: ServersList.self)
}

struct ServersList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the connections with other servers, and what does not work.")

    @OptionGroup var file: ConfigurationOption
    @Flag(help: "Print JSON.") var json = false

    func run() async throws {
        let overview = try ControlClient.require(try ConfigurationFile.readLoosely(file.path)).ask(.listPeers)
        if json { return try Console.print(json: overview) }
        let head = ["DOMAIN", "HERE", "OPENED BY", "ADDRESS", "TLS", "BOTH WAYS", "ACKS", "PROVED BY"]
        Console.print(
            table: [head]
                + overview.connections.map { connection in
                    [
                        connection.remote, connection.local, connection.isOutgoing ? "us" : "them", connection.address,
                        connection.tls, connection.isBidirectional ? "yes" : "no", connection.isManaged ? "yes" : "no",
                        connection.authentication.isEmpty ? "not yet" : connection.authentication,
                    ]
                })
        for trouble in overview.troubles {
            Console.print("\(trouble.remote): \(trouble.waiting) waiting. \(trouble.reason)")
        }
    }
}

struct ServersTest: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "test", abstract: "Open a stream to another server and tell each step.")

    @OptionGroup var file: ConfigurationOption
    @Argument(help: "The other server's domain.") var domain: String
    @Option(help: "The domain here that asks; without it, the first.") var from: String?

    func run() async throws {
        let report = try ControlClient.require(try ConfigurationFile.readLoosely(file.path)).ask(
            .testPeer, PeerTestArguments(domain: domain, local: from))
        for line in report.lines { Console.print(line) }
        if !report.isReachable { throw CommandFailure("") }
    }
}
