import Glibc
import ServerKit
import StorageMemory
import StorageSQLite
import Synchronization
import Testing

/// A driver under test, in a directory that goes away with it.
enum Backend: String, CaseIterable, CustomTestStringConvertible {
    case memory, sqlite

    var testDescription: String { rawValue }

    func run(_ body: (Storage) async throws -> Void) async throws {
        switch self {
        case .memory: try await body(Storage(MemoryStorageDriver()))
        case .sqlite:
            try await withDirectory { directory async throws in
                let driver = try SQLiteStorageDriver(path: directory + "/test.sqlite")
                defer { driver.close() }
                try await body(Storage(driver))
            }
        }
    }
}

func withDirectory<Value>(_ body: (String) async throws -> Value) async throws -> Value {
    var template = Array("/tmp/martlet-storage-XXXXXX".utf8CString)
    let path = try #require(mkdtemp(&template).map { String(cString: $0) })
    defer {
        for suffix in ["", "-wal", "-shm", ".lock"] { unlink(path + "/test.sqlite" + suffix) }
        rmdir(path)
    }
    return try await body(path)
}

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

@Suite("Stores, over every driver") struct StorageTests {
    struct Vcard: Codable, Equatable {
        var name: String
        var nick: String?
    }

    let host = "montague.example"
    let romeo = "romeo@montague.example"
    let juliet = "juliet@montague.example"

    @Test("A value is what was set last, and gone when deleted", arguments: Backend.allCases)
    func values(_ backend: Backend) async throws {
        try await backend.run { storage async throws in
            let store = storage.values("vcard", on: host, of: Vcard.self)
            #expect(try await store.value(for: romeo) == nil)
            store.set(Vcard(name: "Romeo"), for: romeo)
            store.set(Vcard(name: "Romeo", nick: "Ro\u{0}meo \u{1F426}"), for: romeo)
            #expect(try await store.value(for: romeo) == Vcard(name: "Romeo", nick: "Ro\u{0}meo \u{1F426}"))
            #expect(try await store.count() == 1)
            store.delete(romeo)
            store.delete("nobody@montague.example")
            #expect(try await store.value(for: romeo) == nil)
            #expect(try await store.count() == 0)
        }
    }

    @Test("Stores differ by host, name and kind; keys by their bytes", arguments: Backend.allCases)
    func addresses(_ backend: Backend) async throws {
        try await backend.run { storage async throws in
            storage.rawValues("a", on: host).set([1], for: romeo)
            storage.rawValues("b", on: host).set([2], for: romeo)
            storage.rawValues("a", on: "capulet.example").set([3], for: romeo)
            storage.rawMap("a", on: host).set([4], "", of: romeo)
            #expect(try await storage.rawValues("a", on: host).value(for: romeo) == [1])
            #expect(try await storage.rawValues("b", on: host).value(for: romeo) == [2])
            #expect(try await storage.rawValues("a", on: "capulet.example").value(for: romeo) == [3])
            #expect(try await storage.rawMap("a", on: host).value("", of: romeo) == [4])

            let map = storage.rawMap("nodes", on: host)
            map.set([], "caf\u{E9}", of: romeo)
            map.set([2], "cafe\u{301}", of: romeo)
            map.set([3], "x\u{0}y' OR 1", of: romeo)
            #expect(try await map.value("caf\u{E9}", of: romeo) == [])
            #expect(try await map.entries(of: romeo).map(\.value) == [[2], [], [3]])
        }
    }

    @Test("Owners come in pages, in the order of their bytes", arguments: Backend.allCases)
    func owners(_ backend: Backend) async throws {
        try await backend.run { storage async throws in
            let store = storage.rawValues("accounts", on: host)
            let names = (0..<250).map { "user\($0)@\(host)" }
            for name in names.shuffled() { store.set([0], for: name) }
            storage.rawValues("other", on: host).set([0], for: "user@elsewhere.example")
            var seen: [String] = []
            while true {
                let page = try await store.owners(after: seen.last, limit: 100)
                seen += page
                if page.count < 100 { break }
            }
            #expect(seen == names.sorted())
            #expect(try await store.count() == 250)
            #expect(try await store.owners(limit: 0).isEmpty)
        }
    }

