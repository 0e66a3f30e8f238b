/// What the manual and the sample file say about one option, collected by a describing reader.
public struct OptionDescription: Sendable, Hashable {
    /// The name in the file.
    public let key: String
    /// What the value is: `duration`, `size`, `list of text values`; `section`, `map` or `list` for groups.
    public let type: String
    /// The default as it would be written in YAML; nil when the option is unset unless written.
    public let defaultText: String?
    /// The bounds or the choices; nil when anything goes.
    public let allowed: String?
    /// The sentence for the administrator; may be empty for a group.
    public let sentence: String
    /// The options of a group; empty for a single option.
    public let options: [OptionDescription]

    init(
        key: String, type: String, defaultText: String? = nil, allowed: String? = nil, sentence: String,
        options: [OptionDescription] = []
    ) {
        self.key = key
        self.type = type
        self.defaultText = defaultText
        self.allowed = allowed
        self.sentence = sentence
        self.options = options
    }

    /// Whether this is a group of options.
    public var isGroup: Bool { type == "section" || type == "map" || isList }

    /// Whether it is a list of groups.
    var isList: Bool { type == "list" }
}
