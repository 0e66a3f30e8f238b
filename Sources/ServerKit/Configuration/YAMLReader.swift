import CYAML
import Glibc

/// Reads YAML into a tree in which every name and value knows its place.
///
/// The subset is the one that configuration needs: one document of mappings, lists and scalars. Anchors, aliases, merge
/// keys and tags are refused: nothing in a configuration of this size needs them, and aliases let a few lines grow
/// into gigabytes. All limits hold while the file is read, before memory is spent on it.
public enum YAMLReader {
    /// The largest file that is read, in bytes.
    public static let maximumSize = 4 << 20
    /// How many mappings and lists may lie in one another.
    public static let maximumDepth = 32
    /// The longest name, in bytes.
    public static let maximumNameLength = 255
    /// How many values a file may hold.
    public static let maximumNodes = 100_000
    /// Reading stops after so many problems.
    public static let maximumProblems = 100

    /// Reads a text; `file` is the name for problems. Without a root the file could not be read to its end.
    public static func parse(_ text: String, file: String) -> (root: ConfigNode?, problems: [ConfigProblem]) {
        parse(bytes: Array(text.utf8), file: file)
    }

    /// Reads the bytes of a file in UTF-8; `file` is the name for problems. Without a root the file could not be read
    /// to its end; with a root there may still be problems.
    public static func parse(bytes: [UInt8], file: String) -> (root: ConfigNode?, problems: [ConfigProblem]) {
        guard bytes.count <= maximumSize else {
            let problem = ConfigProblem("the file is larger than 4 MiB.", at: ConfigPosition(file: file))
            return (nil, [problem])
        }
        // A byte order mark is legal and common in files that were edited on Windows.
        let content = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? Array(bytes.dropFirst(3)) : bytes
        var parser = YAMLTreeParser(bytes: content, file: file)
        return parser.parse()
    }

    /// Reads the file at `path`, which is also its name for problems.
    public static func parse(contentsOf path: String) -> (root: ConfigNode?, problems: [ConfigProblem]) {
        func failure() -> (root: ConfigNode?, problems: [ConfigProblem]) {
            let reason = strerror(errno).map { String(cString: $0) } ?? "unknown error"
            return (nil, [ConfigProblem("the file cannot be read: \(reason).", at: ConfigPosition(file: path))])
        }
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return failure() }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while bytes.count <= maximumSize {
            let count = read(descriptor, &chunk, chunk.count)
            if count == 0 { break }
            if count < 0 {
                if errno == EINTR { continue }
                return failure()
            }
            bytes += chunk.prefix(count)
        }
        return parse(bytes: bytes, file: path)
    }
}

/// One pass over a file: pulls libyaml's events and builds the tree.
private struct YAMLTreeParser {
    /// Thrown once the problem that ends the reading has been noted.
    private struct Stop: Error {}

    private let bytes: [UInt8]
    private let file: String
    private var problems: [ConfigProblem] = []
    private var nodes = 0

    init(bytes: [UInt8], file: String) {
        self.bytes = bytes
        self.file = file
    }

    mutating func parse() -> (root: ConfigNode?, problems: [ConfigProblem]) {
        let parser = UnsafeMutablePointer<yaml_parser_t>.allocate(capacity: 1)
        defer { parser.deallocate() }
        guard yaml_parser_initialize(parser) == 1 else {
            return (nil, [ConfigProblem("there is not enough memory to read the file.", at: position(line: 0))])
        }
        defer { yaml_parser_delete(parser) }
        yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
        let root = bytes.withUnsafeBufferPointer { buffer in
            yaml_parser_set_input_string(parser, buffer.baseAddress, buffer.count)
            return try? document(parser)
        }
        return (root, problems)
    }

    private mutating func document(_ parser: UnsafeMutablePointer<yaml_parser_t>) throws(Stop) -> ConfigNode {
        var root: ConfigNode?
        while true {
            let event = try next(parser)
            switch event.kind {
            case .documentStart where root != nil:
                throw stop("a second document (---) begins here; a configuration is one document.", at: event.position)
            case .streamEnd:
                return root ?? ConfigNode(.null, at: position(line: 1, column: 1))
            case .documentStart, .documentEnd, .other:
                continue
            case .scalar, .alias, .sequenceStart, .mappingStart, .collectionEnd:
                root = try node(event, parser, path: "", depth: 0)
            }
        }
    }

    private mutating func node(
        _ event: Event, _ parser: UnsafeMutablePointer<yaml_parser_t>, path: String, depth: Int
    ) throws(Stop) -> ConfigNode {
        nodes += 1
        guard nodes <= YAMLReader.maximumNodes else {
            throw stop("the file holds more than \(YAMLReader.maximumNodes) values.", at: event.position)
        }
        try checkExtras(of: event, path: path)
        switch event.kind {
        case .scalar(let text, let wasQuoted):
            let isNull = !wasQuoted && ["", "~", "null", "Null", "NULL"].contains(text)
            return ConfigNode(isNull ? .null : .scalar(text, wasQuoted: wasQuoted), at: event.position, path: path)
        case .sequenceStart:
            try checkDepth(depth, event, path: path)
            return try sequence(event, parser, path: path, depth: depth + 1)
        case .mappingStart:
            try checkDepth(depth, event, path: path)
            return try mapping(event, parser, path: path, depth: depth + 1)
        case .alias, .collectionEnd, .documentStart, .documentEnd, .streamEnd, .other:
            return ConfigNode(.null, at: event.position, path: path)
        }
    }

