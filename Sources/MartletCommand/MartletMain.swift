import ArgumentParser
import Glibc
import ServerKit

/// The program `martlet`, with the modules that it was built with.
///
/// A site package has a `main.swift` of its own: `await MartletMain.run(modules: bundledModules + [Echo.self])`.
public enum MartletMain {
    /// The modules that the program was built with.
    @TaskLocal static var modules: [any Module.Type] = []

    /// Does what the command line asks for and ends the process.
    public static func run(modules: [any Module.Type]) async -> Never {
        let code = await $modules.withValue(modules) { await execute(Array(CommandLine.arguments.dropFirst())) }
        exit(code)
    }

    /// Does what the arguments ask for.
    ///
    /// - Returns: the exit code; what went wrong was written to standard error.
    static func execute(_ arguments: [String]) async -> Int32 {
        // What is stored is for its owner; files that others may read are made with their mode.
        umask(0o027)
        do {
            var command = try RootCommand.parseAsRoot(arguments)
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
            return ExitStatus.success
        } catch let failure as CommandFailure {
            if !failure.message.isEmpty { Console.complain(failure.message) }
            return failure.exitCode
        } catch let failure as ControlFailure {
            Console.complain(failure.message)
            return failure.exitCode
        } catch let problems as ConfigProblems {
            Console.complain(problems.description)
            return ExitStatus.configuration
        } catch {
            return report(error)
        }
    }

    /// Errors of the argument parser, which for it include requests for help; anything else is a failure.
    private static func report(_ error: any Error) -> Int32 {
        let text = RootCommand.fullMessage(for: error)
        switch RootCommand.exitCode(for: error) {
        case .success:
            Console.print(text)
            return ExitStatus.success
        case .validationFailure:
            Console.complain(text)
            return ExitStatus.configuration
        default:
            Console.complain("martlet: \(error)")
            return ExitStatus.failure
        }
    }
}

/// What scripts learn from the program's end.
enum ExitStatus {
    /// Done.
    static let success: Int32 = 0
    /// It could not be done, or a check found something wrong.
    static let failure: Int32 = 1
    /// The command line or the configuration is wrong; nothing was done.
    static let configuration: Int32 = 2
    /// The server, which had to be running for this, is not.
    static let notRunning: Int32 = 3
}

/// Why a command ends early.
struct CommandFailure: Error {
    /// For standard error; empty when everything has been said.
    let message: String
    let exitCode: Int32

    init(_ message: String, _ exitCode: Int32 = ExitStatus.failure) {
        self.message = message.isEmpty ? "" : "martlet: \(message)"
        self.exitCode = exitCode
    }
}

struct RootCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "martlet",
        abstract: "An XMPP server.",
        discussion: """
            A first look, on this machine only:   martlet demo
            A server of your own:                 martlet setup example.org
                                                  martlet run

            Commands about accounts work whether the server runs or not. Exit codes: 0 done, 1 failed or something \
            is wrong, 2 mistake in the command line or the configuration, 3 the server is not running.
            """,
        version: "martlet \(ServerVersion.number)",
        subcommands: [],
        groupedSubcommands: [
            CommandGroup(name: "Serving", subcommands: [Run.self, Demo.self, Setup.self, Check.self]),
            CommandGroup(name: "Accounts", subcommands: [User.self]),
            CommandGroup(
                name: "A running server",
                subcommands: [
                    Status.self, Reload.self, Stop.self, Log.self, Keys.self, ServersCommand.self,
                    GuestsCommand.self,
                ]),
            CommandGroup(name: "Reading", subcommands: [ModulesCommand.self, Docs.self]),
        ])
}
