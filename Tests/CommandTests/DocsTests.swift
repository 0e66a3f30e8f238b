import Modules
import Testing

@testable import MartletCommand

@Suite("Generated files") struct DocsTests {
    @Test("The files in etc are what the modules' manifests say; otherwise run: martlet docs etc")
    func current() throws {
        let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        for (name, text) in GeneratedDocs(bundledModules).files {
            let bytes = try Files.read("/\(root)/etc/\(name)")
            #expect(String(decoding: bytes, as: UTF8.self) == text, "etc/\(name)")
        }
    }

    @Test("The sample is a configuration without mistakes")
    func sample() throws {
        let folder = TemporaryFolder()
        try Files.write(SampleConfiguration(modules: bundledModules).text, to: folder.path + "/f.yaml")
        _ = try ConfigurationFile.read(folder.path + "/f.yaml", modules: bundledModules)
    }
}
