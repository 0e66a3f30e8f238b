/// Loads, reconfigures and unloads the modules of one host or component, so that they match a configuration.
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
    private let scopes: Set<ModuleInfo.Scope>
    private var loaded: [String: Loaded] = [:]

    init(host: Host, scopes: Set<ModuleInfo.Scope>) {
        self.host = host
        self.scopes = scopes
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
        for planned in plan where scopes.contains(planned.info.scope) {
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
