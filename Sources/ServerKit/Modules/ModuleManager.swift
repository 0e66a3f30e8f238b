/// Loads, reconfigures and unloads the modules of one host, so that they match a configuration.
@ServerActor
final class ModuleManager {
    private struct Loaded {
        let type: any Module.Type
        let module: any Module
        let facade: ModuleHost
        let settings: ConfigNode
        let rank: Int
    }

    private let host: Host
    private let scope: ModuleInfo.Scope
    private var loaded: [String: Loaded] = [:]

    init(host: Host, scope: ModuleInfo.Scope) {
        self.host = host
        self.scope = scope
    }

    /// The names of the modules that are loaded, sorted.
    var names: [String] { loaded.keys.sorted() }

    /// Whether a module is loaded.
    func contains(_ name: String) -> Bool { loaded[name] != nil }

    /// Makes what is loaded match the plan: unloads what is not in it, reconfigures what changed, loads what is new.
    ///
    /// - Throws: a ``ModuleError`` with what modules object to; they are not loaded, all others are as planned.
    func apply(_ plan: [PlannedModule]) throws {
        let wanted = Set(plan.map(\.info.name))
        for name in newestFirst where !wanted.contains(name) { unload(name) }
        var objections: [String] = []
        for planned in plan where planned.info.scope == scope {
            do { try apply(planned) } catch { objections.append("\(error)") }
        }
        if !objections.isEmpty { throw ModuleError(objections.joined(separator: "\n")) }
    }

    func unloadAll() {
        for name in newestFirst { unload(name) }
    }

    /// Those that need others before those they need.
    private var newestFirst: [String] {
        loaded.sorted { $0.value.rank > $1.value.rank }.map(\.key)
    }

    private func apply(_ planned: PlannedModule) throws {
        let name = planned.info.name
        if let current = loaded[name] {
            if current.settings == planned.options { return }
            if current.module.reconfigure(from: planned.options) {
                loaded[name] = Loaded(
                    type: planned.type, module: current.module, facade: current.facade, settings: planned.options,
                    rank: current.rank)
                return
            }
            unload(name)
        }
        let facade = ModuleHost(host: host, module: name, rank: planned.rank)
        let module = planned.type.make(planned.options)
        do {
            try module.load(into: facade)
            if let conflict = facade.conflict { throw ModuleError(conflict) }
        } catch {
            facade.unload()
            module.unload()
            throw ModuleError("The module \(name) cannot be loaded on \(host.domain): \(error)")
        }
        loaded[name] = Loaded(
            type: planned.type, module: module, facade: facade, settings: planned.options, rank: planned.rank)
    }

    private func unload(_ name: String) {
        guard let entry = loaded.removeValue(forKey: name) else { return }
        entry.facade.unload()
        entry.module.unload()
    }
}

/// A module that a host should have, with the options it should have it with.
struct PlannedModule {
    let type: any Module.Type
    let info: ModuleInfo
    let options: ConfigNode
    /// Its place among all modules there are, loaded or not, so that the order holds when others come and go.
    let rank: Int

    init(_ type: any Module.Type, rank: Int, options: ConfigNode) {
        self.type = type
        self.rank = rank
        info = type.info
        self.options = options
    }
}

/// Decides which modules a host gets and in which order, and finds what is wrong with that.
public struct ModulePlanner: Sendable {
    public let bundled: [any Module.Type]
    /// The same, each after those it requires or names in `after`, otherwise by name.
    private let order: [any Module.Type]

    public init(_ bundled: [any Module.Type]) {
        self.bundled = bundled
        order = Self.ordered(bundled)
    }

    public var names: [String] { bundled.map { $0.info.name } }

    /// What is wrong with the modules of a configuration: unknown ones, options, dependencies.
    public func problems(in configuration: ServerConfiguration) -> [ConfigProblem] {
        var problems = configuration.problems(knownModules: names)
        for component in configuration.components where names.contains(component.module) {
            let message = "the module \(component.module) serves no domain of its own."
            problems.append(ConfigProblem(message, at: component.position, path: "components.\(component.name)"))
        }
        for host in configuration.hosts.map(\.name) {
            for planned in plan(configuration, host: host) {
                problems += planned.type.problems(with: planned.options)
                problems += missing(for: planned, configuration, host)
            }
        }
        return problems
    }

    private func missing(
        for planned: PlannedModule, _ configuration: ServerConfiguration, _ host: String
    ) -> [ConfigProblem] {
        let present = Set(plan(configuration, host: host).map(\.info.name))
        return planned.info.requires.filter { !present.contains($0) }.map { name in
            let message = "the module \(planned.info.name) needs the module \(name), which is off."
            let position = configuration.setting(module: planned.info.name, host: host)?.position
                ?? configuration.setting(module: name, host: host)?.position
            return ConfigProblem(message, at: position ?? ConfigPosition(file: "configuration"), path: "modules")
        }
    }

    /// The modules of a host, in their order.
    func plan(_ configuration: ServerConfiguration, host: String) -> [PlannedModule] {
        planned(configuration, host) { _ in true }
    }

    /// The modules that are loaded once for the server.
    func serverPlan(_ configuration: ServerConfiguration) -> [PlannedModule] {
        planned(configuration, nil) { $0.scope == .server }
    }

    private func planned(
        _ configuration: ServerConfiguration, _ host: String?, where isMeant: (ModuleInfo) -> Bool
    ) -> [PlannedModule] {
        order.enumerated().compactMap { rank, type in
            let info = type.info
            let setting = configuration.setting(module: info.name, host: host)
            guard isMeant(info), setting?.isOn ?? info.isOnByDefault else { return nil }
            let none = ConfigNode(.null, at: ConfigPosition(file: ""))
            return PlannedModule(type, rank: rank, options: setting?.node ?? none)
        }
    }

    private static func ordered(_ modules: [any Module.Type]) -> [any Module.Type] {
        var rest = modules.sorted { $0.info.name < $1.info.name }
        var result: [any Module.Type] = []
        while !rest.isEmpty {
            let waiting = Set(rest.map { $0.info.name })
            // In a circle of dependencies, which a test rules out for bundled modules, the first by name goes first.
            let index = rest.firstIndex { type in
                (type.info.requires + type.info.after).allSatisfy { !waiting.contains($0) || $0 == type.info.name }
            }
            result.append(rest.remove(at: index ?? 0))
        }
        return result
    }
}
