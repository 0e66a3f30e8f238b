import ServerKit
import TestKit
import Testing

@Suite("The stream header (RFC 6120 §4.7)") struct StreamHeaderTests {
    /// The attributes of the header in what a server sent.
    private func attributes(_ answer: String) -> Element {
        guard let start = answer.firstRange(of: "<stream:stream "),
            let end = answer[start.upperBound...].firstIndex(of: ">"),
            let element = try? Element.parse("<header " + answer[start.upperBound..<end] + "/>")
        else { return Element("none") }
        return element
    }

    @Test("The answer swaps the addresses, names the version and has an id")
    func answer() async throws {
        try await play(modules: []) { stage in
            let answer = Wire(stage.server).says(Wire.header(from: "romeo@montague.example/phone", version: "1.1"))
            #expect(answer.hasPrefix("<?xml version='1.0'?><stream:stream "))
            let header = attributes(answer)
            #expect(header["from"] == "montague.example")
            #expect(header["to"] == "romeo@montague.example")
            #expect(header["version"] == "1.0")
            #expect(header["xml:lang"] == "en")
            #expect((header["id"] ?? "").utf8.count >= 16)
            #expect(answer.contains("<stream:features"))
        }
    }

    @Test("A version of the future is answered with ours", arguments: ["1.0", "1.1", "1.99", "2.0", "01.0"])
    func version(_ version: String) async throws {
        try await play(modules: []) { stage in
            let answer = Wire(stage.server).says(Wire.header(version: version))
            #expect(attributes(answer)["version"] == "1.0")
            #expect(answer.contains("<stream:features"))
        }
    }

    @Test("Every stream has an id of its own, a restarted one too")
    func ids() async throws {
        try await play(modules: []) { stage in
            var ids: Set<String> = []
            for _ in 0..<50 {
                let wire = Wire(stage.server)
                ids.insert(attributes(wire.says(Wire.header()))["id"] ?? "")
                wire.stream?.authenticate("romeo")
                ids.insert(attributes(wire.says(Wire.header()))["id"] ?? "")
            }
            #expect(ids.count == 100)
        }
    }

    @Test("A stranger's address is not repeated unless it is one")
    func malformedFrom() async throws {
        try await play(modules: []) { stage in
            let header = attributes(Wire(stage.server).says(Wire.header(from: "a@b@c")))
            #expect(header["to"] == nil)
        }
    }

    @Test("Without a valid host the header is from nobody, or from the only host there is")
    func unknownHost() async throws {
        try await play(modules: []) { stage in
            #expect(attributes(Wire(stage.server).says(Wire.header(to: "verona.example")))["from"] == "")
            try stage.reload("hosts: { montague.example: {} }")
            let header = attributes(Wire(stage.server).says(Wire.header(to: "verona.example")))
            #expect(header["from"] == "montague.example")
            #expect(Wire(stage.server).says(Wire.header(to: nil)).contains("<stream:features"))
        }
    }

    @Test(
        "Languages are language tags",
        arguments: [
            ("de", "de"), ("de-CH-1996", "de-CH-1996"), ("", "en"), ("de'x", "en"), ("a b", "en"), ("ß", "en"),
        ])
    func language(_ asked: String, _ given: String) async throws {
        try await play(modules: []) { stage in
            let escaped = asked == "de'x" ? "de&apos;x" : asked
            #expect(attributes(Wire(stage.server).says(Wire.header(language: escaped)))["xml:lang"] == given)
        }
    }

    @Test("A language of many bytes is not copied into every stanza")
    func longLanguage() async throws {
        try await play(modules: []) { stage in
            let account = try await stage.loadedAccount("romeo")
            let wire = Wire(stage.server)
            let resource = wire.enters(account, "phone", language: String(repeating: "x", count: 10_000))
            #expect(resource?.language == nil)
        }
    }

    @Test("The XML declaration may name UTF-8, or be left out", arguments: ["UTF-8", "utf-8", nil])
    func encoding(_ name: String?) async throws {
        try await play(modules: []) { stage in
            let declaration = name.map { "<?xml version='1.0' encoding='\($0)'?>" } ?? ""
            let answer = Wire(stage.server).says(declaration + Wire.header(language: "de").dropFirst(21))
            #expect(answer.contains("<stream:features"))
        }
    }

    @Test("White space between stanzas is no stanza, and the header may come byte by byte")
    func byteByByte() async throws {
        try await play(modules: []) { stage in
            let wire = Wire(stage.server)
            var answer = ""
            for byte in Wire.header() + " \n\t " { answer += wire.says(String(byte)) }
            #expect(answer.contains("<stream:features"))
            #expect(wire.isOpen)
        }
    }
}
