import FoundationEssentials
import Testing

/// The shape of the house, read from its sources: imports point one way, and nobody knows a module by name.
@Suite("The structure") struct ImportTests {
    private static let root = #filePath.split(separator: "/").dropLast(4).map { "/" + $0 }.joined()

    private static func sources(_ folder: String) throws -> [(path: String, text: String)] {
        let base = root + "/" + folder
        return try FileManager.default.subpathsOfDirectory(atPath: base)
            .filter { $0.hasSuffix(".swift") }
            .map { ("\(folder)/\($0)", try String(contentsOfFile: base + "/" + $0, encoding: .utf8)) }
    }

    private static func imports(_ text: String) -> [String] {
        text.split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ")
            guard let index = words.firstIndex(of: "import"), index <= 1, words.count > index + 1 else { return nil }
            return words[index + 1].split(separator: ".").first.map(String.init)
        }
    }

    @Test(
        "Imports point one way",
        arguments: [
            ("Sources/XMPP", ["Streams", "ServerKit", "Modules", "NIOCore", "NIOPosix"]),
            ("Sources/Streams", ["ServerKit", "Modules"]),
            ("Sources/ServerKit", ["Modules", "StorageSQLite", "StorageMemory", "TestKit"]),
            ("modules", ["TestKit", "MartletCommand"]),
        ])
    func direction(folder: String, forbidden: [String]) throws {
        for source in try Self.sources(folder) {
            for name in Self.imports(source.text) {
                #expect(!forbidden.contains(name), "\(source.path) imports \(name)")
            }
        }
    }

    @Test("Nothing imports Foundation, which costs megabytes", arguments: ["Sources", "modules"])
    func foundation(folder: String) throws {
        for source in try Self.sources(folder) {
            #expect(!Self.imports(source.text).contains("Foundation"), "\(source.path)")
        }
    }

    @Test("Files stay readable", arguments: ["Sources", "modules", "Tests"])
    func size(folder: String) throws {
        for source in try Self.sources(folder) {
            let lines = source.text.split(separator: "\n", omittingEmptySubsequences: false).count
            #expect(lines <= 600, "\(source.path) has \(lines) lines; which two things does it do?")
        }
    }

    @Test("No module uses locks or unchecked isolation")
    func isolation() throws {
        for source in try Self.sources("modules") where !source.path.hasPrefix("modules/storage-") {
            for word in ["@unchecked Sendable", "nonisolated(unsafe)", "DispatchQueue", "Mutex("] {
                #expect(!source.text.contains(word), "\(source.path) uses \(word)")
            }
        }
    }
}
