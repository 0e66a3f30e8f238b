import ArgumentParser
import ServerKit

struct Run: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serve, in the foreground.",
        discussion: """
            Logs to standard error, and prints one line on standard output when all ports are open. SIGTERM and \
            SIGINT end the server in good order, SIGHUP makes it read configuration and certificates again while \
            clients stay connected.
            """)

    @OptionGroup var file: ConfigurationOption

    @Option(
        help: ArgumentHelp("Log from this level on, whatever the configuration says.", valueName: "level"))
    var log: LogLevelArgument?

    func run() async throws {
        try await ServerProcess.run(file.path, modules: MartletMain.modules, logLevel: log?.level) { listening in
            Console.print("Martlet is ready: \(listening.portList)")
        }
    }
}
