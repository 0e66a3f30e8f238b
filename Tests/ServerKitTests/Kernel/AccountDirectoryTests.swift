@testable import ServerKit
import StorageMemory
import TestKit
import Testing

/// Loads a value with each account, when a test lets it, and remembers what arrives.
private final class Remembering: Module {
    static let info = ModuleInfo("remembering", "Remembers")
    init(options: NoOptions) {}

    struct State: AccountKey {
        static var defaultValue: String { "nothing" }
        typealias Value = String
    }

    @ServerActor static var arrived: [String] = []
    @ServerActor static var failure: StorageError?
    @ServerActor static var gate: [CheckedContinuation<Void, Never>]?

    func load(into host: ModuleHost) {
        let store = host.store("state", of: String.self)
        host.loadWithAccounts(State.self) { account in
            if Self.gate != nil { await withCheckedContinuation { Self.gate?.append($0) } }
            if let failure = Self.failure { throw failure }
            return try await store.value(for: account.name) ?? "fresh"
        }
        host.claim(.messageArrived) { event in
            if event.message.isError {
                for resource in event.account.resources { resource.send(event.message) }
                return true
            }
            Self.arrived.append("\(event.message.id ?? "") \(event.account[State.self])")
            return true
        }
        host.observe(.messageSent) { Self.arrived.append("sent \($0.account[State.self])") }
    }

    @ServerActor static func reset() {
        (arrived, failure, gate) = ([], nil, nil)
    }

    @ServerActor static func open() {
        let waiting = gate ?? []
        gate = nil
        for continuation in waiting { continuation.resume() }
    }
}

@Suite("The account directory", .serialized) struct AccountDirectoryTests {
    private func accounts(_ stage: Stage) async throws -> AccountDirectory {
        try await #require(stage.server.host("montague.example")).accounts
    }

    @Test("Stanzas wait for the account in order, up to a limit")
    func mailbox() async throws {
        try await play(modules: [Remembering.self]) { stage in
            Remembering.reset()
            try await stage.account("juliet@montague.example")
            try await accounts(stage).unload("juliet")
            let romeo = try await stage.enter("romeo@montague.example/phone", presence: false)
            Remembering.gate = []
            let messages = (0..<1_003).map { "<message to='juliet@montague.example' id='\($0)'/>" }.joined()
            try await romeo.sends(messages)
            let refused = await romeo.everything()
            #expect(refused.map { $0["id"] } == ["1000", "1001", "1002"])
            #expect(refused.allSatisfy { $0.child("error").map { StanzaError($0).condition } == .resourceConstraint })
            Remembering.arrived = []
            Remembering.open()
            await stage.settle()
            #expect(Remembering.arrived == (0..<1_000).map { "\($0) fresh" })
        }
    }

    @Test("An account that cannot be loaded is unavailable for now, and works again later")
    func failure() async throws {
        try await play(modules: [Remembering.self]) { stage in
            Remembering.reset()
            try await stage.account("juliet@montague.example")
            try await accounts(stage).unload("juliet")
            let romeo = try await stage.enter("romeo@montague.example/phone", presence: false)
            Remembering.failure = StorageError(.inputOutput, "The disk is broken.")
            try await romeo.sends("<message to='juliet@montague.example'/><presence to='juliet@montague.example'/>")
            let errors = await romeo.everything()
            #expect(errors.count == 1)
            #expect(errors.first?.child("error")?["type"] == "wait")
            #expect(errors.first?.child("error").map { StanzaError($0).condition } == .internalServerError)
            #expect(await stage.server.host("montague.example")?.accounts.account("juliet") == nil)
            Remembering.failure = nil
            try await romeo.sends("<message to='juliet@montague.example' id='x'/>")
            try await stage.staysSilent()
            #expect(Remembering.arrived.contains("x fresh"))
        }
    }

    @Test("An idle account is let go of and comes back with what was stored; one that is in use stays")
    func eviction() async throws {
        try await play(modules: [Remembering.self]) { stage in
            Remembering.reset()
            let accounts = try await accounts(stage)
            try await stage.account("juliet@montague.example")
            let romeo = try await stage.enter("romeo@montague.example/phone", presence: false)
            weak let old = accounts.loadedAccount("juliet")
            stage.server.storage.values("state", on: "montague.example", of: String.self).set("kept", for: "juliet")
            await stage.advance(by: .seconds(240))
            #expect(accounts.loadedAccount("juliet") != nil)
            await stage.advance(by: .seconds(180))
            #expect(accounts.loadedAccount("juliet") == nil)
            #expect(old == nil)
            #expect(accounts.loadedAccount("romeo") != nil)
            try await romeo.sends("<message to='juliet@montague.example' id='x'/>")
            try await stage.staysSilent()
            #expect(Remembering.arrived.contains("x kept"))
        }
    }

