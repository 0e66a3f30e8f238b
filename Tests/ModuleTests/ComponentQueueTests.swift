import ServerKit
import TestKit
import Testing

@testable import Modules

@Suite("Stanzas that wait for a component", .serialized) struct ComponentQueueTests {
    private let body = "<body>Hark</body>"

    @Test("Messages and subscriptions wait a short time for the component, in order")
    func waiting() async throws {
        try await playWithComponent { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            for id in 1...3 {
                try await romeo.sends("<message to='a@irc.montague.example' id='\(id)'>\(body)</message>")
            }
            try await romeo.sends("<presence type='subscribe' to='irc.montague.example'/>")
            try await romeo.sends("<presence to='irc.montague.example'/>")
            await stage.advance(by: .seconds(20))
            _ = await romeo.everything()
            let gateway = try await Gateway.connect(stage)
            for id in 1...3 {
                try await gateway.receives(
                    "<message id='\(id)'>\(body)<delay xmlns='urn:xmpp:delay' from='irc.montague.example'/></message>")
            }
            try await gateway.receives("<presence type='subscribe'/>")
            await gateway.staysSilent()
            try await romeo.sends("<message to='a@irc.montague.example' id='4'>\(body)</message>")
            let message = try await gateway.receives("<message id='4'>\(body)</message>")
            #expect(!message.has("delay", .delay))
        }
    }

    @Test("Requests are answered at once, and messages when they have waited too long")
    func expiry() async throws {
        try await playWithComponent("queue_time: 30 s") { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            let refusal = try await romeo.isRefused(
                .get, "<query xmlns='http://jabber.org/protocol/disco#info'/>", to: "irc.montague.example")
            #expect(refusal.condition == .serviceUnavailable && refusal.kind == .wait)
            try await romeo.sends("<message to='a@irc.montague.example' id='1'>\(body)</message>")
            try await romeo.sends("<message to='a@irc.montague.example' id='2' type='error'><error/></message>")
            await stage.advance(by: .seconds(25))
            try await romeo.staysSilent()
            await stage.advance(by: .seconds(15))
            try await romeo.receives(
                "<message type='error' id='1' from='a@irc.montague.example'><error type='wait'><remote-server-timeout xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
            )
            let gateway = try await Gateway.connect(stage)
            await gateway.staysSilent()
        }
    }

    @Test("Without a time to wait messages are answered at once")
    func off() async throws {
        try await playWithComponent("queue_time: 0 s") { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            try await romeo.sends("<message to='a@irc.montague.example' id='1'>\(body)</message>")
            try await romeo.receives("<message type='error' id='1'><error type='wait'/></message>")
        }
    }

    @Test("The queue is bounded")
    func bounded() async throws {
        try await playWithComponent("queue_length: 5") { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            for id in 1...7 {
                try await romeo.sends("<message to='a@irc.montague.example' id='\(id)'>\(body)</message>")
            }
            let answers = await romeo.everything()
            #expect(answers.map { $0["id"] } == ["6", "7"])
            #expect(answers.allSatisfy { $0.child("error")?.has("resource-constraint", .stanzaErrors) == true })
            let gateway = try await Gateway.connect(stage)
            #expect(await gateway.everything().map { $0["id"] } == ["1", "2", "3", "4", "5"])
        }
    }

    @Test("What waits outlives a restart, and even a crash; what has gone does not come again")
    func restart() async throws {
        try await playWithComponent { stage in
            var romeo = try await stage.enter("romeo@montague.example/orchard")
            try await romeo.sends("<message to='a@irc.montague.example' id='1'>\(body)</message>")
            // The answer tells that the message was taken.
            try await romeo.asks(.get, "<ping xmlns='urn:xmpp:ping'/>", to: "montague.example")
            try await stage.crash()
            try await stage.server.finishStartUp()
            var gateway = try await Gateway.connect(stage)
            try await gateway.receives("<message id='1'>\(body)</message>")
            await stage.advance(by: .seconds(1))
            try await stage.restart()
            try await stage.server.finishStartUp()
            romeo = try await stage.enter("romeo@montague.example/orchard")
            try await romeo.sends("<message to='a@irc.montague.example' id='2'>\(body)</message>")
            await stage.settle()
            try await stage.restart(after: .seconds(3_600))
            try await stage.server.finishStartUp()
            gateway = try await Gateway.connect(stage)
            let waited = await gateway.everything()
            #expect(waited.map { $0["id"] } == ["2"])
        }
    }

    @Test("A component that does not read is not waited for with all the memory there is, and at last let go")
    func stalled() async throws {
        try await playWithComponent("queue_size: 2 MB, stall_time: 20 s") { stage in
            let romeo = try await stage.enter("romeo@montague.example/orchard")
            let gateway = try await Gateway.connect(stage)
            gateway.socket.setReading(false)
            let text = "<body>\(String(repeating: "x", count: 100_000))</body>"
            // The system's buffers take some; what comes beyond them and the queue is refused.
            var refused = 0
            for id in 0..<400 {
                try await romeo.sends("<message to='a@irc.montague.example' id='\(id)'>\(text)</message>")
                if id % 20 == 19 { refused += await romeo.everything().count }
            }
            #expect(refused > 20, "\(refused)")
            await stage.advance(by: .seconds(40))
            let refusedLater = await romeo.everything().count
            #expect(refusedLater < 60)
            // It was closed: the next one gets what waited.
            gateway.socket.leaves()
            let next = try await Gateway.connect(stage)
            let rest = await next.everything()
            #expect(!rest.isEmpty && rest.allSatisfy { $0.has("body") })
            await next.staysSilent()
        }
    }

    @Test("A component that provokes answers and does not read is let go")
    func provoking() async throws {
        try await playWithComponent("queue_size: 1 MB, queue_length: 100", port: "{ rate: unlimited }") { stage in
            let gateway = try await Gateway.connect(stage)
            gateway.socket.setReading(false)
            let padding = String(repeating: "x", count: 20_000)
            for id in 0..<1_000 {
                gateway.says(
                    "<iq type='get' id='\(id)' from='irc.montague.example' to='montague.example'><x xmlns='urn:nobody'>\(padding)</x></iq>"
                )
                if id % 50 == 49 { await stage.settle() }
            }
            for _ in 0..<20 {
                await stage.advance(by: .seconds(10))
                await SocketTurn.pass(4)
            }
            gateway.socket.setReading(true)
            #expect(await gateway.socket.isCutOff())
        }
    }
}
