/// Something that an administrator's tool may ask of a running server: its name, what is sent, what comes back. Tool
/// and server share the declaration, so that neither can misunderstand the other:
/// `extension ControlCommand where … { static var status: Self { Self("status") } }`.
public struct ControlCommand<Arguments: Codable & Sendable, Reply: Codable & Sendable>: Sendable {
    /// The name on the wire; modules begin theirs with their own and a dot.
    public let name: String

    public init(_ name: String) {
        self.name = name
    }
}

/// For commands that need no arguments, or whose success says everything.
public struct ControlNothing: Codable, Sendable, Hashable {
    public init() {}
}

/// Why a command was not carried out, as the administrator should read it.
public struct ControlFailure: Error, Codable, Sendable, Hashable, CustomStringConvertible {
    /// A sentence, or several lines of them.
    public let message: String
    /// What the tool should exit with.
    public let exitCode: Int32

    public init(_ message: String, exitCode: Int32 = 1) {
        self.message = message
        self.exitCode = exitCode
    }

    public var description: String { message }
}