    @Test("A module that comes later loads before it sees a stanza of those who are here already")
    func lateLoader() async throws {
        try await play(modules: [Remembering.self], config: "modules: { remembering: off }") { stage in
            Remembering.reset()
            let romeo = try await stage.enter("romeo@montague.example/phone", presence: false)
            stage.server.storage.values("state", on: "montague.example", of: String.self).set("kept", for: "romeo")
            Remembering.gate = []
            try stage.reload("modules: { remembering: on }")
            await stage.settle()
            try await romeo.sends("<message to='romeo@montague.example' id='1'/><message id='2'/>")
            await stage.settle()
            #expect(Remembering.arrived.isEmpty)
            Remembering.open()
            await stage.settle()
            #expect(Remembering.arrived == ["1 kept", "sent kept", "2 kept", "sent kept"])
        }
    }

    @Test("If that fails, the clients come again")
    func lateLoaderFails() async throws {
        try await play(modules: [Remembering.self], config: "modules: { remembering: off }") { stage in
            Remembering.reset()
            let romeo = try await stage.enter("romeo@montague.example/phone", presence: false)
            Remembering.failure = StorageError(.inputOutput, "The disk is broken.")
            try stage.reload("modules: { remembering: on }")
            try await romeo.isClosed(with: .internalServerError)
            #expect(try await accounts(stage).loadedAccount("romeo") == nil)
        }
    }

    @Test("A removed account is gone, though something was sent to it meanwhile")
    func removal() async throws {
        try await play(modules: [Remembering.self]) { stage in
            Remembering.reset()
            let accounts = try await accounts(stage)
            let juliet = try await stage.enter("juliet@montague.example/balcony", presence: false)
            let romeo = try await stage.enter("romeo@montague.example/phone", presence: false)
            async let removal: Void = accounts.remove("juliet")
            try await romeo.sends("<message to='juliet@montague.example' id='x'/>")
            try await removal
            await stage.settle()
            #expect(accounts.loadedAccount("juliet") == nil)
            #expect(await accounts.account("juliet") == nil)
            #expect(try await accounts.store.record(of: "juliet") == nil)
            try await juliet.isClosed(with: .notAuthorized)
            await #expect(throws: AccountError.self) { try await accounts.remove("juliet") }
        }
    }

    @Test("A locked account's sessions end")
    func locking() async throws {
        try await play(modules: []) { stage in
            let juliet = try await stage.enter("juliet@montague.example/balcony", presence: false)
            try await accounts(stage).setLocked(true, "juliet")
            try await juliet.isClosed(with: .policyViolation)
        }
    }

    @Test("Clients of one guest share an account, whatever is sent to it while it is made")
    func sharedTemporary() async throws {
        try await play(modules: [], config: "hosts: { montague.example: { authentication: anonymous } }") { stage in
            let accounts = try await accounts(stage)
            stage.server.router.route(Message(to: JID("guest@montague.example"), from: JID("x@montague.example")))
            let one = Task { @ServerActor in try await accounts.makeTemporary("guest") }
            let two = Task { @ServerActor in try await accounts.makeTemporary("guest") }
            let (first, second) = (try await one.value, try await two.value)
            #expect(first === second)
            await stage.settle()
            #expect(accounts.loadedAccount("guest") === first)
        }
    }

    @Test("A guest's account goes with its last resource, and with what modules stored")
    func temporary() async throws {
        try await play(modules: [], config: "hosts: { montague.example: { authentication: anonymous } }") { stage in
            let accounts = try await accounts(stage)
            let (guest, idle) = (try await accounts.makeTemporary(), try await accounts.makeTemporary())
            let store = stage.server.storage.values("things", on: "montague.example", of: String.self)
            store.set("x", for: guest.name)
            store.set("y", for: idle.name)
            let (one, two) = (Wire(stage.server), Wire(stage.server))
            _ = (one.enters(guest, "a"), two.enters(guest, "b"))
            one.says("</stream:stream>")
            #expect(accounts.loadedAccount(guest.name) === guest)
            two.says("</stream:stream>")
            #expect(accounts.loadedAccount(guest.name) == nil)
            #expect(try await store.value(for: guest.name) == nil)
            // One that nobody ever used goes, too.
            await stage.advance(by: .seconds(420))
            #expect(accounts.loadedAccount(idle.name) == nil)
            #expect(try await store.value(for: idle.name) == nil)
        }
    }
}
