import ArgumentParser
import ServerKit

/// A level of the log on the command line.
enum LogLevelArgument: String, ExpressibleByArgument, CaseIterable {
    case trace, debug, info, notice, warning, error

    var level: Logger.Level { Logger.Level(rawValue: rawValue) ?? .info }
}

struct Log: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Change what the running server logs, or show its level.",
        discussion: """
            The level holds until the server ends or a reload changes the one in the configuration. --trace writes \
            the XML of one account's sessions to the log, bodies included, at the level notice: for finding faults \
            with the account's owner, and to be switched off again with --untrace.
            """)

    @OptionGroup var file: ConfigurationOption
    @Argument(help: "The least important level that is logged.") var level: LogLevelArgument?
    @Option(help: ArgumentHelp("Log the XML of this account's sessions.", valueName: "jid")) var trace: String?
    @Option(help: ArgumentHelp("Log it no longer.", valueName: "jid")) var untrace: String?
    @Flag(help: "Print JSON.") var json = false

    func run() async throws {
        let configuration = try ConfigurationFile.readLoosely(file.path)
        let client = try ControlClient.require(configuration)
        if let untrace { _ = try client.ask(.log, LogArguments(trace: untrace, isTraceOn: false)) }
        let reply = try client.ask(
            .log, LogArguments(level: level?.rawValue, trace: trace, isTraceOn: trace.map { _ in true }))
        if json { return try Console.print(json: reply) }
        Console.print("Log level: \(reply.level)")
        if trace != nil, let level = Logger.Level(rawValue: reply.level), level > .notice {
            Console.complain("The trace is logged at the level notice and will not show at this one.")
        }
    }
}
