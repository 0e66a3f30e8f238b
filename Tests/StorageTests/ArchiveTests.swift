import ServerKit
import Testing

@Suite("Archives, over every driver") struct ArchiveTests {
    let owner = "romeo@montague.example"

    /// Items 1...n at 10, 20, … µs; every third with juliet, the others with nobody and tybalt by turns.
    private func fill(_ archive: ArchiveStore<[UInt8]>, _ count: Int) {
        for index in 1...count {
            let with = ["juliet", "", "tybalt"][index % 3]
            archive.append(
                NewArchiveItem(id: "i\(index)", time: Int64(index) * 10, with: with, value: bytes("\(index)")),
                to: owner)
        }
    }

    static let queries: [(ArchiveQuery, [Int64])] = [
        (ArchiveQuery(), Array(1...20)),
        (ArchiveQuery(limit: 3), [1, 2, 3]),
        (ArchiveQuery(limit: 3, order: .newestFirst), [20, 19, 18]),
        (ArchiveQuery(after: .sequence(5), limit: 2), [6, 7]),
        (ArchiveQuery(after: .id("i5"), limit: 2), [6, 7]),
        (ArchiveQuery(before: .id("i5"), limit: 2, order: .newestFirst), [4, 3]),
        (ArchiveQuery(before: .sequence(3)), [1, 2]),
        (ArchiveQuery(after: .id("i5"), before: .id("i8")), [6, 7]),
        (ArchiveQuery(after: .id("i8"), before: .id("i5")), []),
        (ArchiveQuery(start: 45, end: 70), [5, 6, 7]),
        (ArchiveQuery(start: 50, end: 50), [5]),
        (ArchiveQuery(start: 191), [20]),
        (ArchiveQuery(start: 201), []),
        (ArchiveQuery(end: 9), []),
        (ArchiveQuery(start: .min, end: .max, limit: 1), [1]),
        (ArchiveQuery(start: .max), []),
        (ArchiveQuery(end: .min), []),
        (ArchiveQuery(with: "juliet"), [3, 6, 9, 12, 15, 18]),
        (ArchiveQuery(with: "juliet", limit: 2, order: .newestFirst), [18, 15]),
        (ArchiveQuery(after: .id("i6"), start: 70, with: "juliet", limit: 2), [9, 12]),
        (ArchiveQuery(with: "", limit: 2), [1, 4]),
        (ArchiveQuery(with: "nobody"), []),
        (ArchiveQuery(after: .sequence(.max)), []),
        (ArchiveQuery(after: .sequence(.min), limit: 1), [1]),
        (ArchiveQuery(before: .sequence(.max), limit: 1, order: .newestFirst), [20]),
        (ArchiveQuery(limit: 0), []),
        (ArchiveQuery(limit: -1), []),
    ]

