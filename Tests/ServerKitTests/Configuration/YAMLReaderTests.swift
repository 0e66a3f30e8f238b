import ServerKit
import Testing

@Suite("YAML reader") struct YAMLReaderTests {
    @Test("Names and values know their line and column")
    func positions() throws {
        let (root, problems) = YAMLReader.parse("a: 1\nb:\n  - x\n  - 'y'\nc: {d: ~, e: \"null\"}\n", file: "f.yaml")
        let tree = try #require(root)
        #expect(problems.isEmpty)
        #expect(tree.entries.map(\.key) == ["a", "b", "c"])
        #expect(tree.entries.map(\.position.line) == [1, 2, 5])
        let inner = try #require(tree["c"])
        #expect(inner["d"]?.isNull == true)
        #expect(inner["e"]?.value == .scalar("null", wasQuoted: true))
        #expect(inner["e"]?.position == ConfigPosition(file: "f.yaml", line: 5, column: 14))
        #expect(inner["e"]?.path == "c.e")
        guard case .sequence(let items) = try #require(tree["b"]).value else {
            Issue.record("b is no list")
            return
        }
        #expect(items.map(\.value) == [.scalar("x", wasQuoted: false), .scalar("y", wasQuoted: true)])
        #expect(items.map(\.position.line) == [3, 4])
    }

    @Test("An empty file, comments alone and a byte order mark are fine", arguments: ["", "# nothing\n", "\u{FEFF}"])
    func empty(text: String) {
        let (root, problems) = YAMLReader.parse(text, file: "f.yaml")
        #expect(root?.isNull == true)
        #expect(problems.isEmpty)
    }

    @Test("A byte order mark does not become part of the first name")
    func byteOrderMark() {
        #expect(YAMLReader.parse("\u{FEFF}a: 1", file: "f.yaml").root?["a"]?.text == "1")
    }

    @Test(
        "What cannot be read is named with its line and the way out",
        arguments: [
            ("a: 1\na: 2\n", ["f.yaml:2: a: given twice; the first time on line 1."]),
            ("m: {x: 1, y: 2, x: 3}", ["f.yaml:1: m.x: given twice; the first time on line 1."]),
            (
                "a: &x 1\nb: *x\n",
                [
                    "f.yaml:1: a: anchors (&) and aliases (*) are not supported; write the value out.",
                    "f.yaml:2: b: anchors (&) and aliases (*) are not supported; write the value out.",
                ]
            ),
            ("a:\n  <<: {x: 1}\n", ["f.yaml:2: a: merge keys (<<) are not supported; write the options out."]),
            ("a: !!int 5", ["f.yaml:1: a: the tag \"tag:yaml.org,2002:int\" is not supported; leave it out."]),
            ("a: !ruby/object:X {}", ["f.yaml:1: a: the tag \"!ruby/object:X\" is not supported; leave it out."]),
            ("[1, 2]: x", ["f.yaml:1: expected a name before the \":\", found a list."]),
            ("a:\n  ~: x", ["f.yaml:2: a: expected a name before the \":\", found nothing."]),
            (
                "a: 1\n---\nb: 2\n",
                ["f.yaml:2: a second document (---) begins here; a configuration is one document."]
            ),
            ("a:\n\tb: 1\n", ["f.yaml:2: a tab cannot indent a line; use spaces."]),
            ("a:\n  b: 1\n \tc: 2\n", ["f.yaml:3: a tab cannot indent a line; use spaces."]),
            (
                "a: b: c\n",
                [
                    "f.yaml:1: a \":\" is not expected here; check the indentation, or put the text in quotes."
                ]
            ),
            (
                "a: 1\n b: 2\n",
                [
                    "f.yaml:2: a \":\" is not expected here; check the indentation, or put the text in quotes."
                ]
            ),
            (
                "a:\n  b: 1\n c: 2\n",
                ["f.yaml:3: expected \"name: value\" as in the lines since line 1; check the indentation."]
            ),
            (
                "a:\n  - 1\n  b: 2\n",
                ["f.yaml:3: expected \"- \" as in the list that begins on line 2; check the indentation."]
            ),
            ("a: {b: 1\nc: 2\n", ["f.yaml:2: expected \",\" or \"}\" after the \"{\" on line 1."]),
            ("a: [1, 2\nb: 3\n", ["f.yaml:2: expected \",\" or \"]\" after the \"[\" on line 1."]),
            ("a: \"b\nc: d\n", ["f.yaml:3: the quotes that open on line 1 are never closed."]),
            ("a: 1\nbc\nd: 2\n", ["f.yaml:3: expected \":\" after the name on line 2."]),
            ("a: @b\n", ["f.yaml:1: a value cannot begin with this character; put it in quotes."]),
            ("a: \"\\q\"\n", ["f.yaml:1: unknown escape after \"\\\" in the quotes that open on line 1."]),
            ("a: 1\nb: \u{0}\n", ["f.yaml:2: the file holds control characters; it must be plain text."]),
            ("\"\\e[31m\": 1\n\"\\e[31m\": 2", ["f.yaml:2: \\u{1b}[31m: given twice; the first time on line 1."]),
        ])
    func problems(text: String, expected: [String]) {
        #expect(YAMLReader.parse(text, file: "f.yaml").problems.map(\.description) == expected)
    }

    @Test(
        "Bytes that are no text are refused",
        arguments: [
            ([0x61, 0x3A, 0x20, 0xFF], "f.yaml:1: the file is not valid UTF-8."),
            ([0x61, 0x3A, 0x20, 0x31, 0x0A, 0x62, 0x3A, 0xC3], "f.yaml:2: the file is not valid UTF-8."),
            ([0x61, 0x3A, 0xED, 0xA0, 0x80], "f.yaml:1: the file is not valid UTF-8."),
            ([0xFF, 0xFE, 0x61, 0x00], "f.yaml:1: the file is not valid UTF-8."),
            ([0x7F, 0x45, 0x4C, 0x46, 0x02], "f.yaml:1: the file holds control characters; it must be plain text."),
            ([0x00], "f.yaml:1: the file holds control characters; it must be plain text."),
        ] as [([UInt8], String)])
    func binary(bytes: [UInt8], expected: String) {
        let (root, problems) = YAMLReader.parse(bytes: bytes, file: "f.yaml")
        #expect(root == nil)
        #expect(problems.map(\.description) == [expected])
    }

    @Test("32 levels are read, more are refused, however they are written")
    func depth() {
        let brackets = { (count: Int) in String(repeating: "[", count: count) + String(repeating: "]", count: count) }
        #expect(YAMLReader.parse(brackets(32), file: "f.yaml").problems.isEmpty)
        let expected = ["f.yaml:1: more than 32 levels lie in one another."]
        for text in [brackets(33), brackets(500_000), String(repeating: "- ", count: 500_000)] {
            let (root, problems) = YAMLReader.parse(text, file: "f.yaml")
            #expect(root == nil)
            #expect(problems.map(\.description) == expected)
        }
        let maps = String(repeating: "{a: ", count: 100_000)
        let path = Array(repeating: "a", count: 32).joined(separator: ".")
        #expect(
            YAMLReader.parse(maps, file: "f.yaml").problems.map(\.description)
                == ["f.yaml:1: \(path): more than 32 levels lie in one another."])
    }

    @Test("Size, number of values, length of names and number of problems are bounded")
    func bounds() {
        let large = [UInt8](repeating: UInt8(ascii: "a"), count: 5_000_000)
        #expect(
            YAMLReader.parse(bytes: large, file: "f.yaml").problems.map(\.description)
                == ["f.yaml: the file is larger than 4 MiB."])
        let many = "[" + String(repeating: "1,", count: 200_000) + "]"
        #expect(
            YAMLReader.parse(many, file: "f.yaml").problems.map(\.description)
                == ["f.yaml:1: the file holds more than 100000 values."])
        let name = String(repeating: "n", count: 256)
        #expect(
            YAMLReader.parse("\(name): 1", file: "f.yaml").problems.map(\.description)
                == ["f.yaml:1: a name is longer than 255 bytes."])
        let (root, problems) = YAMLReader.parse(String(repeating: "- *a\n", count: 10_000), file: "f.yaml")
        #expect(root == nil)
        #expect(problems.count == 101)
        #expect(problems.last?.description == "f.yaml:100: too many problems; the rest of the file was not read.")
    }

    @Test("An alias bomb ends with problems instead of memory")
    func aliasBomb() {
        var text = "a0: &a0 [x, x]\n"
        for level in 1...30 {
            text += "a\(level): &a\(level) [*a\(level - 1), *a\(level - 1)]\n"
        }
        let (_, problems) = YAMLReader.parse(text, file: "f.yaml")
        #expect(problems.count == 91)
        #expect(problems.allSatisfy { $0.message.hasPrefix("anchors (&) and aliases (*) are not supported") })
    }

    @Test("Every prefix of a file is read or refused without a crash")
    func prefixes() {
        let text = "a: {b: [1, \"x\\n\", 'y']}\n? c\n: |\n  text\n  more\n- &d !e *f\n%YAML 1.1\n---\n\"ü\": >-\n  z\n"
        let bytes = Array(text.utf8)
        for count in 0...bytes.count {
            for tail: [UInt8] in [[], [0], [0xC0], [0x09], [0x3A]] {
                let (root, problems) = YAMLReader.parse(bytes: Array(bytes.prefix(count)) + tail, file: "f.yaml")
                #expect(root != nil || !problems.isEmpty)
            }
        }
    }

    @Test("A file that is not there is a problem")
    func missing() {
        #expect(
            YAMLReader.parse(contentsOf: "/nonexistent/f.yaml").problems.map(\.description)
                == ["/nonexistent/f.yaml: the file cannot be read: No such file or directory."])
        #expect(
            YAMLReader.parse(contentsOf: "/").problems.map(\.description)
                == ["/: the file cannot be read: Is a directory."])
    }
}
