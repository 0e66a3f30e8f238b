import TestKit
import Testing

@testable import Modules
@testable import ServerKit

/// A client as XEP-0198 §5 wants it: it keeps what was not acknowledged, and counts what it got.
@ServerActor
private final class CarefulClient {
    var actor: TestKit.Actor
    let id: String
    private(set) var handled: UInt32 = 0
    private(set) var bodies: [String] = []
    private var unacknowledged: [String] = []
    private var acknowledged: UInt32 = 0

    init(_ actor: TestKit.Actor, id: String) {
        self.actor = actor
        self.id = id
    }

    /// What goes over the cable for some messages, with a request after each.
    func script(_ texts: [String], to jid: String) -> [UInt8] {
        var bytes: [UInt8] = []
        for text in texts {
            let stanza = "<message to='\(jid)' type='chat'><body>\(text)</body></message>"
            unacknowledged.append(stanza)
            bytes += Array((stanza + "<r xmlns='urn:xmpp:sm:3'/>").utf8)
        }
        return bytes
    }

    /// Handles so many stanzas of what has arrived; the rest was lost with the cable, as is any answer.
    func read(atMost limit: Int? = nil) async {
        var left = limit ?? .max
        for element in await actor.everything() {
            if element.is("a", .sm) { acknowledge(element) }
            if element.is("r", .sm), limit == nil { try? await actor.sends("<a xmlns='urn:xmpp:sm:3' h='\(handled)'/>") }
            guard element.namespace == .client, left > 0 else { continue }
            left -= 1
            handled += 1
            if let body = element.text(of: "body") { bodies.append(body) }
        }
    }

    private func acknowledge(_ element: Element) {
        guard let h = element["h"].flatMap({ UInt32($0) }) else { return }
        unacknowledged.removeFirst(Int(h - acknowledged))
        acknowledged = h
    }

    /// Comes back with another connection and sends again what was not acknowledged.
    func resumes(with actor: TestKit.Actor) async throws {
        self.actor = actor
        try await actor.resumes(id, h: Int(handled))
        acknowledge(try await actor.receives("<resumed xmlns='urn:xmpp:sm:3' previd='\(id)'/>"))
        for stanza in unacknowledged { try await actor.sends(stanza) }
        try await actor.sends("<r xmlns='urn:xmpp:sm:3'/>")
    }
}

@Suite("Cables that break (XEP-0198 §5)") struct CableTests {
    /// Two write to each other; the cable of one breaks after so many of its bytes and of the other's stanzas.
    @ServerActor
    private func dialogue(_ stage: Stage, _ romeo: CarefulClient, _ juliet: CarefulClient, cut: Int, read: Int) async throws {
        let bytes = romeo.script(["\(cut)-1", "\(cut)-2", "\(cut)-3"], to: "juliet@montague.example")
        let words = String(decoding: bytes.prefix(cut), as: UTF8.self)
        try await romeo.actor.sends(words)
        let answers = juliet.script(["\(cut)-a", "\(cut)-b"], to: "romeo@montague.example")
        try await juliet.actor.sends(String(decoding: answers, as: UTF8.self))
        await romeo.read(atMost: read)
        await romeo.actor.vanishes()
        // Something arrives while the client is away.
        let late = juliet.script(["\(cut)-c"], to: "romeo@montague.example")
        try await juliet.actor.sends(String(decoding: late, as: UTF8.self))
        try await romeo.resumes(with: stage.returns())
        await romeo.read()
        await juliet.read()
    }

    @Test("Whatever byte the cable breaks at, nothing is lost, nothing comes twice, and the order is kept")
    func everyByte() async throws {
        try await play(modules: sessionModules) { stage in
            let juliet = try await stage.careful("juliet@montague.example/balcony")
            let romeo = try await stage.careful("romeo@montague.example/phone")
            let length = 3 * 110
            var (wanted, answers): ([String], [String]) = ([], [])
            for cut in stride(from: 0, through: length, by: 1) {
                try await dialogue(stage, romeo, juliet, cut: cut, read: cut % 4)
                wanted += ["\(cut)-1", "\(cut)-2", "\(cut)-3"]
                answers += ["\(cut)-a", "\(cut)-b", "\(cut)-c"]
            }
            #expect(juliet.bodies == wanted)
            #expect(romeo.bodies == answers)
        }
    }

    @Test("The same when the server stops cleanly in between")
    func everyRestart() async throws {
        try await play(modules: sessionModules) { stage in
            let juliet = try await stage.careful("juliet@montague.example/balcony")
            let romeo = try await stage.careful("romeo@montague.example/phone")
            var (wanted, answers): ([String], [String]) = ([], [])
            for cut in stride(from: 0, through: 330, by: 23) {
                let bytes = romeo.script(["\(cut)-1", "\(cut)-2", "\(cut)-3"], to: "juliet@montague.example")
                try await romeo.actor.sends(String(decoding: bytes.prefix(cut), as: UTF8.self))
                let words = juliet.script(["\(cut)-a", "\(cut)-b"], to: "romeo@montague.example")
                try await juliet.actor.sends(String(decoding: words, as: UTF8.self))
                await romeo.read(atMost: cut % 3)
                try await stage.restart()
                try await romeo.resumes(with: stage.returns())
                try await juliet.resumes(with: stage.returns("juliet"))
                await romeo.read()
                await juliet.read()
                wanted += ["\(cut)-1", "\(cut)-2", "\(cut)-3"]
                answers += ["\(cut)-a", "\(cut)-b"]
            }
            #expect(juliet.bodies == wanted)
            #expect(romeo.bodies == answers)
        }
    }
}

extension Stage {
    @ServerActor
    fileprivate func careful(_ jid: String) async throws -> CarefulClient {
        let actor = try await enter(jid)
        return CarefulClient(actor, id: try await actor.enables())
    }
}
