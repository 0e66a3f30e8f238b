import ArgumentParser
import ServerKit

/// Writes the files that are made from the modules' manifests. For developers.
struct Docs: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write sample configuration, manual, table of XEPs and DOAP file.", shouldDisplay: false)

    @Argument(help: "The directory to write into.") var directory = "etc"

    func run() async throws {
        try Files.makeDirectory(directory)
        for (name, text) in GeneratedDocs(MartletMain.modules).files {
            try Files.write(text, to: "\(directory)/\(name)", isReplacing: true)
        }
    }
}
