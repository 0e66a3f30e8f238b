/// The options of a module, read one by one from a group of the configuration. A module works well with none written.
public protocol ModuleOptions: Sendable {
    /// Asks `config` for every option, always all of them and in the same order: the same initialiser, run with a
    /// describing reader, yields the sample file and the manual.
    init(_ config: inout OptionReader)
}

extension ModuleOptions {
    /// Reads the options in `node`, a mapping or null, and what is wrong with them. With problems the options are not
    /// what the administrator meant and should not be used.
    public static func read(_ node: ConfigNode) -> (options: Self, problems: [ConfigProblem]) {
        var reader = OptionReader(node)
        let options = Self(&reader)
        reader.finish()
        return (options, reader.problems)
    }

    /// What the options are, in the order in which they are read.
    public static var descriptions: [OptionDescription] {
        var reader = OptionReader.describing()
        _ = Self(&reader)
        return reader.descriptions
    }
}

/// For modules without options.
public struct NoOptions: ModuleOptions {
    /// Reads nothing, so that whatever was written is reported.
    public init(_ config: inout OptionReader) {}

    /// The same without a reader.
    public init() {}
}