    private mutating func sequence(
        _ start: Event, _ parser: UnsafeMutablePointer<yaml_parser_t>, path: String, depth: Int
    ) throws(Stop) -> ConfigNode {
        var items: [ConfigNode] = []
        while true {
            let event = try next(parser)
            if event.kind == .collectionEnd { break }
            items.append(try node(event, parser, path: path, depth: depth))
        }
        return ConfigNode(.sequence(items), at: start.position, path: path)
    }

    private mutating func mapping(
        _ start: Event, _ parser: UnsafeMutablePointer<yaml_parser_t>, path: String, depth: Int
    ) throws(Stop) -> ConfigNode {
        var entries: [ConfigEntry] = []
        var lines: [String: Int] = [:]
        while true {
            let event = try next(parser)
            if event.kind == .collectionEnd { break }
            let key = try node(event, parser, path: path, depth: depth)
            let name = try nameOfOption(key)
            let keyPath = name.map { path.isEmpty ? $0 : path + "." + $0 } ?? path
            let value = try node(try next(parser), parser, path: keyPath, depth: depth)
            guard let name else { continue }
            if let first = lines[name] {
                try note("given twice; the first time on line \(first).", at: key.position, path: keyPath)
            } else {
                lines[name] = key.position.line
                entries.append(ConfigEntry(name, value, at: key.position, path: keyPath))
            }
        }
        return ConfigNode(.mapping(entries), at: start.position, path: path)
    }

    private mutating func nameOfOption(_ key: ConfigNode) throws(Stop) -> String? {
        guard let name = key.text, !name.isEmpty else {
            try note("expected a name before the \":\", found \(key.outline).", at: key.position, path: key.path)
            return nil
        }
        guard name != "<<" else {
            try note("merge keys (<<) are not supported; write the options out.", at: key.position, path: key.path)
            return nil
        }
        guard name.utf8.count <= YAMLReader.maximumNameLength else {
            let limit = YAMLReader.maximumNameLength
            try note("a name is longer than \(limit) bytes.", at: key.position, path: key.path)
            return nil
        }
        return name
    }

    private mutating func checkExtras(of event: Event, path: String) throws(Stop) {
        if event.kind == .alias || event.hasAnchor {
            let message = "anchors (&) and aliases (*) are not supported; write the value out."
            try note(message, at: event.position, path: path)
        }
        if let tag = event.tag {
            try note("the tag \(tag.quotedForMessage) is not supported; leave it out.", at: event.position, path: path)
        }
    }

    private mutating func checkDepth(_ depth: Int, _ event: Event, path: String) throws(Stop) {
        guard depth < YAMLReader.maximumDepth else {
            let message = "more than \(YAMLReader.maximumDepth) levels lie in one another."
            throw stop(message, at: event.position, path: path)
        }
    }

    private mutating func next(_ parser: UnsafeMutablePointer<yaml_parser_t>) throws(Stop) -> Event {
        var event = yaml_event_t()
        guard yaml_parser_parse(parser, &event) == 1 else {
            problems.append(YAMLSyntaxError(parser.pointee, bytes: bytes).problem(file: file))
            throw Stop()
        }
        defer { yaml_event_delete(&event) }
        return Event(event, file: file)
    }

    private mutating func note(_ message: String, at position: ConfigPosition, path: String) throws(Stop) {
        problems.append(ConfigProblem(message, at: position, path: path))
        if problems.count >= YAMLReader.maximumProblems {
            throw stop("too many problems; the rest of the file was not read.", at: position)
        }
    }

    private mutating func stop(_ message: String, at position: ConfigPosition, path: String = "") -> Stop {
        problems.append(ConfigProblem(message, at: position, path: path))
        return Stop()
    }

    private func position(line: Int, column: Int = 0) -> ConfigPosition {
        ConfigPosition(file: file, line: line, column: column)
    }
}

/// What the tree needs of a libyaml event, copied out of its memory.
private struct Event {
    enum Kind: Equatable {
        case documentStart, documentEnd, streamEnd, alias, sequenceStart, mappingStart, collectionEnd, other
        case scalar(String, wasQuoted: Bool)
    }

    let kind: Kind
    let position: ConfigPosition
    let hasAnchor: Bool
    let tag: String?

    init(_ event: yaml_event_t, file: String) {
        var anchor: UnsafeMutablePointer<yaml_char_t>?
        var tag: UnsafeMutablePointer<yaml_char_t>?
        switch event.type {
        case YAML_DOCUMENT_START_EVENT: kind = .documentStart
        case YAML_DOCUMENT_END_EVENT: kind = .documentEnd
        case YAML_STREAM_END_EVENT: kind = .streamEnd
        case YAML_ALIAS_EVENT: kind = .alias
        case YAML_SEQUENCE_START_EVENT:
            kind = .sequenceStart
            anchor = event.data.sequence_start.anchor
            tag = event.data.sequence_start.tag
        case YAML_MAPPING_START_EVENT:
            kind = .mappingStart
            anchor = event.data.mapping_start.anchor
            tag = event.data.mapping_start.tag
        case YAML_SEQUENCE_END_EVENT, YAML_MAPPING_END_EVENT: kind = .collectionEnd
        case YAML_SCALAR_EVENT:
            let scalar = event.data.scalar
            let bytes = UnsafeBufferPointer(start: scalar.value, count: scalar.length)
            kind = .scalar(
                String(decoding: bytes, as: UTF8.self), wasQuoted: scalar.style != YAML_PLAIN_SCALAR_STYLE)
            anchor = scalar.anchor
            tag = scalar.tag
        default: kind = .other
        }
        position = ConfigPosition(
            file: file, line: event.start_mark.line + 1, column: event.start_mark.column + 1)
        hasAnchor = anchor != nil
        self.tag = tag.map { String(cString: $0) }
    }
}
