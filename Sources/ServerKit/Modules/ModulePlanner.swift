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

/// Decides which modules a host or component gets and in which order, and finds what is wrong with that.
public struct ModulePlanner: Sendable {
    public let bundled: [any Module.Type]
    /// The same, each after those it requires or names in `after`, otherwise by name.
    private let order: [any Module.Type]

    public init(_ bundled: [any Module.Type]) {
        self.bundled = bundled
        order = Self.ordered(bundled)
    }

    public var names: [String] { bundled.map { $0.info.name } }

    /// The names of the modules that a host or component gets.
    public func names(in configuration: ServerConfiguration, on domain: String) -> Set<String> {
        if let component = configuration.components.first(where: { $0.name == domain }) {
            return Set(plan(configuration, component: component).map(\.info.name))
        }
        return Set(plan(configuration, host: domain).map(\.info.name))
    }

    // MARK: Plans

    /// The modules of a host, in their order, those included that are loaded once for the server.
    func plan(_ configuration: ServerConfiguration, host: String) -> [PlannedModule] {
        planned(configuration, host) { $0.scope != .component }
    }

    /// The modules of a component, in their order: the one that it names, and those that make sense on any domain.
    func plan(_ configuration: ServerConfiguration, component: ComponentConfiguration) -> [PlannedModule] {
        order.enumerated().compactMap { rank, type in
            if type.info.name == component.module {
                return PlannedModule(type, rank: rank, options: configuration.options(of: component))
            }
            guard type.info.scope == .domain else { return nil }
            return planned(type, rank, configuration, nil)
        }
    }

    /// The modules that are loaded once for the server.
    func serverPlan(_ configuration: ServerConfiguration) -> [PlannedModule] {
        planned(configuration, nil) { $0.scope == .server }
    }

    private func planned(
        _ configuration: ServerConfiguration, _ host: String?, where isMeant: (ModuleInfo) -> Bool
    ) -> [PlannedModule] {
        order.enumerated().compactMap { rank, type in
            isMeant(type.info) ? planned(type, rank, configuration, host) : nil
        }
    }

    /// The module as a host has it, or the server without a host; nil when it is off.
    private func planned(
        _ type: any Module.Type, _ rank: Int, _ configuration: ServerConfiguration, _ host: String?
    ) -> PlannedModule? {
        let setting = configuration.setting(module: type.info.name, host: host)
        guard setting?.isOn ?? type.info.isOnByDefault else { return nil }
        let none = ConfigNode(.null, at: ConfigPosition(file: ""))
        return PlannedModule(type, rank: rank, options: setting?.node ?? none)
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

    // MARK: Problems

    /// What is wrong with the modules of a configuration: unknown ones, options, dependencies, places.
    public func problems(in configuration: ServerConfiguration) -> [ConfigProblem] {
        var problems = configuration.problems(knownModules: names)
        for host in configuration.hosts {
            let plan = plan(configuration, host: host.name)
            for planned in plan {
                problems += planned.type.problems(with: planned.options)
                let position = configuration.setting(module: planned.info.name, host: host.name)?.position
                problems += missing(for: planned, in: plan, configuration, host.name, position)
            }
        }
        for component in configuration.components where names.contains(component.module) {
            problems += self.problems(with: component, configuration)
        }
        return problems + misplaced(in: configuration)
    }

    private func problems(
        with component: ComponentConfiguration, _ configuration: ServerConfiguration
    ) -> [ConfigProblem] {
        let module = component.module
        let path = "components.\(component.name)"
        guard serversOfDomains.contains(module) else {
            return [
                ConfigProblem("the module \(module) serves no domain of its own.", at: component.position, path: path)
            ]
        }
        if case .off(let position)? = configuration.modules[module] {
            let message = "the module \(module) is switched off on line \(position.line)."
            return [ConfigProblem(message, at: component.position, path: path)]
        }
        let plan = plan(configuration, component: component)
        return plan.flatMap { planned in
            planned.type.problems(with: planned.options)
                + missing(for: planned, in: plan, configuration, nil, component.position)
        }
    }

    /// Modules that serve a domain of their own, and are switched on somewhere else: nothing would come of it.
    private func misplaced(in configuration: ServerConfiguration) -> [ConfigProblem] {
        let used = Set(configuration.components.map(\.module))
        func problem(_ entry: ModuleSettings.Entry, _ path: String) -> ConfigProblem {
            let message = "the module \(entry.name) serves a domain of its own, which belongs under \"components:\"."
            return ConfigProblem(message, at: entry.setting.position, path: "\(path).\(entry.name)")
        }
        let unused = configuration.modules.entries.filter { $0.setting.isOn && !used.contains($0.name) }
        let nowhereElse = Set(bundled.filter { $0.info.scope == .component }.map { $0.info.name })
        return unused.filter { nowhereElse.contains($0.name) }.map { problem($0, "modules") }
            + configuration.hosts.flatMap { host in
                host.modules.entries.filter { nowhereElse.contains($0.name) }
                    .map { problem($0, "hosts.\(host.name).modules") }
            }
    }

    /// The modules that components may name.
    private var serversOfDomains: Set<String> {
        let scopes: Set<ModuleInfo.Scope> = [.component, .hostAndComponent]
        return Set(bundled.filter { scopes.contains($0.info.scope) }.map { $0.info.name })
    }

    private func missing(
        for planned: PlannedModule, in plan: [PlannedModule], _ configuration: ServerConfiguration, _ host: String?,
        _ position: ConfigPosition?
    ) -> [ConfigProblem] {
        let present = Set(plan.map(\.info.name))
        return planned.info.requires.filter { !present.contains($0) }.map { name in
            let message = "the module \(planned.info.name) needs the module \(name), which is off."
            let position = position ?? configuration.setting(module: name, host: host)?.position
            return ConfigProblem(message, at: position ?? ConfigPosition(file: "configuration"), path: "modules")
        }
    }
}
