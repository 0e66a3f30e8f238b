import ServerKit
import Testing

@Suite("Sample writer") struct SampleWriterTests {
    @Test("The sample shows every option, and reads without problems once the marks are taken off")
    func sample() throws {
        var writer = SampleWriter()
        writer.modules([
            .init("archive", "Keeps messages", isOnByDefault: true, options: ArchiveOptions.descriptions),
            .init("proxy65", "Relays files.", isOnByDefault: false),
        ])
        #expect(
            writer.text == """
                modules:
                  # Keeps messages. On by default.
                  #archive:
                    #retention: 365 days   # How long messages stay. Allowed: a duration, never or unlimited.
                    #page_size: 50         # Messages per page when the client does not say. Allowed: 1 to 500.
                    #policy: always        # Whose messages are kept. Allowed: always, roster or never.
                    # Where the archive lives.
                    #backend:
                      #name: "on"   # The driver.

                  # Relays files. Off by default.
                  #proxy65: off

                """)
        #expect(YAMLReader.parse(writer.text, file: "f.yaml").problems.isEmpty)
        let (root, problems) = YAMLReader.parse(uncommented(writer.text), file: "f.yaml")
        #expect(problems.isEmpty)
        let archive = ArchiveOptions.read(try #require(root?["modules"]?["archive"]))
        #expect(archive.problems.isEmpty)
        #expect(archive.options.retention == .days(365))
        #expect(archive.options.storage == "on")
        #expect(root?["modules"]?["proxy65"]?.text == "off")
    }

    private struct Listing: ModuleOptions {
        let names: [String?]

        init(_ config: inout OptionReader) {
            names = config.list("items", "What there is.") { item in
                let name = item.required("name", example: "a b", as: "a name", "Its name.") { $0 }
                _ = item.optionalString("nick", "Its nick.")
                return name
            }
        }
    }

    @Test("Of a list the sample shows one item")
    func list() throws {
        var writer = SampleWriter()
        writer.modules([.init("shop", "Sells", isOnByDefault: true, options: Listing.descriptions)])
        #expect(
            writer.text == """
                modules:
                  # Sells. On by default.
                  #shop:
                    # What there is.
                    #items:
                      #- name: a b   # Its name.
                      #  nick:       # Its nick.

                """)
        let (root, problems) = YAMLReader.parse(uncommented(writer.text), file: "f.yaml")
        #expect(problems.isEmpty)
        let shop = Listing.read(try #require(root?["modules"]?["shop"]))
        #expect(shop.problems.isEmpty && shop.options.names == ["a b"])
    }

    @Test("Components stand with the domain that their module suggests, and read without the marks")
    func components() throws {
        var writer = SampleWriter()
        writer.components(
            [
                (
                    "archive",
                    .init("archive", "Keeps messages", isOnByDefault: false, options: ArchiveOptions.descriptions),
                    false
                ),
                ("conference", .init("muc", "Rooms", isOnByDefault: false), true),
            ], of: "example.org")
        #expect(
            writer.text == """
                # Domains that a module serves, with its options beside its name.
                components:
                  # Keeps messages.
                  #archive.example.org:
                    #module: archive
                    #retention: 365 days   # How long messages stay. Allowed: a duration, never or unlimited.
                    #page_size: 50         # Messages per page when the client does not say. Allowed: 1 to 500.
                    #policy: always        # Whose messages are kept. Allowed: always, roster or never.
                    # Where the archive lives.
                    #backend:
                      #name: "on"   # The driver.

                  # Rooms.
                  conference.example.org:
                    module: muc

                """)
        for text in [writer.text, uncommented(writer.text)] {
            let (configuration, problems) = ServerConfiguration.read(
                bytes: Array(text.utf8), file: "f.yaml", listeners: [])
            #expect(problems.isEmpty)
            let names = configuration?.components.map(\.name)
            #expect(
                names
                    == (text == writer.text
                        ? ["conference.example.org"] : ["archive.example.org", "conference.example.org"]))
        }
    }

    private struct Wordy: ModuleOptions {
        init(_ config: inout OptionReader) {
            _ = config.optionalPath("file", "Short.")
            _ = config.strings(
                "names", default: ["a b", "null", "x: y", "\u{1B}"],
                "A sentence that is far too long to stand beside its option, and so has to be wrapped above it.")
            _ = config.optionalSize("quota", default: 3_000_000_000, in: 1 ... .max, "")
        }
    }

    @Test("Where one sentence is too long, all stand above; values are quoted where YAML needs it")
    func wrapping() throws {
        var writer = SampleWriter()
        writer.options(Wordy.descriptions)
        #expect(
            writer.text == """
                # Short.
                #file:

                # A sentence that is far too long to stand beside its option, and so has to be wrapped above it.
                #names: [a b, "null", "x: y", "\\U0000001b"]

                # Allowed: at least 1 or unlimited.
                #quota: 3 GB

                """)
        let (root, problems) = YAMLReader.parse(uncommented(writer.text), file: "f.yaml")
        #expect(problems.isEmpty)
        guard case .sequence(let names)? = root?["names"]?.value else {
            Issue.record("names is no list")
            return
        }
        #expect(names.map(\.text) == ["a b", "null", "x: y", "\u{1B}"])
        #expect(Wordy.read(try #require(root)).problems.isEmpty)
    }
}

/// The sample with every option in force.
func uncommented(_ text: String) -> String {
    text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
        let margin = line.prefix { $0 == " " }
        let rest = line.dropFirst(margin.count)
        return rest.hasPrefix("#") && !rest.hasPrefix("# ") ? margin + rest.dropFirst() : line
    }.joined(separator: "\n")
}
