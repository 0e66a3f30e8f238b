/// Reads a group of options: every call names one option, its default, its bounds and the sentence that the
/// administrator will read.
///
/// Reading never throws. What is wrong becomes a problem, the option keeps its default, and `finish()` adds the names
/// that nobody asked for. The same calls on a describing reader yield the option's descriptions instead, for the
/// sample file and the manual, so that code and manual cannot disagree.
public struct OptionReader: Sendable {
    /// What was wrong so far.
    public private(set) var problems: [ConfigProblem] = []
    /// The options in the order in which they were asked for; only a describing reader collects them.
    public private(set) var descriptions: [OptionDescription] = []

    let isDescribing: Bool
    private let group: ConfigNode
    private var known: [String] = []

    /// Reads the options in a mapping; null stands for no options.
    public init(_ node: ConfigNode) {
        group = node
        isDescribing = false
        if !isGroup { problems.append(node.problem("expected a group of options, found \(node.outline).")) }
    }

    private init(describing: Void) {
        group = ConfigNode(.null, at: ConfigPosition(file: ""))
        isDescribing = true
    }

    /// A reader that answers every question with its default and remembers the question.
    public static func describing() -> OptionReader { OptionReader(describing: ()) }

    /// Whether what was written is options at all.
    var isGroup: Bool {
        switch group.value {
        case .mapping, .null: true
        case .scalar, .sequence: false
        }
    }

    /// Whether the administrator wrote this option.
    public func isGiven(_ key: String) -> Bool {
        group[key].map { !$0.isNull } ?? false
    }

    /// Adds a problem that concerns several options or needs knowledge that the reader lacks. It points at `key` if
    /// that was written, else at the group; `message` is a sentence with its full stop.
    public mutating func report(_ key: String, _ message: String) {
        guard !isDescribing else { return }
        let path = group.path.isEmpty ? key : group.path + "." + key
        problems.append(ConfigProblem(message, at: group[key]?.position ?? group.position, path: path))
    }

    /// Adds a problem for every name that no call asked for, with the nearest name that there is.
    public mutating func finish() {
        for entry in group.entries where !known.contains(entry.key) {
            problems.append(
                entry.problem("no such option.", suggestion: Suggestion.nearest(to: entry.key, in: known)))
        }
    }

    /// The value that was written for `key`, which is known from now on; nil when there is none.
    mutating func node(_ key: String) -> ConfigNode? {
        known.append(key)
        return group[key].flatMap { $0.isNull ? nil : $0 }
    }

    mutating func read<Value>(
        _ key: String, _ kind: OptionKind<Value>, default value: Value, _ sentence: String
    ) -> Value {
        if isDescribing {
            describe(key, kind.type, default: kind.write(value), allowed: kind.allowed, sentence)
            return value
        }
        guard let node = node(key) else { return value }
        return attempt(kind, node) ?? value
    }

    /// A list, or a single value in place of a list of one.
    mutating func readList<Value>(
        _ key: String, _ kind: OptionKind<Value>, default values: [Value], _ sentence: String
    ) -> [Value] {
        if isDescribing {
            let text = "[" + values.compactMap(kind.write).joined(separator: ", ") + "]"
            describe(key, "list of \(kind.type) values", default: text, allowed: kind.allowed, sentence)
            return values
        }
        guard let node = node(key) else { return values }
        let items = if case .sequence(let items) = node.value { items } else { [node] }
        return items.compactMap { attempt(kind, $0) }
    }

    private mutating func attempt<Value>(_ kind: OptionKind<Value>, _ node: ConfigNode) -> Value? {
        do {
            return try kind.read(node)
        } catch {
            problems.append(error)
            return nil
        }
    }

    mutating func describe(
        _ key: String, _ type: String, default text: String? = nil, allowed: String? = nil, _ sentence: String
    ) {
        descriptions.append(
            OptionDescription(key: key, type: type, defaultText: text, allowed: allowed, sentence: sentence))
    }

    /// A group of options of its own: `log: { level: debug }`. Unknown names in it are reported.
    public mutating func section<Value>(
        _ key: String, _ sentence: String = "", _ body: (inout OptionReader) -> Value
    ) -> Value {
        if isDescribing {
            return describeGroup(key, "section", sentence) { body(&$0) }
        }
        let absent = ConfigNode(.null, at: group.position, path: group.path.isEmpty ? key : group.path + "." + key)
        return read(node(key) ?? absent, body)
    }

    /// Groups under names of the administrator's choosing, in the order of the file; null stands for a group without
    /// options. `example` is the name that the sample file shows.
    public mutating func map<Value>(
        _ key: String, example: String, _ sentence: String = "",
        _ body: (_ name: String, inout OptionReader) -> Value
    ) -> [(name: String, value: Value)] {
        if isDescribing {
            _ = describeGroup(key, "map", sentence) { outer in
                outer.describeGroup(example, "section", "") { body(example, &$0) }
            }
            return []
        }
        return rawEntries(key, sentence).map { entry in (entry.key, read(entry.value) { body(entry.key, &$0) }) }
    }

    /// Options under names of the administrator's choosing, in the order of the file: `body` reads the one with the
    /// name it is given. `example` is the name that the sample file shows.
    public mutating func named<Value>(
        _ key: String, example: String, _ sentence: String = "",
        _ body: (_ name: String, inout OptionReader) -> Value
    ) -> [(name: String, value: Value)] {
        if isDescribing {
            _ = describeGroup(key, "map", sentence) { body(example, &$0) }
            return []
        }
        let names = rawEntries(key, sentence).map(\.key)
        guard !names.isEmpty, let node = group[key] else { return [] }
        return read(node) { inner in names.map { ($0, body($0, &inner)) } }
    }

    /// Groups in a list, in the order of the file; a single group may stand for a list of one. Unknown names in each
    /// are reported.
    public mutating func list<Value>(
        _ key: String, _ sentence: String = "", _ body: (inout OptionReader) -> Value
    ) -> [Value] {
        if isDescribing {
            _ = describeGroup(key, "list", sentence) { body(&$0) }
            return []
        }
        guard let node = node(key) else { return [] }
        let items = if case .sequence(let items) = node.value { items } else { [node] }
        return items.map { read($0, body) }
    }

    /// The entries of a mapping whose values the caller reads itself; none when it was not written.
    mutating func rawEntries(_ key: String, _ sentence: String) -> [ConfigEntry] {
        if isDescribing { describe(key, "names with options", sentence) }
        guard let node = node(key) else { return [] }
        guard case .mapping(let entries) = node.value else {
            problems.append(node.problem("expected names with options, found \(node.outline)."))
            return []
        }
        return entries
    }

    mutating func add(_ problem: ConfigProblem) {
        problems.append(problem)
    }

    /// Reads a group in `node`, unknown names in it included.
    mutating func read<Value>(_ node: ConfigNode, _ body: (inout OptionReader) -> Value) -> Value {
        var inner = OptionReader(node)
        let value = body(&inner)
        inner.finish()
        problems += inner.problems
        return value
    }

    private mutating func describeGroup<Value>(
        _ key: String, _ type: String, _ sentence: String, _ body: (inout OptionReader) -> Value
    ) -> Value {
        var inner = OptionReader.describing()
        let value = body(&inner)
        descriptions.append(
            OptionDescription(key: key, type: type, sentence: sentence, options: inner.descriptions))
        return value
    }
}
