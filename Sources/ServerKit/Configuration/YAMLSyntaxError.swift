import CYAML

/// A syntax error of libyaml in words for somebody who has not read the YAML specification.
struct YAMLSyntaxError {
    private let kind: yaml_error_type_t
    private let problem: String
    private let context: String
    private let line: Int
    private let column: Int
    private let contextLine: Int
    private let bytes: [UInt8]

    /// The error in which `parser` stopped over `bytes`.
    init(_ parser: yaml_parser_t, bytes: [UInt8]) {
        kind = parser.error
        problem = parser.problem.map { String(cString: $0) } ?? "unknown error"
        context = parser.context.map { String(cString: $0) } ?? ""
        contextLine = parser.context_mark.line + 1
        self.bytes = bytes
        if kind == YAML_READER_ERROR {
            // Errors of encoding know their byte, not their line.
            let before = bytes.prefix(parser.problem_offset)
            line = 1 + before.count { $0 == UInt8(ascii: "\n") }
            column = 1 + before.count - (before.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0)
        } else {
            line = parser.problem_mark.line + 1
            column = parser.problem_mark.column + 1
        }
    }

    /// The problem to report.
    func problem(file: String) -> ConfigProblem {
        ConfigProblem(message, at: ConfigPosition(file: file, line: line, column: column))
    }

    private var message: String {
        if kind == YAML_MEMORY_ERROR { return "there is not enough memory to read the file." }
        if kind == YAML_READER_ERROR {
            return problem == "control characters are not allowed"
                ? "the file holds control characters; it must be plain text." : "the file is not valid UTF-8."
        }
        if hasTabInIndentation { return "a tab cannot indent a line; use spaces." }
        switch problem {
        case "mapping values are not allowed in this context":
            return "a \":\" is not expected here; check the indentation, or put the text in quotes."
        case "did not find expected key":
            return "expected \"name: value\" as in the lines since line \(contextLine); check the indentation."
        case "did not find expected '-' indicator":
            return "expected \"- \" as in the list that begins on line \(contextLine); check the indentation."
        case "did not find expected ',' or '}'":
            return "expected \",\" or \"}\" after the \"{\" on line \(contextLine)."
        case "did not find expected ',' or ']'":
            return "expected \",\" or \"]\" after the \"[\" on line \(contextLine)."
        case "could not find expected ':'":
            return "expected \":\" after the name on line \(contextLine)."
        case "found unexpected end of stream":
            return "the quotes that open on line \(contextLine) are never closed."
        case "found character that cannot start any token":
            return "a value cannot begin with this character; put it in quotes."
        case "did not find expected <document start>":
            return "expected the end of the file."
        case "found unknown escape character":
            return "unknown escape after \"\\\" in the quotes that open on line \(contextLine)."
        default:
            return context.isEmpty ? "\(problem)." : "\(problem) (\(context))."
        }
    }

    private var hasTabInIndentation: Bool {
        let lines = bytes.split(separator: UInt8(ascii: "\n"), maxSplits: line, omittingEmptySubsequences: false)
        guard line <= lines.count else { return false }
        let indentation = lines[line - 1].prefix { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }
        return indentation.contains(UInt8(ascii: "\t"))
    }
}
