/// Prints a sample configuration in which every option stands with its default and the sentence about it.
///
/// Options are commented out as `#key: value`, without a blank after the `#`, sentences as `# sentence`: taking the
/// `#` off an option puts it in force with the right indentation. Short groups carry their sentences beside the
/// options, aligned; where one sentence is too long for its line, all of the group stand above, with space between.
public struct SampleWriter: Sendable {
    /// What the sample says about one module.
    public struct Module: Sendable {
        /// The module's name in the file.
        public let name: String
        /// What it does, in a sentence.
        public let summary: String
        /// Whether it runs when the file does not mention it.
        public let isOnByDefault: Bool
        /// Its options.
        public let options: [OptionDescription]

        /// A module as its manifest describes it.
        public init(_ name: String, _ summary: String, isOnByDefault: Bool, options: [OptionDescription] = []) {
            self.name = name
            self.summary = summary
            self.isOnByDefault = isOnByDefault
            self.options = options
        }
    }

    private static let width = 100
    private var lines: [String] = []

    /// An empty sample.
    public init() {}

    /// The sample so far, ending in one newline.
    public var text: String {
        let end = lines.lastIndex { !$0.isEmpty }.map { $0 + 1 } ?? 0
        return lines[..<end].map { $0 + "\n" }.joined()
    }

    /// Adds lines of prose, wrapped, and an empty line; each element is a paragraph.
    public mutating func prose(_ paragraphs: String...) {
        for paragraph in paragraphs { comment(paragraph, indentation: 0) }
        lines.append("")
    }

    /// Adds lines of YAML that are in force, and an empty line.
    public mutating func yaml(_ text: String) {
        lines += text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        lines.append("")
    }

    /// Adds options at the top level of the file.
    public mutating func options(_ options: [OptionDescription]) {
        write(options, indentation: 0)
    }

    /// Adds the modules under `modules:`; those without options stand as a switch.
    public mutating func modules(_ modules: [Module]) {
        lines.append("modules:")
        for module in modules {
            let state = module.isOnByDefault ? "On by default." : "Off by default."
            comment("\(module.summary.sentence) \(state)", indentation: 2)
            if module.options.isEmpty {
                lines.append("  #\(module.name.yamlScalar): \(module.isOnByDefault ? "on" : "off")")
            } else {
                lines.append("  #\(module.name.yamlScalar):")
                write(module.options, indentation: 4)
            }
            if lines.last != "" { lines.append("") }
        }
    }

    /// Adds components, as the examples that modules give of the domains they serve, below the domain of `host`. Those
    /// that are expected of every server are in force.
    public mutating func components(
        _ components: [(subdomain: String, module: Module, isInForce: Bool)], of host: String
    ) {
        comment("Domains that a module serves, with its options beside its name.", indentation: 0)
        lines.append("components:")
        for (subdomain, module, isInForce) in components {
            let mark = isInForce ? "" : "#"
            comment(module.summary.sentence, indentation: 2)
            lines.append("  \(mark)\("\(subdomain).\(host)".yamlScalar):")
            lines.append("    \(mark)module: \(module.name.yamlScalar)")
            write(module.options, indentation: 4)
            if lines.last != "" { lines.append("") }
        }
    }

    /// - Parameter isItem: whether the options are those of an item in a list, whose first line has a dash.
    private mutating func write(_ options: [OptionDescription], indentation: Int, isItem: Bool = false) {
        let margin = String(repeating: " ", count: indentation)
        let column = options.filter { !$0.isGroup }.map { $0.yamlLine.count }.max() ?? 0
        let fits = options.allSatisfy { $0.isGroup || indentation + column + 5 + $0.remark.count <= Self.width }
        for (index, option) in options.enumerated() {
            let line = isItem ? option.yamlLine.inItem(isFirst: index == 0) : option.yamlLine
            if !fits && index > 0 && lines.last != "" { lines.append("") }
            if option.isGroup {
                comment(option.sentence, indentation: indentation)
                lines.append(margin + line)
                write(option.options, indentation: indentation + (isItem ? 4 : 2), isItem: option.isList)
            } else if fits && !option.remark.isEmpty {
                let padding = String(repeating: " ", count: column - option.yamlLine.count)
                lines.append(margin + line + padding + "   # " + option.remark)
            } else {
                comment(option.remark, indentation: indentation)
                lines.append(margin + line)
            }
        }
    }

    private mutating func comment(_ text: String, indentation: Int) {
        let start = String(repeating: " ", count: indentation) + "#"
        var line = start
        for word in text.split(whereSeparator: \.isWhitespace) {
            if line.count + 1 + word.count > Self.width && line != start {
                lines.append(line)
                line = start
            }
            line += " " + word
        }
        if line != start { lines.append(line) }
    }
}

extension OptionDescription {
    fileprivate var yamlLine: String {
        "#\(key.yamlScalar):" + (defaultText.map { " " + $0 } ?? "")
    }

    /// The sentence, and what is allowed.
    fileprivate var remark: String {
        let words = sentence.sentence
        guard let allowed else { return words }
        return words + (words.isEmpty ? "" : " ") + "Allowed: \(allowed)."
    }
}

extension String {
    /// A commented option as part of an item in a list.
    fileprivate func inItem(isFirst: Bool) -> String { "#" + (isFirst ? "- " : "  ") + dropFirst() }

    /// The text on one line, with a full stop.
    fileprivate var sentence: String {
        let line = split(whereSeparator: \.isWhitespace).joined(separator: " ")
        guard let last = line.last else { return "" }
        return ".!?".contains(last) ? line : line + "."
    }
}
