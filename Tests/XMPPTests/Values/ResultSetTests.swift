import Testing
@testable import XMPP

private func request(_ content: String) throws -> ResultSetRequest {
    try ResultSetRequest(parse("<set xmlns='http://jabber.org/protocol/rsm'>\(content)</set>"))
}

@Suite("Result sets (XEP-0059)") struct ResultSetTests {
    @Test("Requests are read and written", arguments: [
        ("<max>10</max>", ResultSetRequest(max: 10)),
        ("<max>10</max><after>peter@neverland.lit</after>", ResultSetRequest(max: 10, .after("peter@neverland.lit"))),
        ("<max>10</max><before>peter@pixyland.org</before>", ResultSetRequest(max: 10, .before("peter@pixyland.org"))),
        ("<max>10</max><before/>", ResultSetRequest(max: 10, .last)),
        ("<max> 10 </max><index>371</index>", ResultSetRequest(max: 10, .index(371))),
        ("<max>0</max>", ResultSetRequest(max: 0)), ("", ResultSetRequest()), ("<after/>", ResultSetRequest()),
    ])
    func requests(_ content: String, _ expected: ResultSetRequest) throws {
        #expect(try request(content) == expected)
        #expect(try ResultSetRequest(view(expected.element)) == expected)
    }

    @Test("Nonsense is a bad request", arguments: [
        "<max>-1</max>", "<max/>", "<max>ten</max>", "<max>+1</max>", "<max>99999999999999999999</max>",
        "<max>1.5</max>", "<index>-1</index>", "<index>2147483648</index>", "<after>a</after><before>b</before>",
        "<before/><index>1</index>", "<max>٣</max>",
    ])
    func refused(_ content: String) {
        #expect { try request(content) } throws: { ($0 as? StanzaError)?.condition == .badRequest }
    }

    @Test("Pages are cut where the request says", arguments: [
        (ResultSetRequest(max: 2), "ab", false), (ResultSetRequest(max: 2, .after("b")), "cd", false),
        (ResultSetRequest(max: 2, .after("d")), "e", true), (ResultSetRequest(max: 9, .after("e")), "", true),
        (ResultSetRequest(max: 2, .before("d")), "bc", false), (ResultSetRequest(max: 2, .before("b")), "a", true),
        (ResultSetRequest(max: 2, .before("a")), "", true), (ResultSetRequest(max: 2, .last), "de", false),
        (ResultSetRequest(max: 2, .index(3)), "de", true), (ResultSetRequest(max: 2, .index(99)), "", true),
        (ResultSetRequest(max: 0), "", false), (ResultSetRequest(), "abc", false),
        (ResultSetRequest(max: .max, .index(.max)), "", true), (ResultSetRequest(max: -5, .index(-5)), "", false),
    ])
    func paging(_ request: ResultSetRequest, _ expected: String, _ isComplete: Bool) throws {
        let page = try request.page(of: Array("abcde"), limit: 3) { String($0) }
        #expect(String(page.items) == expected)
        #expect(page.isComplete == isComplete)
        #expect(page.response.count == 5)
        #expect(page.response.first == expected.first.map(String.init))
        #expect(page.response.last == expected.last.map(String.init))
        #expect(page.response.index == expected.first.flatMap { Array("abcde").firstIndex(of: $0) })
        #expect(try ResultSetResponse(view(page.response.element)) == page.response)
    }

    @Test("A page beside an item that is gone is not found (§2.4); responses are checked")
    func gone() {
        #expect(throws: StanzaError.itemNotFound) {
            try ResultSetRequest(max: nil, .after("z")).page(of: ["a"]) { $0 }
        }
        #expect(throws: StanzaError.self) {
            try ResultSetResponse(parse("<set xmlns='http://jabber.org/protocol/rsm'><first index='x'>a</first></set>"))
        }
    }
}
