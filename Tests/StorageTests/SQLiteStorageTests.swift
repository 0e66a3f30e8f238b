import CSQLite
import Glibc
import ServerKit
import Synchronization
import Testing

@testable import StorageSQLite

@Suite("SQLite driver") struct SQLiteStorageTests {
    private func error(
        opening path: String, _ options: SQLiteStorageDriver.Options = .init()
    ) -> StorageError? {
        do throws(StorageError) {
            try SQLiteStorageDriver(path: path, options: options).close()
            return nil
        } catch {
            return error
        }
    }

    private func write(_ bytes: [UInt8], to path: String) {
        let file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        _ = Glibc.write(file, bytes, bytes.count)
        close(file)
    }

    @Test("What was committed is there after reopening")
    func reopening() async throws {
        try await withDirectory { directory async throws in
            let path = directory + "/test.sqlite"
            var driver = try SQLiteStorageDriver(path: path)
            Storage(driver).rawArchive("a", on: "h").append(.init(id: "1", time: 5, with: "w", value: [1]), to: "o")
            driver.close()
            driver = try SQLiteStorageDriver(path: path)
            defer { driver.close() }
            let archive = Storage(driver).rawArchive("a", on: "h")
            archive.append(.init(id: "2", time: 4, value: []), to: "o")
            archive.append(.init(id: "3", time: 6, value: []), to: "o")
            #expect(try await archive.items(of: "o").map(\.sequence) == [1, 2, 3])
            #expect(try await archive.items(of: "o", ArchiveQuery(start: 5)).map(\.id) == ["1", "3"])
        }
    }

    @Test("A second server is refused and told who holds the database")
    func locking() async throws {
        try await withDirectory { directory async throws in
            let path = directory + "/test.sqlite"
            let driver = try SQLiteStorageDriver(path: path)
            let refusal = error(opening: path)
            #expect(refusal?.reason == .locked)
            #expect(refusal?.description.contains("process \(getpid()) ") == true)
            driver.close()
            #expect(error(opening: path) == nil)
        }
    }

    @Test("What is no database of ours is refused and left alone")
    func foreignFiles() async throws {
        try await withDirectory { directory async throws in
            let path = directory + "/test.sqlite"
            write(bytes(String(repeating: "To be, or not to be. ", count: 200)), to: path)
            #expect(error(opening: path)?.reason == .notADatabase)
            unlink(path)
            do {
                let other = try Database(path, .readWrite)
                try other.execute("CREATE TABLE theirs (a)")
            }
            let refusal = error(opening: path)
            #expect(refusal?.reason == .notADatabase && refusal?.description.contains(path) == true)
        }
    }

    @Test("Damage is found at the start after an unclean end")
    func damage() async throws {
        try await withDirectory { directory async throws in
            let path = directory + "/test.sqlite"
            let driver = try SQLiteStorageDriver(path: path)
            let archive = Storage(driver).rawArchive("a", on: "h")
            for index in 0..<500 {
                archive.append(.init(id: "\(index)", time: 1, value: [UInt8](repeating: 1, count: 500)), to: "o")
            }
            driver.close()
            let file = open(path, O_RDWR)
            let noise = [UInt8](repeating: 0xA5, count: 4096 * 8)
            pwrite(file, noise, noise.count, 4096 * 20)
            close(file)
            write(bytes("1\n"), to: path + ".lock")
            #expect(error(opening: path)?.reason == .corrupt)
        }
    }

