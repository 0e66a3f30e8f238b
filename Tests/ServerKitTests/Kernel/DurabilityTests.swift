import ServerKit
import StorageMemory
import TestKit
import Testing

/// Keeps a note for each account: by request, and by message to it.
private final class Notes: Module {
    static let info = ModuleInfo("notes", "Keeps notes")
    init(options: NoOptions) {}

    func load(into host: ModuleHost) {
        let store = host.store("notes", of: String.self)
        host.answer(.set, "note", "urn:example:notes", on: [.account, .host]) { request in
            store.set("request", for: request.from.localpart ?? "")
            return nil
        }
        host.answer(.set, "slow-note", "urn:example:notes") { request async throws in
            await Task.yield()
            store.set("slow", for: request.from.localpart ?? "")
            return nil
        }
        host.answer(.get, "ping", "urn:example:notes", on: [.account, .host]) { _ in nil }
        host.answer(.get, "never", "urn:example:notes") { _ async throws in
            await withCheckedContinuation { Self.parked.append($0) }
            return nil
        }
        host.claim(.messageArrived) { event in
            store.set("message", for: event.account.name)
            return true
        }
    }

    @ServerActor static var parked: [CheckedContinuation<Void, Never>] = []
}

@Suite("Acknowledged means durable", .serialized) struct DurabilityTests {
    private let lost = StorageError(.full, "The disk is full.")
    private func request(_ kind: String, _ name: String, _ id: String, to: String? = nil) -> String {
        let to = to.map { " to='\($0)'" } ?? ""
        return "<iq type='\(kind)' id='\(id)'\(to)><\(name) xmlns='urn:example:notes'/></iq>"
    }

    private func ids(_ actor: Actor) async -> [String] {
        await turns()
        return await actor.takeInbox().map { "\($0["type"] ?? "") \($0["id"] ?? "")" }
    }

    /// Lets what can happen happen, without waiting for the disk.
    private func turns() async {
        for _ in 0..<20 {
            await Task.yield()
            await SocketTurn.tasks()
        }
    }

    @Test("A result leaves after its commit; other clients are not held up", arguments: ["note", "slow-note"])
    func result(_ name: String) async throws {
        let driver = MemoryStorageDriver()
        try await play(modules: [Notes.self], driver: driver) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let juliet = try await stage.enter("juliet@montague.example/balcony")
            driver.hold()
            defer { driver.release() }
            try await romeo.sends(request("set", name, "1") + request("get", "ping", "2"))
            try await juliet.sends(request("get", "ping", "3"))
            #expect(await ids(juliet) == ["result 3"])
            let early = await ids(romeo)
            #expect(!early.contains("result 1"))
            driver.release()
            #expect(Set(early + (await ids(romeo))) == ["result 1", "result 2"])
        }
    }

    @Test("A pong after a stored message waits for it, loaded account or not", arguments: [true, false])
    func message(_ isLoaded: Bool) async throws {
        let driver = MemoryStorageDriver()
        try await play(modules: [Notes.self], driver: driver) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            try await stage.account("juliet@montague.example")
            if !isLoaded { await stage.advance(by: .seconds(700)) }
            let accounts = try #require(stage.server.host("montague.example")).accounts
            #expect((accounts.loadedAccount("juliet") != nil) == isLoaded)
            driver.hold()
            defer { driver.release() }
            try await romeo.sends("<message to='juliet@montague.example'/>" + request("get", "ping", "1"))
            #expect(await ids(romeo).isEmpty)
            driver.release()
            #expect(await ids(romeo) == ["result 1"])
        }
    }

    @Test("A write that is lost turns into an error, once", arguments: ["note", "slow-note"])
    func lostWrite(_ name: String) async throws {
        let driver = MemoryStorageDriver()
        try await play(modules: [Notes.self], driver: driver) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            driver.fail(with: lost)
            try await romeo.sends(request("set", name, "1"))
            let error = try #require(await romeo.everything().first?.child("error"))
            #expect(StanzaError(error).condition == .internalServerError)
            #expect(error["type"] == "wait")
            #expect(error.child("text") == nil)
            driver.fail(with: nil)
            try await romeo.sends(request("get", "ping", "2"))
            #expect(await ids(romeo) == ["result 2"])
            try await romeo.sends(request("set", name, "3"))
            #expect(await ids(romeo) == ["result 3"])
        }
    }

    @Test("A write lost while it was held turns into an error, too")
    func lostLater() async throws {
        let driver = MemoryStorageDriver()
        try await play(modules: [Notes.self], driver: driver) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            driver.hold()
            try await romeo.sends(request("set", "note", "1"))
            #expect(await ids(romeo).isEmpty)
            driver.fail(with: lost)
            stage.server.storage.values("other", on: "montague.example", of: String.self).set("x", for: "x")
            driver.fail(with: nil)
            driver.release()
            #expect(await ids(romeo) == ["error 1"])
        }
    }

    @Test("A message that was lost is never acknowledged, whatever was written after it")
    func lostMessage() async throws {
        let driver = MemoryStorageDriver()
        try await play(modules: [Notes.self], driver: driver) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            driver.fail(with: lost)
            try await romeo.sends("<message to='romeo@montague.example'/>")
            await turns()
            driver.fail(with: nil)
            try await romeo.sends("<message to='romeo@montague.example'/>")
            await turns()
            let fence = try #require(romeo.resource?.fence)
            var outcomes: [StorageError?] = []
            fence.whenDurable { outcomes.append($0) }
            // The next answer tells the client; the acknowledgement stays withheld all the same.
            try await romeo.sends(request("get", "ping", "1") + request("get", "ping", "2"))
            #expect(await ids(romeo) == ["error 1", "result 2"])
            fence.whenDurable { outcomes.append($0) }
            #expect(outcomes.count == 2 && outcomes.allSatisfy { $0 != nil })
            #expect(!fence.isOpen)
        }
    }

    @Test("A request that takes long holds up neither acknowledgements nor other answers")
    func longRequest() async throws {
        try await play(modules: [Notes.self]) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            try await romeo.sends(request("get", "never", "1") + request("get", "ping", "2"))
            #expect(await ids(romeo) == ["result 2"])
            let fence = try #require(romeo.resource?.fence)
            var isDurable = false
            fence.whenDurable { _ in isDurable = true }
            #expect(isDurable && !fence.isOpen)
            for continuation in Notes.parked { continuation.resume() }
            Notes.parked = []
            #expect(await ids(romeo) == ["result 1"])
            #expect(fence.isOpen)
        }
    }
}
