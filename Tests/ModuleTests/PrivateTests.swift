import ServerKit
import TestKit
import Testing

@testable import Modules

@Suite("Private XML Storage (XEP-0049)") struct PrivateTests {
    private static func query(_ content: String) -> String { "<query xmlns='jabber:iq:private'>\(content)</query>" }

    private static func play(
        _ options: String = "", _ body: @escaping @ServerActor @Sendable (Stage, Actor) async throws -> Void
    ) async throws {
        try await TestKit.play(modules: [Private.self], config: "modules:\n  private: { \(options) }\n") { stage in
            try await body(stage, try await stage.enter("hamlet@montague.example/denmark"))
        }
    }

    @Test("What a client stores it gets back, after a restart too")
    func example() async throws {
        try await Self.play { stage, hamlet in
            let prefs = "<exodus xmlns='exodus:prefs'><defaultnick>Hamlet</defaultnick></exodus>"
            try await hamlet.asks(.set, Self.query(prefs))
            try await stage.restart()
            let again = try await stage.enter("hamlet@montague.example/castle")
            let result = try await again.asks(.get, Self.query("<exodus xmlns='exodus:prefs'/>"))
            #expect(result?.matches(try Element.parse(Self.query(prefs)), exactly: true) == true)
            // The own address changes nothing.
            let same = try await again.asks(
                .get, Self.query("<exodus xmlns='exodus:prefs'/>"), to: "hamlet@montague.example")
            #expect(same?.child("exodus", "exodus:prefs")?.hasChildren == true)
        }
    }

    @Test("What was never stored is empty, and what is emptied is forgotten")
    func empty() async throws {
        try await Self.play("elements: 1") { stage, hamlet in
            let bookmarks = "<storage xmlns='storage:bookmarks'/>"
            let none = try await hamlet.asks(.get, Self.query(bookmarks))
            #expect(none?.matches(try Element.parse(Self.query(bookmarks)), exactly: true) == true)
            try await hamlet.asks(.set, Self.query("<storage xmlns='storage:bookmarks'><url/></storage>"))
            try await hamlet.isRefused(.set, Self.query("<a xmlns='urn:a'>1</a>"))
            try await hamlet.asks(.set, Self.query(bookmarks))
            try await hamlet.asks(.set, Self.query("<a xmlns='urn:a'>1</a>"))
            let forgotten = try await hamlet.asks(.get, Self.query(bookmarks))
            #expect(forgotten?.firstChild?.hasChildren == false)
        }
    }

    @Test("Several elements can be stored at once, also of one name")
    func several() async throws {
        try await Self.play { stage, hamlet in
            try await hamlet.asks(
                .set,
                Self.query(
                    "<a xmlns='urn:x'>1</a><b xmlns='urn:x'>2</b><a xmlns='urn:x'>3</a><a xmlns='urn:y' z='4'/>"))
            let first = try await hamlet.asks(.get, Self.query("<a xmlns='urn:x'/>"))
            #expect(first?.children.map(\.text) == ["1", "3"])
            let second = try await hamlet.asks(.get, Self.query("<b xmlns='urn:x'/>"))
            #expect(second?.children.map(\.text) == ["2"])
            let third = try await hamlet.asks(.get, Self.query("<a xmlns='urn:y'/>"))
            #expect(third?.firstChild?["z"] == "4")
        }
    }

    @Test("Requests that follow each other without waiting are handled in order")
    func pipelined() async throws {
        try await Self.play { stage, hamlet in
            try await hamlet.sends(
                (1...20).map { "<iq type='set' id='s\($0)'>\(Self.query("<a xmlns='urn:x'>\($0)</a>"))</iq>" }.joined()
                    + "<iq type='get' id='g'>\(Self.query("<a xmlns='urn:x'/>"))</iq>")
            let result = try await hamlet.receivesAnywhere("<iq type='result' id='g'/>")
            #expect(result.firstChild?.firstChild?.text == "20")
        }
    }

    @Test(
        "Bad requests are refused",
        arguments: [
            (IQ.Kind.get, "", StanzaError.Condition.badRequest),
            (.set, "", .notAcceptable),
            (.set, "text", .notAcceptable),
            (.get, "<a xmlns='urn:a'/><b xmlns='urn:b'/>", .badRequest),
            (.set, "<a/>", .notAcceptable),
            (.get, "<a/>", .notAcceptable),
            (.set, "<a xmlns='jabber:client'/>", .notAcceptable),
            (.set, "<ok xmlns='urn:a'>1</ok><a/>", .notAcceptable),
        ])
    func bad(kind: IQ.Kind, content: String, condition: StanzaError.Condition) async throws {
        try await Self.play { stage, hamlet in
            let error = try await hamlet.isRefused(kind, Self.query(content))
            #expect(error.condition == condition)
            // Nothing of it was stored.
            let result = try await hamlet.asks(.get, Self.query("<ok xmlns='urn:a'/>"))
            #expect(result?.firstChild?.text == "")
        }
    }

    @Test("Nobody else can read or write it")
    func others() async throws {
        try await Self.play { stage, hamlet in
            try await hamlet.asks(.set, Self.query("<a xmlns='urn:a'>secret</a>"))
            let macbeth = try await stage.enter("macbeth@montague.example/cawdor")
            for kind in [IQ.Kind.get, .set] {
                let error = try await macbeth.isRefused(
                    kind, Self.query("<a xmlns='urn:a'>x</a>"), to: "hamlet@montague.example")
                #expect(error.condition == .serviceUnavailable)
            }
            try await macbeth.isRefused(.get, Self.query("<a xmlns='urn:a'/>"), to: "montague.example")
            let own = try await macbeth.asks(.get, Self.query("<a xmlns='urn:a'/>"))
            #expect(own?.firstChild?.text == "")
        }
    }

    @Test("Size and number are limited")
    func limits() async throws {
        try await Self.play("size: 1 KiB, elements: 3") { stage, hamlet in
            let large = String(repeating: "x", count: 1_000)
            let error = try await hamlet.isRefused(.set, Self.query("<a xmlns='urn:a'>\(large)</a>"))
            #expect(error.condition == .policyViolation)
            try await hamlet.asks(.set, Self.query("<a xmlns='urn:a'>1</a><b xmlns='urn:a'>1</b>"))
            try await hamlet.isRefused(.set, Self.query("<c xmlns='urn:a'>1</c><d xmlns='urn:a'>1</d>"))
            try await hamlet.asks(.set, Self.query("<a xmlns='urn:a'>2</a><c xmlns='urn:a'>1</c>"))
            try await stage.restart()
            let again = try await stage.enter("hamlet@montague.example/castle")
            // All at once, while what is there is still being read.
            try await again.sends(
                (1...10).map { "<iq type='set' id='s\($0)'>\(Self.query("<n\($0) xmlns='urn:a'>1</n\($0)>"))</iq>" }
                    .joined())
            #expect(await again.everything().allSatisfy { $0["type"] == "error" })
        }
    }
}
