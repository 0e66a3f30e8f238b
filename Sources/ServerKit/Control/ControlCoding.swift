import FoundationEssentials

/// How commands travel: a line of JSON each way, `{"command":"status","arguments":{}}`, and
/// `{"result":{…}}` or `{"error":{…}}` in return.
public enum ControlCoding {
    /// The longest line that either side accepts, in bytes.
    public static let lineLimit = 8_388_608

    struct Header: Decodable {
        let command: String
    }

    struct Request<Arguments: Codable>: Codable {
        let command: String
        let arguments: Arguments
    }

    struct Answer<Reply: Codable>: Codable {
        var result: Reply?
        var error: ControlFailure?
    }

    /// A request as a line, its newline included.
    public static func request<Arguments, Reply>(
        _ command: ControlCommand<Arguments, Reply>, _ arguments: Arguments
    ) throws -> [UInt8] {
        try line(Request(command: command.name, arguments: arguments))
    }

    /// What a line in return says.
    ///
    /// - Throws: the ``ControlFailure`` that it carries, or one about a line that is no answer.
    public static func reply<Arguments, Reply>(
        to command: ControlCommand<Arguments, Reply>, _ line: [UInt8]
    ) throws(ControlFailure) -> Reply {
        guard let answer = try? JSONDecoder().decode(Answer<Reply>.self, from: Data(line)) else {
            throw ControlFailure("The server's answer to \(command.name) cannot be understood: is it another version?")
        }
        if let failure = answer.error { throw failure }
        guard let result = answer.result else {
            throw ControlFailure("The server's answer to \(command.name) is empty.")
        }
        return result
    }

    /// A value as JSON for people and programs, over several lines, keys sorted.
    public static func text(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes, .prettyPrinted]
        return String(decoding: try encoder.encode(value), as: UTF8.self)
    }

    static func command(in line: [UInt8]) -> String? {
        try? JSONDecoder().decode(Header.self, from: Data(line)).command
    }

    static func arguments<Arguments: Codable>(_ type: Arguments.Type, in line: [UInt8]) throws -> Arguments {
        try JSONDecoder().decode(Request<Arguments>.self, from: Data(line)).arguments
    }

    static func line(_ value: some Encodable) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return [UInt8](try encoder.encode(value)) + [UInt8(ascii: "\n")]
    }
}
