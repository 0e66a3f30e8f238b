import ServerKit
import Testing

@Suite("Suggestion") struct SuggestionTests {
    @Test(
        "The nearest name is offered, and none when all are far",
        arguments: [
            ("retentoin", "retention"),
            ("page-size", "page_size"),
            ("PageSize", "page_size"),
            ("retantion", "retention"),
            ("retenton", "retention"),
            ("xyz", nil),
            ("re", nil),
            ("", nil),
            (String(repeating: "r", count: 100_000), nil),
        ] as [(String, String?)])
    func nearest(name: String, expected: String?) {
        #expect(Suggestion.nearest(to: name, in: ["page_size", "retention", "quota"]) == expected)
    }

    @Test("Among equally near names the first wins, and a name is not its own suggestion")
    func ties() {
        #expect(Suggestion.nearest(to: "mac", in: ["mic", "muc"]) == "mic")
        #expect(Suggestion.nearest(to: "muc", in: ["muc"]) == nil)
    }
}
