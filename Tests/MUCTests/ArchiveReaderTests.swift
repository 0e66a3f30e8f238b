import ServerKit
import TestKit
import Testing

@testable import MUC

@Suite("Archives of rooms: those who read slowly") struct ArchiveReaderTests {
    @Test("A slow client gets all of a large page, one that never reads an error, one that goes away nothing more")
    func backlog() async throws {
        try await playRooms("page_bytes: 10 MB, waiting_queries: 3") { stage in
            let first = try await stage.enter("crone1@capulet.example/desktop")
            try await first.makesRoom(as: "firstwitch")
            let text = String(repeating: "x", count: 100_000)
            for number in 1...20 { try await first.says("\(number)\(text)") }
            await first.forgets()
            let jid = try #require(JID("crone1@capulet.example/desktop"))
            let account = try #require(stage.server.localResource(jid)?.account)
            let link = SlowLink()
            let slow = account.bind("slow", link: link)
            @ServerActor
            func asks(_ id: String) throws {
                let query = "<iq type='set' id='\(id)' to='\(coven)'>\(Query.whole())</iq>"
                slow.receive(.iq(try IQ(try Element.parse(query))))
            }
            try asks("read")
            await stage.settle()
            for _ in 0..<40 where link.answers.isEmpty {
                await stage.advance(by: .seconds(1))
                link.read()
            }
            #expect(link.messages == 20 && link.answers == ["result read"] && link.most < 1_000_000)
            link.forget()
            // The first sticks, three wait for it.
            for id in ["a", "b", "c", "d", "e", "f"] { try asks(id) }
            await stage.settle()
            #expect(link.answers == ["error e", "error f"])
            await stage.advance(by: .seconds(21))
            #expect(link.messages < 20)
            #expect(link.answers == ["error e", "error f", "error a"])
            // What is left of the page does not go to the account's other client.
            account.remove(slow)
            await stage.advance(by: .minutes(2))
            #expect(await first.everything().allSatisfy { $0.child("result", .mam) == nil })
            #expect(try await first.queries(coven, Query.page("<max>1</max>")).results.count == 1)
        }
    }
}

/// A client that reads when it is told to.
@ServerActor
private final class SlowLink: ResourceLink {
    private(set) var backlog = 0
    private(set) var most = 0
    private(set) var messages = 0
    private(set) var answers: [String] = []

    func deliver(_ stanza: Stanza) {
        if case .iq(let iq) = stanza { answers.append("\(iq.kind.rawValue) \(iq.id ?? "")") } else { messages += 1 }
        backlog += stanza.element.xmlBytes.count
        most = max(most, backlog)
    }
    func read() { backlog = 0 }
    func forget() { (backlog, messages, answers) = (0, 0, []) }
    func close(_ error: StreamError?) {}
}