    @Test("Pages by place, time and peer, from both ends", arguments: Backend.allCases)
    func queries(_ backend: Backend) async throws {
        try await backend.run { storage async throws in
            let archive = storage.rawArchive("messages", on: "montague.example")
            fill(archive, 20)
            for (query, expected) in Self.queries {
                let found = try await archive.items(of: owner, query)
                #expect(found.map(\.sequence) == expected, "\(query)")
                #expect(try await archive.count(of: owner, query) == expected.count, "\(query)")
            }
            #expect(try await archive.item("i7", of: owner)?.value == bytes("7"))
            #expect(try await archive.item("i77", of: owner) == nil)
            #expect(try await archive.first(of: owner)?.id == "i1")
            #expect(try await archive.last(of: owner)?.with == "tybalt")
            for owner in [owner, "nobody"] {
                await #expect(throws: StorageError.unknownItem("x")) {
                    try await archive.items(of: owner, ArchiveQuery(after: .id("x")))
                }
            }
            #expect(try await archive.items(of: "nobody").isEmpty)
            #expect(try await archive.owners() == [owner])
        }
    }

    @Test("Time queries stay right when times step back", arguments: Backend.allCases)
    func disorder(_ backend: Backend) async throws {
        try await backend.run { storage async throws in
            let archive = storage.rawArchive("messages", on: "montague.example")
            var generator = SplitMix(state: 7)
            var times: [Int64] = []
            for index in 0..<300 {
                let time = Int64(index * 10) + Int64.random(in: -45...45, using: &generator)
                times.append(time)
                archive.append(NewArchiveItem(id: "\(index)", time: time, value: []), to: owner)
            }
            for _ in 0..<100 {
                let start = Int64.random(in: -100...3100, using: &generator)
                let end = start + Int64.random(in: 0...400, using: &generator)
                let expected = times.indices.filter { start <= times[$0] && times[$0] <= end }.map { Int64($0) + 1 }
                let found = try await archive.items(of: owner, ArchiveQuery(start: start, end: end))
                #expect(found.map(\.sequence) == expected)
            }
            archive.append(NewArchiveItem(id: "ancient", time: .min, value: []), to: owner)
            archive.append(NewArchiveItem(id: "far", time: .max, value: []), to: owner)
            #expect(try await archive.items(of: owner, ArchiveQuery(end: -1000)).map(\.id) == ["ancient"])
            #expect(try await archive.items(of: owner, ArchiveQuery(start: 10_000)).map(\.id) == ["far"])
            #expect(try await archive.oldestTime() == .min)
        }
    }

    @Test("An id appended again moves to the end, and numbers are never given twice", arguments: Backend.allCases)
    func numbering(_ backend: Backend) async throws {
        try await backend.run { storage async throws in
            let archive = storage.rawArchive("node", on: "montague.example")
            fill(archive, 3)
            archive.append(NewArchiveItem(id: "i1", time: 99, value: bytes("new")), to: owner)
            #expect(try await archive.items(of: owner).map(\.id) == ["i2", "i3", "i1"])
            #expect(try await archive.count(of: owner) == 3)
            archive.delete("i1", of: owner)
            archive.delete("i1", of: owner)
            archive.append(NewArchiveItem(id: "i5", time: 100, value: []), to: owner)
            #expect(try await archive.items(of: owner).map(\.sequence) == [2, 3, 5])
            archive.delete(through: 3, of: owner)
            #expect(try await archive.items(of: owner).map(\.sequence) == [5])
            #expect(try await archive.count(of: owner) == 1)
            archive.delete(through: .max, of: owner)
            archive.delete(through: .min, of: owner)
            archive.append(NewArchiveItem(id: "i6", time: 100, value: []), to: owner)
            archive.deleteAll(of: owner)
            #expect(try await archive.owners().isEmpty)
            archive.append(NewArchiveItem(id: "i6", time: 1, value: []), to: owner)
            #expect(try await archive.items(of: owner).map(\.sequence) == [7])
            #expect(try await archive.count(of: owner) == 1)
        }
    }

    @Test("Old items leave in batches, over all owners", arguments: Backend.allCases)
    func retention(_ backend: Backend) async throws {
        try await backend.run { storage async throws in
            let archive = storage.rawArchive("messages", on: "montague.example")
            for owner in ["a", "b", "c"] {
                for index in 1...10 {
                    archive.append(NewArchiveItem(id: "\(index)", time: Int64(index), value: []), to: owner)
                }
            }
            archive.append(NewArchiveItem(id: "late", time: 2, value: []), to: "c")
            archive.deleteOlder(than: 6, limit: 4)
            var left = 0
            for owner in ["a", "b", "c"] { left += try await archive.count(of: owner) }
            #expect(left == 27)
            var rounds = 0
            while let oldest = try await archive.oldestTime(), oldest < 6, rounds < 50 {
                archive.deleteOlder(than: 6, limit: 4)
                rounds += 1
            }
            #expect(rounds < 10)
            for owner in ["a", "b", "c"] {
                #expect(try await archive.items(of: owner).map(\.time) == [6, 7, 8, 9, 10])
            }
            archive.deleteOlder(than: .max, limit: 1000)
            #expect(try await archive.oldestTime() == nil)
            #expect(try await archive.owners().isEmpty)
        }
    }
}

extension ArchiveTests {
    @Test("Named items, marked values, enough bytes", arguments: Backend.allCases)
    func selections(_ backend: Backend) async throws {
        try await backend.run { storage async throws in
            let archive = storage.rawArchive("messages", on: "montague.example")
            fill(archive, 20)
            func found(_ change: (inout ArchiveQuery) -> Void) async throws -> [Int64] {
                var query = ArchiveQuery()
                change(&query)
                let items = try await archive.items(of: owner, query).map(\.sequence)
                if query.byteLimit == nil { #expect(try await archive.count(of: owner, query) == items.count) }
                return items
            }
            #expect(try await found { $0.ids = ["i9", "i2", "i2"] } == [2, 9])
            #expect(try await found { ($0.ids, $0.order) = (["i9", "i2"], .newestFirst) } == [9, 2])
            #expect(try await found { ($0.ids, $0.with) = (["i9", "i2"], "juliet") } == [9])
            #expect(try await found { ($0.ids, $0.after) = (["i9", "i2"], .id("i5")) } == [9])
            #expect(try await found { $0.ids = [] } == [])
            for owner in [owner, "nobody"] {
                await #expect(throws: StorageError.self) {
                    var query = ArchiveQuery()
                    query.ids = ["i2", "x"]
                    _ = try await archive.items(of: owner, query)
                }
            }
            #expect(try await found { $0.mark = .init(bytes("1"), at: 0) } == [1] + Array(10...19))
            #expect(try await found { $0.mark = .init(bytes("2"), at: 1) } == [12])
            #expect(try await found { $0.mark = .init(bytes("2"), at: 9) } == [])
            #expect(try await found { ($0.mark, $0.limit, $0.order) = (.init(bytes("1"), at: 0), 2, .newestFirst) } == [19, 18])
            #expect(try await found { ($0.mark, $0.with) = (.init(bytes("1"), at: 0), "juliet") } == [12, 15, 18])
            #expect(try await found { ($0.mark, $0.depth, $0.order) = (.init(bytes("1"), at: 0), 3, .newestFirst) } == [19, 18])
            // Values of one byte up to the ninth.
            #expect(try await found { $0.byteLimit = 3 } == [1, 2, 3])
            #expect(try await found { ($0.byteLimit, $0.order) = (3, .newestFirst) } == [20, 19])
            #expect(try await found { $0.byteLimit = 0 } == [1])
        }
    }