    @Test("A later schema is refused, the first one is brought up to date")
    func schema() async throws {
        try await withDirectory { directory async throws in
            let path = directory + "/test.sqlite"
            do {
                let old = try Database(path, .readWrite)
                try old.execute(Fixture.version1)
                // What a coming version will do: one step more, and the data stay.
                try Schema.migrate(old, Schema.migrations + ["ALTER TABLE owner ADD COLUMN note TEXT;"])
                #expect(try old.first("PRAGMA user_version") { $0.integer(0) } == Int64(Schema.migrations.count + 1))
                #expect(try old.first("SELECT name FROM owner WHERE note IS NULL") { $0.text(0) } == "romeo@h")
            }
            let refusal = error(opening: path)
            #expect(refusal?.reason == .newerSchema && refusal?.description.contains(path) == true)
            unlink(path)
            do {
                let old = try Database(path, .readWrite)
                try old.execute(Fixture.version1)
                // A step that fails leaves the version before it.
                #expect(throws: StorageError.self) {
                    try Schema.migrate(old, Schema.migrations + ["CREATE TABLE a (b); nonsense;"])
                }
            }
            let driver = try SQLiteStorageDriver(path: path)
            defer { driver.close() }
            let storage = Storage(driver)
            #expect(try await storage.rawValues("vcard", on: "h").value(for: "romeo@h") == bytes("v"))
            #expect(try await storage.rawMap("roster", on: "h").value("juliet@h", of: "romeo@h") == bytes("j"))
            let archive = storage.rawArchive("messages", on: "h")
            archive.append(.init(id: "m2", time: 2000, value: []), to: "romeo@h")
            #expect(try await archive.items(of: "romeo@h").map(\.id) == ["m1", "m2"])
            #expect(try await archive.items(of: "romeo@h", ArchiveQuery(with: "juliet@h")).map(\.time) == [1000])
        }
    }

    @Test("Where nothing can be written the message names the path")
    func readOnly() async throws {
        try await withDirectory { directory async throws in
            let path = directory + "/test.sqlite"
            #expect(error(opening: directory + "/missing/test.sqlite")?.reason == .readOnly)
            #expect(error(opening: "/proc/test.sqlite")?.reason == .readOnly)
            #expect(error(opening: path) == nil)
            // Root may write everywhere: the thread steps down for the file system's eyes.
            typealias SetFSUID = @convention(c) (uid_t) -> Int32
            guard geteuid() == 0, let symbol = dlsym(nil, "setfsuid") else { return }
            let setfsuid = unsafeBitCast(symbol, to: SetFSUID.self)
            chmod(directory, 0o755)
            chmod(path, 0o444)
            chmod(path + ".lock", 0o666)
            _ = setfsuid(65534)
            let file = error(opening: path)
            chmod(path + ".lock", 0o444)
            _ = setfsuid(0)
            chmod(path + ".lock", 0o444)
            _ = setfsuid(65534)
            let lock = error(opening: path)
            _ = setfsuid(0)
            #expect(file?.reason == .readOnly && file?.description.contains(path) == true)
            #expect(lock?.reason == .readOnly && lock?.description.contains(path) == true)
        }
    }

    @Test("A full disk fails the writes, says so, and recovers; nothing acknowledged is lost")
    func fullDisk() async throws {
        try await withDirectory { directory async throws in
            var options = SQLiteStorageDriver.Options()
            options.maximumSize = 300_000
            let driver = try SQLiteStorageDriver(path: directory + "/test.sqlite", options: options)
            defer { driver.close() }
            let reports = Mutex<[StorageError]>([])
            let storage = Storage(driver) { error in reports.withLock { $0.append(error) } }
            let store = storage.rawValues("a", on: "h")
            var kept: [String] = []
            var failure: StorageError?
            for index in 0..<1000 where failure == nil {
                do throws(StorageError) {
                    try await storage.durable(store.set([UInt8](repeating: 7, count: 1000), for: "o\(index)"))
                    kept.append("o\(index)")
                } catch {
                    failure = error
                }
            }
            #expect(failure?.reason == .full && kept.count > 50)
            let again = store.set([UInt8](repeating: 7, count: 5000), for: "again")
            await #expect(throws: StorageError.self) { try await storage.durable(again) }
            #expect(reports.withLock { $0 }.count == 2)
            let owners = try await store.owners(limit: 1000)
            #expect(Set(owners) == Set(kept))
            for owner in kept.prefix(20) { try await storage.durable(store.delete(owner)) }
            try await storage.durable(store.set([UInt8](repeating: 7, count: 5000), for: "again"))
            #expect(try await store.count() == kept.count - 19)
        }
    }

    @Test("A value too large for the engine fails alone")
    func tooLarge() async throws {
        try await withDirectory { directory async throws in
            let driver = try SQLiteStorageDriver(path: directory + "/test.sqlite")
            defer { driver.close() }
            let storage = Storage(driver)
            let store = storage.rawValues("a", on: "h")
            let before = store.set([1], for: "1")
            let large = store.set([UInt8](repeating: 0, count: 1_000_000_001), for: "2")
            let after = store.set([3], for: "3")
            try await storage.durable(before)
            await #expect(throws: StorageError.self) { try await storage.durable(large) }
            try await storage.durable(after)
            #expect(try await store.owners() == ["1", "3"])
        }
    }

    @Test("A large archive vanishes at once and its rows go in the background; a removed owner's name goes too")
    func background() async throws {
        try await withDirectory { directory async throws in
            let path = directory + "/test.sqlite"
            let driver = try SQLiteStorageDriver(path: path)
            let storage = Storage(driver)
            let archive = storage.rawArchive("a", on: "h")
            for index in 0..<5000 { archive.append(.init(id: "\(index)", time: 1, value: [1]), to: "o") }
            storage.removeEverything(of: "o", on: "h")
            archive.append(.init(id: "1", time: 1, value: [2]), to: "p")
            #expect(try await archive.items(of: "o").isEmpty)
            #expect(try await archive.owners() == ["p"])
            driver.close()
            try SQLiteStorageDriver(path: path).close()
            let database = try Database(path, .readWrite)
            var applier = WriteApplier(database)
            while try applier.purge(limit: 200) {}
            applier.forgetEverything()
            #expect(try database.all("SELECT id FROM item", []) { $0.text(0) } == ["1"])
            #expect(try database.all("SELECT name FROM owner", []) { $0.text(0) } == ["p"])
            #expect(try database.first("PRAGMA quick_check") { $0.text(0) } == "ok")
        }
    }

    @Test("kill -9 at any moment loses nothing that was acknowledged")
    func killed() async throws {
        try await withDirectory { directory async throws in
            let path = directory + "/test.sqlite"
            var self_ = [CChar](repeating: 0, count: 4096)
            let length = readlink("/proc/self/exe", &self_, self_.count - 1)
            let executable = String(decoding: self_.prefix(max(0, length)).map(UInt8.init(bitPattern:)), as: UTF8.self)
            let program = executable.prefix(through: executable.lastIndex(of: "/") ?? executable.startIndex)
                + "storage-crash"
            var generator = SplitMix(state: UInt64(getpid()))
            var total: Int64 = 0
            for _ in 0..<20 {
                let last = try acknowledged(
                    by: String(program), path, afterMicroseconds: .random(in: 0...40_000, using: &generator))
                let driver = try SQLiteStorageDriver(path: path)
                let archive = Storage(driver).rawArchive("crash", on: "example.org")
                let present = try await archive.count(of: "romeo@example.org")
                let newest = try await archive.last(of: "romeo@example.org")
                #expect(last > 0 && present >= last)
                #expect(newest.flatMap { Int($0.id) } == present)
                archive.deleteAll(of: "romeo@example.org")
                driver.close()
                total += Int64(last)
            }
            print("storage: 20 kills, \(total) acknowledged writes, none lost")
        }
    }

    /// Runs the crashing program, kills it, and returns the last number it printed in full.
    private func acknowledged(by program: String, _ path: String, afterMicroseconds delay: UInt32) throws -> Int {
        var ends: [Int32] = [0, 0]
        try #require(pipe(&ends) == 0)
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO)
        posix_spawn_file_actions_addclose(&actions, ends[0])
        posix_spawn_file_actions_addclose(&actions, ends[1])
        var arguments: [UnsafeMutablePointer<CChar>?] = [strdup(program), strdup(path), nil]
        defer { for argument in arguments { free(argument) } }
        var child = pid_t()
        let result = posix_spawn(&child, program, &actions, nil, &arguments, environ)
        close(ends[1])
        defer { close(ends[0]) }
        try #require(result == 0, "\(program) is not there")
        var output: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        // The first line says that it is at work.
        var count = read(ends[0], &buffer, buffer.count)
        usleep(delay)
        kill(child, SIGKILL)
        while count > 0 {
            output += buffer.prefix(count)
            count = read(ends[0], &buffer, buffer.count)
        }
        var status: Int32 = 0
        waitpid(child, &status, 0)
        let lines = output.split(separator: 0x0A, omittingEmptySubsequences: false).dropLast()
        return lines.last.flatMap { Int(String(decoding: $0, as: UTF8.self)) } ?? 0
    }
}

