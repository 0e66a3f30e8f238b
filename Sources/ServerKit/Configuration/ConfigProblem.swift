/// One thing that is wrong with the configuration, where it is, and the way out.
///
/// Prints as `martlet.yaml:41: modules.archive.retentoin: no such option. Did you mean "retention"?`
public struct ConfigProblem: Error, Sendable, Hashable, CustomStringConvertible {
    /// The names that lead to the place, joined by dots; empty for the file as a whole.
    public let path: String
    /// The file, line and column.
    public let position: ConfigPosition
    /// A sentence for the administrator.
    public let message: String
    /// The name that was probably meant.
    public let suggestion: String?

    /// A problem at `position`; `message` is a sentence with its full stop.
    public init(_ message: String, at position: ConfigPosition, path: String = "", suggestion: String? = nil) {
        self.message = message
        self.position = position
        self.path = path
        self.suggestion = suggestion
    }

    /// The file's name as the administrator gave it.
    public var file: String { position.file }

    /// The line, counted from 1; 0 stands for the file as a whole.
    public var line: Int { position.line }

    public var description: String {
        var text = file
        if line > 0 { text += ":\(line)" }
        text += ": "
        if !path.isEmpty { text += path.escapedForMessage + ": " }
        text += message
        if let suggestion { text += " Did you mean \(suggestion.quotedForMessage)?" }
        return text
    }
}

/// Everything that is wrong with the configuration, so that the administrator sees it at once.
public struct ConfigProblems: Error, Sendable, CustomStringConvertible {
    /// The problems in the order of the file, each once.
    public let all: [ConfigProblem]

    /// Sorts the problems by line and drops repetitions: options that several hosts inherit are read once for each.
    public init(_ problems: [ConfigProblem]) {
        var seen = Set<ConfigProblem>()
        // The index keeps the order of problems on one line.
        all = problems.filter { seen.insert($0).inserted }.enumerated()
            .sorted { ($0.element.line, $0.offset) < ($1.element.line, $1.offset) }
            .map(\.element)
    }

    /// One problem a line.
    public var description: String { all.map(\.description).joined(separator: "\n") }
}

extension String {
    /// The text as it may stand in a message: no control characters that would reach a terminal, and not endless.
    var escapedForMessage: String {
        var text = ""
        var count = 0
        for scalar in unicodeScalars {
            if count == 200 { return text + "…" }
            count += 1
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator:
                text += "\\u{\(String(scalar.value, radix: 16))}"
            default: text.unicodeScalars.append(scalar)
            }
        }
        return text
    }

    /// The text in quotes, as it may stand in a message.
    var quotedForMessage: String {
        unicodeScalars.count > 60
            ? "\"\(String(unicodeScalars.prefix(60)).escapedForMessage)…\"" : "\"\(escapedForMessage)\""
    }
}

extension [String] {
    /// The words as an English enumeration: `a, b or c`.
    var joinedWithOr: String {
        guard let last, count > 1 else { return first ?? "" }
        return dropLast().joined(separator: ", ") + " or " + last
    }
}
