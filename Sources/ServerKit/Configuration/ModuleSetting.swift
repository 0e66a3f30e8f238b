/// What the configuration says about a module: on, off, or on with options that only the module can read.
public enum ModuleSetting: Sendable, Hashable {
    /// `name: on`, or a name alone.
    case on(ConfigPosition)
    /// `name: off`.
    case off(ConfigPosition)
    /// `name: { … }`: the mapping as it was written.
    case options(ConfigNode)

    /// Whether the module runs.
    public var isOn: Bool {
        if case .off = self { false } else { true }
    }

    /// Where it was written.
    public var position: ConfigPosition {
        switch self {
        case .on(let position), .off(let position): position
        case .options(let node): node.position
        }
    }

    /// The options to read: the mapping, or null where none were written.
    public var node: ConfigNode {
        if case .options(let node) = self { node } else { ConfigNode(.null, at: position) }
    }

    /// This setting of the server with a host's own laid over it. A host's `on` keeps the server's options, its
    /// options are merged with the server's name by name, and its `off` is final.
    public func overridden(by other: ModuleSetting) -> ModuleSetting {
        switch (self, other) {
        case (.options(let server), .options(let host)): .options(server.merging(host))
        case (.options, .on): self
        case (.on, _), (.off, _), (.options, .off): other
        }
    }
}

/// The modules that one part of the file mentions.
public struct ModuleSettings: Sendable {
    /// A module's name, what was written about it, and where.
    public struct Entry: Sendable {
        /// The name as it was written; whether there is such a module is checked by `problems(knownModules:)`.
        public let name: String
        /// On, off or options.
        public let setting: ModuleSetting
        let key: ConfigEntry
    }

    /// The modules in the order of the file.
    public let entries: [Entry]

    /// The setting of a module; nil when it is not mentioned and its own default holds.
    public subscript(name: String) -> ModuleSetting? {
        entries.first { $0.name == name }?.setting
    }

    /// A problem for every name that is not in `knownModules`.
    public func problems(knownModules: [String]) -> [ConfigProblem] {
        entries.filter { !knownModules.contains($0.name) }.map { entry in
            entry.key.problem(
                "no such module.", suggestion: Suggestion.nearest(to: entry.name, in: knownModules))
        }
    }

    static func read(_ key: String, _ sentence: String, from config: inout OptionReader) -> ModuleSettings {
        let entries = config.rawEntries(key, sentence)
        return ModuleSettings(
            entries: entries.compactMap { entry in
                setting(entry, &config).map { Entry(name: entry.key, setting: $0, key: entry) }
            })
    }

    private static func setting(_ entry: ConfigEntry, _ config: inout OptionReader) -> ModuleSetting? {
        switch entry.value.value {
        case .null: return .on(entry.position)
        case .mapping: return .options(entry.value)
        case .scalar(let text, _):
            if let isOn = Switch(text)?.isOn {
                return isOn ? .on(entry.value.position) : .off(entry.value.position)
            }
        case .sequence: break
        }
        config.add(entry.value.problem("expected on, off or a group of options, found \(entry.value.outline)."))
        return nil
    }
}
