import ArgumentParser
import ServerKit

struct ModulesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "modules", abstract: "List the modules, or read about one: martlet modules info NAME.",
        subcommands: [ModulesList.self, ModulesInfo.self], defaultSubcommand: ModulesList.self)
}

struct ModulesList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the modules and where they are on.")

    @OptionGroup var file: ConfigurationOption
    @Flag(help: "Print JSON.") var json = false

    struct Row: Codable {
        var name: String
        var summary: String
        var implements: [String]
        var isOnByDefault: Bool
        /// Whether it serves a domain of its own, as a component.
        var isComponent: Bool
        /// By host and component; empty without a configuration.
        var isOn: [String: Bool]

        /// In place of the columns of hosts, where there is no configuration.
        fileprivate var defaultState: String { isComponent ? "component" : isOnByDefault ? "on" : "off" }
    }

    func run() async throws {
        // The table is of use without a configuration, too: it shows the defaults then.
        let isConfigured = file.config != nil || Files.exists(file.path)
        let configuration = isConfigured ? try ConfigurationFile.readLoosely(file.path) : nil
        let rows = Self.rows(MartletMain.modules, configuration)
        if json { return try Console.print(json: rows) }
        let domains = configuration?.domains ?? []
        let head = ["MODULE"] + (domains.isEmpty ? ["DEFAULT"] : domains) + ["IMPLEMENTS", "SUMMARY"]
        Console.print(table: [head] + rows.map { row in
            let states = domains.isEmpty ? [row.defaultState] : domains.map { row.isOn[$0] == true ? "on" : "off" }
            return [row.name] + states + [row.implements.joined(separator: ", "), row.summary]
        })
    }

    static func rows(_ modules: [any Module.Type], _ configuration: ServerConfiguration?) -> [Row] {
        let planner = ModulePlanner(modules)
        let loaded = (configuration?.domains ?? []).map { domain in
            (domain, configuration.map { planner.names(in: $0, on: domain) } ?? [])
        }
        return modules.map { $0.info }.sorted { $0.name < $1.name }.map { info in
            let isOn = loaded.map { domain, names in (domain, names.contains(info.name)) }
            return Row(
                name: info.name, summary: info.summary, implements: info.implements.map(\.name),
                isOnByDefault: info.isOnByDefault, isComponent: info.scope == .component,
                isOn: Dictionary(uniqueKeysWithValues: isOn))
        }
    }
}

struct ModulesInfo: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "info", abstract: "Show what a module does and which options it has.")

    @Argument(help: "The module's name.") var name: String

    func run() async throws {
        let modules = MartletMain.modules
        guard let module = modules.first(where: { $0.info.name == name }) else {
            let hint = Suggestion.nearest(to: name, in: modules.map { $0.info.name }).map { " Did you mean \($0)?" } ?? ""
            throw CommandFailure("There is no module \(name.yamlScalar).\(hint)", ExitStatus.configuration)
        }
        Console.print(ModuleManual(module).text)
    }
}

extension ServerConfiguration {
    /// The domains of hosts, then of components, in the order of the file.
    fileprivate var domains: [String] { hosts.map(\.name) + components.map(\.name) }
}