    @Test("Maps: set, delete, replace, find owners by key", arguments: Backend.allCases)
    func maps(_ backend: Backend) async throws {
        try await backend.run { storage async throws in
            let roster = storage.map("roster", on: host, of: Vcard.self)
            roster.set(Vcard(name: "J"), juliet, of: romeo)
            roster.set(Vcard(name: "B"), "benvolio@montague.example", of: romeo)
            roster.set(Vcard(name: "J2"), juliet, of: "paris@montague.example")
            #expect(try await roster.entries(of: romeo).map(\.key) == ["benvolio@montague.example", juliet])
            #expect(try await roster.value(juliet, of: romeo)?.name == "J")
            #expect(try await roster.owners(having: juliet) == ["paris@montague.example", romeo])
            #expect(try await roster.owners(having: juliet, after: "paris@montague.example") == [romeo])
            #expect(try await roster.ownerCount() == 2)
            roster.delete(juliet, of: romeo)
            #expect(try await roster.value(juliet, of: romeo) == nil)
            roster.replaceAll(
                [.init(key: "b", value: Vcard(name: "1")), .init(key: "b", value: Vcard(name: "2"))], of: romeo)
            #expect(try await roster.entries(of: romeo) == [MapEntry(key: "b", value: Vcard(name: "2"))])
            roster.deleteAll(of: romeo)
            #expect(try await roster.entries(of: romeo).isEmpty)
            #expect(try await roster.owners() == ["paris@montague.example"])
        }
    }

    @Test("Writes of one call happen together or not at all", arguments: Backend.allCases)
    func atomic(_ backend: Backend) async throws {
        try await backend.run { storage async throws in
            let store = storage.rawValues("a", on: host)
            let bad = StorageError(.refused, "no")
            let good = storage.driver.enqueue([store.setting([1], for: "1"), store.setting([2], for: "2")])
            let failed = storage.driver.enqueue([store.setting([3], for: "3"), .fail(bad)])
            let misuse = storage.driver.enqueue([
                .setEntry(store.address, owner: "5", key: "k", value: [])
            ])
            let after = store.set([4], for: "4")
            try await storage.durable(after)
            try await storage.durable(good)
            await #expect(throws: bad) { try await storage.durable(failed) }
            await #expect(throws: StorageError.self) { try await storage.durable(misuse) }
            #expect(try await store.owners() == ["1", "2", "4"])
        }
    }

    @Test("A commit number moves with every write, and only with writes", arguments: Backend.allCases)
    func numbers(_ backend: Backend) async throws {
        try await backend.run { storage async throws in
            let before = storage.lastEnqueued
            #expect(before == .none)
            _ = try await storage.rawValues("a", on: host).value(for: romeo)
            #expect(storage.driver.enqueue([]) == before)
            let number = storage.rawValues("a", on: host).set([1], for: romeo)
            #expect(number == before.next && storage.lastEnqueued == number)
            await storage.driver.flush()
            #expect(storage.committed == number)
            let isAtOnce = Mutex(false)
            storage.onCommit(number) { error in isAtOnce.withLock { $0 = error == nil } }
            #expect(isAtOnce.withLock { $0 })
        }
    }

    @Test("Callbacks come in the order of the writes", arguments: Backend.allCases)
    func callbacks(_ backend: Backend) async throws {
        try await backend.run { storage async throws in
            let store = storage.rawValues("a", on: host)
            let order = Mutex<[UInt64]>([])
            for index in 0..<1000 {
                let number = store.set([UInt8(index & 0xFF)], for: "owner\(index % 10)")
                storage.onCommit(number) { _ in order.withLock { $0.append(number.rawValue) } }
            }
            await storage.driver.flush()
            #expect(order.withLock { $0 } == Array(1...1000))
        }
    }

