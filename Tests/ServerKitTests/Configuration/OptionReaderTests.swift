import ServerKit
import Testing
import XMPP

/// Reads `text` as the options of a module and returns what `body` makes of them, and the problems.
private func read<Value>(
    _ text: String, _ body: (inout OptionReader) -> Value
) throws -> (value: Value, problems: [String]) {
    let (root, problems) = YAMLReader.parse(text, file: "f.yaml")
    var reader = OptionReader(try #require(root))
    let value = body(&reader)
    reader.finish()
    return (value, (problems + reader.problems).map(\.description))
}

/// The choices of `ArchiveOptions`.
enum Policy: String, CaseIterable { case always, roster, never }

/// Options of a module that does not exist.
struct ArchiveOptions: ModuleOptions {
    let retention: Duration?
    let pageSize: Int
    let policy: Policy
    let storage: String

    init(_ config: inout OptionReader) {
        retention = config.optionalDuration("retention", default: .days(365), "How long messages stay.")
        pageSize = config.int("page_size", default: 50, in: 1...500, "Messages per page when the client does not say")
        policy = config.choice("policy", default: Policy.always, "Whose messages are kept.")
        storage = config.section("backend", "Where the archive lives.") { config in
            config.string("name", default: "on", "The driver.")
        }
    }
}

@Suite("Option reader") struct OptionReaderTests {
    @Test(
        "Durations",
        arguments: [
            ("30 days", .days(30), nil), ("1h 30m", .minutes(90), nil), ("90 s", .seconds(90), nil),
            ("2 weeks", .weeks(2), nil), ("1h30m", .minutes(90), nil), ("250 ms", .milliseconds(250), nil),
            ("1 Day", .days(1), nil), ("0", .zero, nil), ("'5 min'", .minutes(5), nil), ("~", .days(7), nil),
            ("90", .days(7), "\"90\" is not a duration such as 30 days or 1h 30m."),
            ("soon", .days(7), "\"soon\" is not a duration such as 30 days or 1h 30m."),
            ("-1 s", .days(7), "\"-1 s\" is not a duration such as 30 days or 1h 30m."),
            ("1 fortnight", .days(7), "\"1 fortnight\" is not a duration such as 30 days or 1h 30m."),
            ("''", .days(7), "\"\" is not a duration such as 30 days or 1h 30m."),
            ("[1 s]", .days(7), "expected a duration such as 30 days or 1h 30m, found a list."),
            (
                "9223372036854775807 weeks", .days(7),
                "\"9223372036854775807 weeks\" is not a duration such as 30 days or 1h 30m."
            ),
        ] as [(String, Duration, String?)])
    func durations(text: String, expected: Duration, problem: String?) throws {
        let (value, problems) = try read("k: \(text)") { $0.duration("k", default: .days(7), "") }
        #expect(value == expected)
        #expect(problems == (problem.map { ["f.yaml:1: k: \($0)"] } ?? []))
    }

    @Test("Durations have bounds, and may be unlimited where the option says so")
    func durationBounds() throws {
        let (_, problems) = try read("k: 2 years") {
            $0.duration("k", default: .days(7), in: .days(1) ... .days(365), "")
        }
        #expect(problems == ["f.yaml:1: k: 2 years is out of range; allowed: 1 day to 365 days."])
        for word in ["never", "unlimited", "Never"] {
            #expect(try read("k: \(word)") { $0.optionalDuration("k", default: .days(7), "") } == (nil, []))
        }
        let (_, refused) = try read("k: never") { $0.duration("k", default: .days(7), "") }
        let (_, bounded) = try read("k: forever") {
            $0.optionalDuration("k", default: nil, in: .days(1) ... .days(2), "")
        }
        #expect(
            bounded == [
                "f.yaml:1: k: \"forever\" is not a duration such as 30 days or 1h 30m; "
                    + "allowed: 1 day to 2 days, never or unlimited."
            ])
        #expect(refused == ["f.yaml:1: k: \"never\" is not a duration such as 30 days or 1h 30m."])
    }

    @Test(
        "Sizes",
        arguments: [
            ("100 MB", 100_000_000, nil), ("3GB", 3_000_000_000, nil), ("512 KiB", 524_288, nil), ("4096", 4096, nil),
            ("1 mib", 1_048_576, nil), ("2k", 2000, nil),
            ("1.5 GB", 1, "\"1.5 GB\" is not a size such as 100 MB or 512 KiB; allowed: 1 to 5 TB."),
            ("6 TB", 1, "6 TB is out of range; allowed: 1 to 5 TB."),
            ("9999999999 TB", 1, "\"9999999999 TB\" is not a size such as 100 MB or 512 KiB; allowed: 1 to 5 TB."),
            ("-5", 1, "\"-5\" is not a size such as 100 MB or 512 KiB; allowed: 1 to 5 TB."),
        ] as [(String, Int, String?)])
    func sizes(text: String, expected: Int, problem: String?) throws {
        let (value, problems) = try read("k: \(text)") {
            $0.size("k", default: 1, in: 1...5_000_000_000_000, "")
        }
        #expect(value == expected)
        #expect(problems == (problem.map { ["f.yaml:1: k: \($0)"] } ?? []))
    }

    @Test(
        "Numbers",
        arguments: [
            ("7", 7, nil), ("900", 50, "900 is out of range; allowed: 1 to 500."),
            ("many", 50, "\"many\" is not a whole number; allowed: 1 to 500."),
            ("1.5", 50, "\"1.5\" is not a whole number; allowed: 1 to 500."),
            ("{a: 1}", 50, "expected a whole number, found a group of options; allowed: 1 to 500."),
            ("99999999999999999999", 50, "\"99999999999999999999\" is not a whole number; allowed: 1 to 500."),
        ] as [(String, Int, String?)])
    func numbers(text: String, expected: Int, problem: String?) throws {
        let (value, problems) = try read("k: \(text)") { $0.int("k", default: 50, in: 1...500, "") }
        #expect(value == expected)
        #expect(problems == (problem.map { ["f.yaml:1: k: \($0)"] } ?? []))
    }

    @Test("Switches, choices, percentages and rates")
    func words() throws {
        for (text, isOn) in [("on", true), ("yes", true), ("TRUE", true), ("off", false), ("no", false)] {
            #expect(try read("k: \(text)") { $0.bool("k", default: !isOn, "") } == (isOn, []))
        }
        #expect(
            try read("k: maybe") { $0.bool("k", default: true, "") }
                == (true, ["f.yaml:1: k: \"maybe\" is not a switch; allowed: on or off."]))
        #expect(try read("k: roster") { $0.choice("k", default: Policy.never, "") } == (.roster, []))
        let choices = "is not one of the choices; allowed: always, roster or never."
        #expect(
            try read("k: rooster") { $0.choice("k", default: Policy.never, "") }
                == (.never, ["f.yaml:1: k: \"rooster\" \(choices) Did you mean \"roster\"?"]))
        #expect(
            try read("k: x") { $0.choice("k", default: "a", of: ["a", "b"], "") }
                == ("a", ["f.yaml:1: k: \"x\" is not one of the choices; allowed: a or b."]))
        #expect(try read("k: 80 %") { $0.percent("k", default: 1, "") } == (80, []))
        #expect(
            try read("k: 101%") { $0.percent("k", default: 1, "") }
                == (1, ["f.yaml:1: k: 101% is out of range; allowed: 0 % to 100 %."]))
        #expect(
            try read("k: 80 MB") { $0.percent("k", default: 1, "") }
                == (1, ["f.yaml:1: k: \"80 MB\" is not a percentage such as 80 %; allowed: 0 % to 100 %."]))
        #expect(try read("k: 64 KiB/s") { $0.byteRate("k", default: Rate(1, per: .days(1)), "") }.value.count == 65_536)
    }

    @Test(
        "Rates",
        arguments: [
            ("30 per minute", Rate(30, per: .minutes(1)), "30 per minute"),
            ("10/s", Rate(10, per: .seconds(1)), "10 per second"),
            ("5 per 10 minutes", Rate(5, per: .minutes(10)), "5 per 10 minutes"),
            ("10", nil, ""), ("10/", nil, ""), ("/s", nil, ""), ("1/0", nil, ""), ("1/s/s", nil, ""), ("per", nil, ""),
        ] as [(String, Rate?, String)])
    func rates(text: String, expected: Rate?, description: String) {
        #expect(Rate(text) == expected)
        #expect(Rate(text)?.description ?? "" == description)
    }

    @Test(
        "Listen addresses",
        arguments: [
            ("5222", ["5222"]), ("\"127.0.0.1:5280\"", ["127.0.0.1:5280"]), ("\"[::1]:5222\"", ["[::1]:5222"]),
            ("[5222, \"[::1]:5222\"]", ["5222", "[::1]:5222"]), ("off", []), ("[]", []), ("\"*:80\"", ["80"]),
        ])
    func listen(text: String, expected: [String]) throws {
        let (value, problems) = try read("k: \(text)") { $0.listen("k", default: [ListenAddress(port: 1)], "") }
        #expect(value.map(\.description) == expected)
        #expect(problems.isEmpty)
    }

    @Test(
        "Other listen addresses are refused",
        arguments: ["localhost:5280", "70000", "+80", "1.2.3:80", "[::1]", "::1:80", "[::1:80", "127.0.0.1:", "-1"])
    func listenProblems(text: String) throws {
        let (value, problems) = try read("k: [5222, \"\(text)\"]") { $0.listen("k", default: [], "") }
        #expect(value == [ListenAddress(port: 5222)])
        let noun = "a port or an address with a port, such as 5222, \"127.0.0.1:5280\" or \"[::1]:5222\""
        #expect(problems == ["f.yaml:1: k: \"\(text)\" is not \(noun); allowed: a list of them, or off."])
    }

    @Test("Lists take a single value too, and name every wrong item")
    func lists() throws {
        #expect(try read("k: a") { $0.strings("k", "") } == (["a"], []))
        #expect(try read("k: [a, no]") { $0.strings("k", "") } == (["a", "no"], []))
        #expect(try read("") { $0.strings("k", default: ["x"], "") } == (["x"], []))
        let (jids, problems) = try read("k:\n  - anna@example.org\n  - '@'\n  - {}\n") { $0.jids("k", "") }
        #expect(jids.map(\.description) == ["anna@example.org"])
        #expect(
            problems == [
                "f.yaml:3: k: \"@\" is not an address such as anna@example.org.",
                "f.yaml:4: k: expected an address such as anna@example.org, found a group of options.",
            ])
    }

    @Test("Unknown names are reported with the nearest one, in sections too, and all at once")
    func unknown() throws {
        let text = "retentoin: 1 day\npage_size: 900\nbackend: {nam: x}\npolicy: rooster\nwhatever: 1\n"
        let (_, problems) = try read(text) { ArchiveOptions(&$0) }
        #expect(
            problems == [
                "f.yaml:2: page_size: 900 is out of range; allowed: 1 to 500.",
                "f.yaml:4: policy: \"rooster\" is not one of the choices; allowed: always, roster or never. "
                    + "Did you mean \"roster\"?",
                "f.yaml:3: backend.nam: no such option. Did you mean \"name\"?",
                "f.yaml:1: retentoin: no such option. Did you mean \"retention\"?",
                "f.yaml:5: whatever: no such option.",
            ])
    }

    @Test("Maps hold groups under free names, and modules add problems of their own")
    func maps() throws {
        let (value, problems) = try read("k: {a: {n: 1}, b: , c: 5}") { config in
            let groups = config.map("k", example: "name", "") { name, config in
                config.int("n", default: name.count, "")
            }
            config.report("k", "too few.")
            return groups.map { "\($0.name)=\($0.value)" }
        }
        #expect(value == ["a=1", "b=1", "c=1"])
        #expect(
            problems == [
                "f.yaml:1: k.c: expected a group of options, found \"5\".",
                "f.yaml:1: k: too few.",
            ])
    }

    @Test("Lists hold groups, one of which stands for itself; what must be there is missed")
    func groups() throws {
        func names(_ text: String) throws -> (value: [String?], problems: [String]) {
            try read(text) { config in
                config.list("k", "") { item in
                    item.required("name", example: "x", as: "a lower-case word", "") { $0 == $0.lowercased() ? $0 : nil }
                }
            }
        }
        #expect(try names("") == ([], []))
        #expect(try names("k: []") == ([], []))
        #expect(try names("k: {name: a}") == (["a"], []))
        #expect(try names("k:\n  - name: a\n  - {name: b}\n") == (["a", "b"], []))
        let (value, problems) = try names("k:\n  - nam: a\n  - {name: B}\n  - c\n  -\n")
        #expect(value == [nil, nil, nil, nil])
        #expect(
            problems == [
                "f.yaml:2: k.name: it is missing; expected a lower-case word.",
                "f.yaml:2: k.nam: no such option. Did you mean \"name\"?",
                "f.yaml:3: k.name: \"B\" is not a lower-case word.",
                "f.yaml:4: k: expected a group of options, found \"c\".",
                "f.yaml:5: k.name: it is missing; expected a lower-case word.",
            ])
    }

    @Test("A module without options refuses whatever was written")
    func noOptions() throws {
        let root = try #require(YAMLReader.parse("a: 1", file: "f.yaml").root)
        #expect(NoOptions.read(root).problems.map(\.description) == ["f.yaml:1: a: no such option."])
    }

    @Test("The same initialiser describes the options")
    func descriptions() {
        let options = ArchiveOptions.descriptions
        #expect(options.map(\.key) == ["retention", "page_size", "policy", "backend"])
        #expect(options.map(\.type) == ["duration", "number", "choice", "section"])
        #expect(options.map(\.defaultText) == ["365 days", "50", "always", nil])
        #expect(
            options.map(\.allowed) == [
                "a duration, never or unlimited", "1 to 500", "always, roster or never", nil,
            ])
        #expect(options[3].options.map(\.defaultText) == ["\"on\""])
    }
}