    @Test("A changed item keeps its place", arguments: Backend.allCases)
    func changing(_ backend: Backend) async throws {
        try await backend.run { storage async throws in
            let archive = storage.rawArchive("messages", on: "montague.example")
            fill(archive, 3)
            archive.change("i2", of: owner, to: bytes("new"))
            archive.change("x", of: owner, to: bytes("new"))
            archive.change("i2", of: "nobody", to: bytes("new"))
            let items = try await archive.items(of: owner)
            #expect(items.map(\.value) == [bytes("1"), bytes("new"), bytes("3")])
            #expect(items.map(\.sequence) == [1, 2, 3] && items[1].time == 20 && items[1].with == "tybalt")
            archive.delete(["i1", "i3", "x"], of: owner)
            #expect(try await archive.items(of: owner).map(\.id) == ["i2"])
            #expect(try await archive.count(of: owner) == 1)
        }
    }

    @Test("Texts are found by their words until they go", arguments: Backend.allCases)
    func texts(_ backend: Backend) async throws {
        try await backend.run { storage async throws in
            let archive = storage.rawArchive("messages", on: "montague.example")
            #expect(archive.searchesText)
            func found(_ words: String..., in owner: String = "romeo", with: String? = nil) async throws -> [String] {
                var query = ArchiveQuery(with: with)
                query.words = words
                let items = try await archive.items(of: owner, query)
                #expect(try await archive.count(of: owner, query) == items.count)
                return items.map(\.id)
            }
            #expect(try await found("night") == [])
            for (index, text) in ["Good night", "good day", nil, "Night, NIGHT"].enumerated() {
                for owner in ["romeo", "juliet"] {
                    archive.append(
                        NewArchiveItem(id: "\(index)", time: Int64(index), with: "p\(index % 2)", value: [], text: text),
                        to: owner)
                }
            }
            #expect(try await found("night") == ["0", "3"])
            #expect(try await found("NIGHT", "good") == ["0"])
            #expect(try await found("night", with: "p1") == ["3"])
            #expect(try await found("nigh") == [])
            #expect(try await found() == [])
            #expect(try await found("\"night", "AND", "day") == [])
            var page = ArchiveQuery(after: .id("0"), limit: 1, order: .newestFirst)
            page.words = ["night"]
            #expect(try await archive.items(of: "romeo", page).map(\.id) == ["3"])
            page = ArchiveQuery(start: 1)
            page.words = ["good"]
            page.ids = ["0", "1"]
            #expect(try await archive.items(of: "romeo", page).map(\.id) == ["1"])
            // Changed, replaced, removed one by one, by place, by age, and all at once.
            archive.change("1", of: "romeo", to: bytes("x"), text: "evening")
            archive.setTexts([("2", "evening"), ("3", nil)], of: "romeo")
            #expect(try await found("evening") == ["1", "2"])
            #expect(try await found("night") == ["0"])
            #expect(try await found("good") == ["0"])
            archive.append(NewArchiveItem(id: "1", time: 9, value: [], text: "morning"), to: "romeo")
            #expect(try await found("evening") == ["2"])
            #expect(try await found("morning") == ["1"])
            archive.delete("1", of: "romeo")
            archive.delete(through: 1, of: "romeo")
            #expect(try await found("morning") == [])
            #expect(try await found("night") == [])
            #expect(try await found("night", in: "juliet") == ["0", "3"])
            archive.deleteOlder(than: 3, limit: 100)
            #expect(try await found("night", in: "juliet") == ["3"])
            archive.deleteAll(of: "juliet")
            archive.append(NewArchiveItem(id: "new", time: 9, value: [], text: "x"), to: "juliet")
            #expect(try await found("night", in: "juliet") == [])
        }
    }
}

/// The same numbers in every run.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
