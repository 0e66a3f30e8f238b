import ArgumentParser
import Glibc
import ServerKit

/// The option that every command has which needs the configuration.
struct ConfigurationOption: ParsableArguments {
    @Option(
        name: [.customShort("c"), .long],
        help: ArgumentHelp(
            "The configuration. (default: $MARTLET_CONFIG, else /etc/martlet/martlet.yaml, else ./martlet.yaml)",
            valueName: "file"))
    var config: String?

    /// Where the configuration is expected.
    var path: String { config ?? Self.usualPath }

    private static let systemPath = "/etc/martlet/martlet.yaml"

    private static var usualPath: String {
        if let path = getenv("MARTLET_CONFIG").map({ String(cString: $0) }), !path.isEmpty { return path }
        return Files.exists(systemPath) ? systemPath : "martlet.yaml"
    }
}

/// The configuration file as the program reads it.
enum ConfigurationFile {
    /// The names that `storage:` may have.
    static let storageNames = ["sqlite", "memory"]

    /// Reads and checks everything.
    ///
    /// - Throws: ``ConfigProblems`` with all that is wrong.
    static func read(_ path: String, modules: [any Module.Type]) throws -> ServerConfiguration {
        let (configuration, problems) = ServerConfiguration.read(
            contentsOf: path, listeners: ServerConfiguration.knownListeners)
        guard let configuration else { throw ConfigProblems(problems) }
        let all = problems + ModulePlanner(modules).problems(in: configuration) + own(configuration, path)
        guard all.isEmpty else { throw ConfigProblems(all) }
        return configuration
    }

    /// Reads what tools need to know of a server, which may be running with a file that was broken since: the rest of
    /// the file need not be right.
    ///
    /// - Throws: ``ConfigProblems`` when the file cannot be read at all.
    static func readLoosely(_ path: String) throws -> ServerConfiguration {
        let (configuration, problems) = ServerConfiguration.read(
            contentsOf: path, listeners: ServerConfiguration.knownListeners)
        guard let configuration else { throw ConfigProblems(problems) }
        return configuration
    }

    /// What the program, rather than kernel or modules, has to object to.
    private static func own(_ configuration: ServerConfiguration, _ path: String) -> [ConfigProblem] {
        var problems: [ConfigProblem] = []
        let position = ConfigPosition(file: path)
        if configuration.hosts.isEmpty {
            problems.append(
                ConfigProblem("no host; name at least one: \"hosts: { example.org: {} }\".", at: position, path: "hosts"))
        }
        if !storageNames.contains(configuration.storage) {
            problems.append(
                ConfigProblem(
                    "there is no storage module \(configuration.storage.yamlScalar); allowed: "
                        + storageNames.joined(separator: " or ") + ".",
                    at: position, path: "storage",
                    suggestion: Suggestion.nearest(to: configuration.storage, in: storageNames)))
        }
        return problems
    }
}

extension ServerConfiguration {
    /// Where the running server listens for its administrator.
    var controlPath: String { dataDirectory + "/" + ControlSocket.fileName }
}
