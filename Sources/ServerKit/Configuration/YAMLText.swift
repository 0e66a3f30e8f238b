extension String {
    /// The text as a YAML scalar: plain where every YAML reader takes it for this text, else in double quotes.
    public var yamlScalar: String {
        isPlainYAML ? self : "\"" + unicodeScalars.map(\.yamlEscaped).joined() + "\""
    }

    private var isPlainYAML: Bool {
        // Quoted although plain would do for us: other YAML readers take these for something else than texts.
        let words = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"]
        guard let first = unicodeScalars.first, !words.contains(lowercased()), !hasSuffix(" ") else { return false }
        return (first.properties.isAlphabetic || first.properties.numericType != nil || first == "/")
            && unicodeScalars.allSatisfy {
                $0.properties.isAlphabetic || $0.properties.numericType != nil || " _-./@%+".unicodeScalars.contains($0)
            }
    }
}

extension Unicode.Scalar {
    fileprivate var yamlEscaped: String {
        switch self {
        case "\"": "\\\""
        case "\\": "\\\\"
        case "\n": "\\n"
        case "\t": "\\t"
        default:
            switch properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .unassigned, .privateUse:
                "\\U" + String(repeating: "0", count: 8 - String(value, radix: 16).count) + String(value, radix: 16)
            default: String(self)
            }
        }
    }
}