    @Test("Many threads write and read at once; each sees its own writes", arguments: Backend.allCases)
    func concurrency(_ backend: Backend) async throws {
        try await backend.run { storage async throws in
            let store = storage.rawValues("a", on: host)
            let archive = storage.rawArchive("b", on: host)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for worker in 0..<8 {
                    group.addTask {
                        for round in 0..<60 {
                            store.set([UInt8(worker), UInt8(round)], for: "owner\(worker)")
                            archive.append(
                                NewArchiveItem(id: "\(worker)-\(round)", time: Int64(round), value: []), to: "room")
                            if round % 6 == 0 {
                                let value = try await store.value(for: "owner\(worker)")
                                #expect(value == [UInt8(worker), UInt8(round)])
                            }
                        }
                    }
                }
                try await group.waitForAll()
            }
            let items = try await archive.items(of: "room")
            #expect(items.count == 480 && items.map(\.sequence) == Array(1...480))
            for worker in 0..<8 {
                let mine = items.map(\.id).filter { $0.hasPrefix("\(worker)-") }
                #expect(mine == (0..<60).map { "\(worker)-\($0)" })
            }
        }
    }

    @Test("What cannot be decoded is reported and kept until it is deleted", arguments: Backend.allCases)
    func undecodable(_ backend: Backend) async throws {
        try await backend.run { plain async throws in
            let reports = Mutex<[StorageError]>([])
            let storage = Storage(plain.driver) { error in reports.withLock { $0.append(error) } }
            storage.rawValues("vcard", on: host).set(bytes("{broken"), for: romeo)
            storage.rawMap("roster", on: host).set(bytes("[]"), juliet, of: romeo)
            let vcards = storage.values("vcard", on: host, of: Vcard.self)
            let error = await #expect(throws: StorageError.self) { try await vcards.value(for: romeo) }
            #expect(error?.reason == .undecodable)
            #expect(error?.description.contains("\(romeo) in store vcard of \(host)") == true)
            let refused = vcards.set(Vcard(name: "New"), for: romeo)
            await #expect(throws: StorageError.self) { try await storage.durable(refused) }
            #expect(try await storage.rawValues("vcard", on: host).value(for: romeo) == bytes("{broken"))
            vcards.delete(romeo)
            try await storage.durable(vcards.set(Vcard(name: "New"), for: romeo))
            #expect(try await vcards.value(for: romeo)?.name == "New")

            let roster = storage.map("roster", on: host, of: Vcard.self)
            await #expect(throws: StorageError.self) { try await roster.entries(of: romeo) }
            let replaced = roster.replaceAll([], of: romeo)
            await #expect(throws: StorageError.self) { try await storage.durable(replaced) }
            #expect(try await storage.rawMap("roster", on: host).entries(of: romeo).count == 1)
            let unencodable = storage.values("numbers", on: host, of: Double.self).set(.nan, for: romeo)
            await #expect(throws: StorageError.self) { try await storage.durable(unencodable) }
            #expect(Set(reports.withLock { $0 }.map(\.reason)) == [.undecodable, .unencodable])
        }
    }

    @Test("Removing an owner leaves nothing on that host, and others alone", arguments: Backend.allCases)
    func removal(_ backend: Backend) async throws {
        try await backend.run { storage async throws in
            for owner in [romeo, juliet] {
                for host in [host, "capulet.example"] {
                    storage.rawValues("v", on: host).set([1], for: owner)
                    storage.rawMap("m", on: host).set([2], "k", of: owner)
                    storage.rawArchive("a", on: host).append(.init(id: "1", time: 1, value: [3]), to: owner)
                }
            }
            let all = try await storage.driver.stores(of: romeo, on: host)
            #expect(all.map(\.name) == ["a", "m", "v"] && all.map(\.kind) == [.archive, .map, .values])
            storage.removeEverything(of: romeo, on: host)
            #expect(try await storage.driver.stores(of: romeo, on: host).isEmpty)
            #expect(try await storage.driver.stores(of: juliet, on: host).count == 3)
            #expect(try await storage.driver.stores(of: romeo, on: "capulet.example").count == 3)
            storage.removeEverything(of: romeo, on: "capulet.example")
            storage.rawValues("v", on: host).set([9], for: romeo)
            #expect(try await storage.rawValues("v", on: host).value(for: romeo) == [9])
            #expect(try await storage.driver.stores(of: romeo, on: host).count == 1)
        }
    }

    @Test("After closing everything fails and nothing hangs", arguments: Backend.allCases)
    func closed(_ backend: Backend) async throws {
        try await backend.run { storage async throws in
            let store = storage.rawValues("a", on: host)
            store.set([1], for: romeo)
            storage.driver.close()
            storage.driver.close()
            await #expect(throws: StorageError(.closed, "The storage is closed.")) {
                try await storage.durable(store.set([2], for: romeo))
            }
            await #expect(throws: StorageError.self) { try await store.value(for: romeo) }
            await storage.driver.flush()
        }
    }
}

@Suite("Memory driver") struct MemoryStorageTests {
    @Test("Commits can be held back and can fail")
    func control() async throws {
        let driver = MemoryStorageDriver()
        let storage = Storage(driver)
        let store = storage.rawValues("a", on: "montague.example")
        driver.hold()
        let number = store.set([1], for: "r")
        #expect(storage.committed < number)
        #expect(try await store.value(for: "r") == [1])
        driver.release()
        #expect(storage.committed == number)
        driver.fail(with: StorageError(.full, "full"))
        let lost = store.set([2], for: "r")
        driver.fail(with: nil)
        try await storage.durable(store.set([3], for: "r"))
        await #expect(throws: StorageError(.full, "full")) { try await storage.durable(lost) }
    }
}