enum Fixture {
    /// A database as version 1 left it: never changed, whatever the schema becomes.
    static let version1 = """
        PRAGMA application_id = 1296126548;
        CREATE TABLE store (
            id INTEGER PRIMARY KEY, host TEXT NOT NULL, name TEXT NOT NULL, kind INTEGER NOT NULL,
            UNIQUE (host, name, kind)) STRICT;
        CREATE TABLE owner (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
        CREATE TABLE value (key INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;
        CREATE TABLE entry (
            store INTEGER NOT NULL, owner INTEGER NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,
            PRIMARY KEY (store, owner, key)) STRICT, WITHOUT ROWID;
        CREATE INDEX entry_key ON entry (store, key);
        CREATE TABLE archive (
            id INTEGER PRIMARY KEY, store INTEGER REFERENCES store (id), owner INTEGER,
            floor INTEGER NOT NULL DEFAULT 0, removed INTEGER NOT NULL DEFAULT 0,
            oldest INTEGER, newest INTEGER, disorder INTEGER NOT NULL DEFAULT 0,
            UNIQUE (store, owner)) STRICT;
        CREATE INDEX archive_oldest ON archive (store, oldest);
        CREATE TABLE item (
            key INTEGER PRIMARY KEY, archive INTEGER NOT NULL, id TEXT NOT NULL, time INTEGER NOT NULL,
            peer TEXT NOT NULL, value BLOB NOT NULL) STRICT;
        CREATE UNIQUE INDEX item_id ON item (archive, id);
        CREATE INDEX item_peer ON item (archive, peer) WHERE peer <> '';
        INSERT INTO store VALUES (1, 'h', 'vcard', 1), (2, 'h', 'roster', 2), (3, 'h', 'messages', 3);
        INSERT INTO owner VALUES (1, 'romeo@h');
        INSERT INTO value VALUES (1 << 40 | 1, x'76');
        INSERT INTO entry VALUES (2, 1, 'juliet@h', x'6A');
        INSERT INTO archive (id, store, owner, oldest) VALUES (1, 3, 1, 1000);
        INSERT INTO item VALUES (1 << 36 | 1, 1, 'm1', 1000, 'juliet@h', x'6D');
        PRAGMA user_version = 1;
        """
}
