/// Where in which file something was written, so that a problem can point at it.
public struct ConfigPosition: Sendable, Hashable {
    /// The file's name as the administrator gave it.
    public let file: String
    /// The line, counted from 1; 0 stands for the file as a whole.
    public let line: Int
    /// The column in characters, counted from 1.
    public let column: Int

    /// A position in `file`; without a line, the file as a whole.
    public init(file: String, line: Int = 0, column: Int = 0) {
        self.file = file
        self.line = line
        self.column = column
    }
}

/// What a node of the configuration holds. Texts stay texts: only the option that reads one knows its type.
public enum ConfigValue: Sendable, Hashable {
    /// Nothing: `key:`, `~` or `null`. An option that is null keeps its default.
    case null
    /// A single value, and whether it stood in quotes or in a block of text.
    case scalar(String, wasQuoted: Bool)
    /// A list.
    case sequence([ConfigNode])
    /// Names and their values, in the order in which they were written; no name occurs twice.
    case mapping([ConfigEntry])
}

/// One value of the configuration tree with the place where it was written.
public struct ConfigNode: Sendable, Hashable {
    /// What was written.
    public let value: ConfigValue
    /// Where it was written.
    public let position: ConfigPosition
    /// The names that lead here, joined by dots: `modules.archive.retention`. Items of a list share their list's path.
    public let path: String

    /// A node as the reader found it, or as a caller composes one.
    public init(_ value: ConfigValue, at position: ConfigPosition, path: String = "") {
        self.value = value
        self.position = position
        self.path = path
    }

    /// The entries of a mapping, and none for anything else.
    public var entries: [ConfigEntry] {
        if case .mapping(let entries) = value { entries } else { [] }
    }

    /// The value of `key` in a mapping; nil when it is not there or this is no mapping.
    public subscript(key: String) -> ConfigNode? {
        entries.first { $0.key == key }?.value
    }

    /// The text of a scalar; nil for anything else.
    public var text: String? {
        if case .scalar(let text, _) = value { text } else { nil }
    }

    /// Whether nothing was written.
    public var isNull: Bool { value == .null }

    /// This mapping with the entries of `other` laid over it, name by name and level by level; anything that is not
    /// a mapping on both sides is replaced. Every entry keeps the position and path of the place it came from.
    public func merging(_ other: ConfigNode) -> ConfigNode {
        if other.isNull { return self }
        guard case .mapping(var merged) = value, case .mapping(let overrides) = other.value else { return other }
        for entry in overrides {
            if let index = merged.firstIndex(where: { $0.key == entry.key }) {
                merged[index] = ConfigEntry(
                    entry.key, merged[index].value.merging(entry.value), at: entry.position, path: entry.path)
            } else {
                merged.append(entry)
            }
        }
        return ConfigNode(.mapping(merged), at: other.position, path: other.path)
    }

    /// What stands here, for messages: `a list`, `"text"`.
    var outline: String {
        switch value {
        case .null: "nothing"
        case .scalar(let text, _): text.quotedForMessage
        case .sequence: "a list"
        case .mapping: "a group of options"
        }
    }

    /// A problem with this node.
    func problem(_ message: String, suggestion: String? = nil) -> ConfigProblem {
        ConfigProblem(message, at: position, path: path, suggestion: suggestion)
    }
}

/// A name and its value in a mapping.
public struct ConfigEntry: Sendable, Hashable {
    /// The name as it was written.
    public let key: String
    /// Where the name was written; the value has a position of its own.
    public let position: ConfigPosition
    /// The names that lead here, this one included.
    public let path: String
    /// What the name was given.
    public let value: ConfigNode

    /// An entry as the reader found it, or as a caller composes one.
    public init(_ key: String, _ value: ConfigNode, at position: ConfigPosition, path: String) {
        self.key = key
        self.value = value
        self.position = position
        self.path = path
    }

    /// A problem with the name.
    func problem(_ message: String, suggestion: String? = nil) -> ConfigProblem {
        ConfigProblem(message, at: position, path: path, suggestion: suggestion)
    }
}
