import Glibc
import ServerKit
import StorageSQLite
import Testing

@Suite("SQLite driver: speed", .serialized) struct StorageSpeedTests {
    @Test("Pages of a long archive cost the same at every depth")
    func paging() async throws {
        try await withDirectory { directory async throws in
            let driver = try SQLiteStorageDriver(path: directory + "/test.sqlite")
            defer { driver.close() }
            let archive = Storage(driver).rawArchive("messages", on: "h")
            let value = [UInt8](repeating: 0x78, count: 300)
            // 1,000,000 for a measurement: MARTLET_ARCHIVE=1000000.
            let count = getenv("MARTLET_ARCHIVE").flatMap { Int(String(cString: $0)) } ?? 100_000
            let (half, late) = (count / 2, count - count / 10)
            let started = ContinuousClock.now
            for base in stride(from: 1, through: count, by: 100) {
                _ = driver.enqueue(
                    (base..<base + 100).map { index in
                        archive.appending(
                            NewArchiveItem(id: "i\(index)", time: Int64(index), with: "p\(index % 50)", value: value),
                            to: "romeo@h")
                    })
            }
            await driver.flush()
            print("storage: \(count) appends with id and peer: \((ContinuousClock.now - started) / count) each")

            let queries: [(String, ArchiveQuery)] = [
                ("first page", ArchiveQuery(limit: 50)),
                ("after the middle", ArchiveQuery(after: .id("i\(half)"), limit: 50)),
                ("near the end", ArchiveQuery(after: .id("i\(count - 100)"), limit: 50)),
                ("last page", ArchiveQuery(limit: 50, order: .newestFirst)),
                ("before the middle", ArchiveQuery(before: .id("i\(half)"), limit: 50, order: .newestFirst)),
                ("near the start", ArchiveQuery(before: .id("i100"), limit: 50, order: .newestFirst)),
                ("from a time", ArchiveQuery(start: Int64(late), limit: 50)),
                ("in a time, backwards", ArchiveQuery(end: Int64(half), limit: 50, order: .newestFirst)),
                ("one peer", ArchiveQuery(with: "p7", limit: 50)),
                ("one peer, deep", ArchiveQuery(after: .id("i\(late)"), with: "p7", limit: 50)),
                ("one peer, from a time", ArchiveQuery(start: Int64(half), with: "p7", limit: 50)),
            ]
            let isMeasured = count > 100_000
            for (name, query) in queries {
                var best = Duration.seconds(1)
                // Other tests run beside this one: the best of many counts, and the first good one is enough.
                for _ in 0..<200 where isMeasured || best >= .milliseconds(5) {
                    let started = ContinuousClock.now
                    #expect(try await archive.items(of: "romeo@h", query).count == 50)
                    best = min(best, ContinuousClock.now - started)
                }
                print("storage: page of 50, \(name): \(best)")
                // Walking 50,000 rows takes ten times as long, even where the build is not optimised.
                #expect(best < .milliseconds(5), "\(name)")
            }
            var best = Duration.seconds(1)
            for _ in 0..<200 where best >= .milliseconds(5) {
                let started = ContinuousClock.now
                #expect(try await archive.count(of: "romeo@h") == count)
                best = min(best, ContinuousClock.now - started)
            }
            print("storage: count of all: \(best)")
            #expect(best < .milliseconds(5))
        }
    }

    @Test("Rows that share a commit are cheap", arguments: [1, 10, 100])
    func grouping(_ size: Int) async throws {
        try await withDirectory { directory async throws in
            var options = SQLiteStorageDriver.Options()
            options.groupInterval = .zero
            let driver = try SQLiteStorageDriver(path: directory + "/test.sqlite", options: options)
            defer { driver.close() }
            let storage = Storage(driver)
            let value = [UInt8](repeating: 0x78, count: 500)
            let values = storage.rawValues("v", on: "h")
            let archive = storage.rawArchive("a", on: "h")
            let rounds = 300
            for (name, write) in [
                ("value", { values.setting(value, for: "o\($0)") }),
                ("item", { archive.appending(NewArchiveItem(id: "\($0)", time: 1, with: "p", value: value), to: "o") }),
            ] as [(String, (Int) -> StorageWrite)] {
                let started = ContinuousClock.now
                for round in 0..<rounds {
                    try await storage.durable(driver.enqueue((0..<size).map { write(round * size + $0) }))
                }
                let each = (ContinuousClock.now - started) / (rounds * size)
                print("storage: 500-byte \(name), \(size) a commit: \(each) a row")
            }
        }
    }
}
