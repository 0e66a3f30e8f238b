import ServerKit
import StorageMemory
import Testing

@testable import MartletCommand

@Suite("Importing accounts") struct AccountImportTests {
    private let storage = Storage(MemoryStorageDriver())
    private var accounts: StoredAccounts { StoredAccounts(storage: storage, iterations: 10) }

    private func run(_ text: String) async throws -> AccountImport.Outcome {
        try await AccountImport(accounts: accounts, hosts: ["example.org", "other.example"]).run(Array(text.utf8))
    }

    private func verifies(_ password: String, _ localpart: String, on host: String = "example.org") async throws -> Bool {
        let record = try await AccountStore(storage: storage, host: host).record(of: localpart)
        return record?.password.verify(plain: password) { $0 } ?? false
    }

    @Test("Addresses are normalised, passwords go on to the end of the line, comments count as nothing")
    func lines() async throws {
        let outcome = try await run(
            """
            # The choir

            Anna@example.org  secret\r
            \tbob@other.example \tcorrect horse battery
            zoë@example.org p#ss

            """)
        #expect(outcome.imported == 3)
        #expect(outcome.problems == [])
        #expect(try await verifies("secret", "anna"))
        #expect(try await verifies("correct horse battery", "bob", on: "other.example"))
        #expect(try await verifies("p#ss", "zoë"))
    }

    @Test("Every line that cannot be imported is named, and the others are imported")
    func problems() async throws {
        _ = try await run("anna@example.org first")
        let text = """
            anna@example.org second
            nobody
            carl@example.org
            dora@elsewhere.example x
            example.org x
            emil@example.org/phone x
            fred@example.org x
            FRED@example.org y
            gina@example.org \u{7}
            """
        let outcome = try await run(text + "\n")
        #expect(outcome.imported == 1)
        #expect(outcome.problems.map(\.line) == [1, 2, 3, 4, 5, 6, 8, 9])
        #expect(try await verifies("first", "anna"))
        #expect(try await verifies("x", "fred"))
        let broken = try await AccountImport(accounts: accounts, hosts: ["example.org"])
            .run(Array("hugo@example.org ".utf8) + [0xFF, 0x0A])
        #expect(broken.problems == [AccountImport.Problem(line: 1, reason: "this is not valid UTF-8.")])
    }

    @Test("More accounts than a batch and a page hold are imported, and found when it is repeated")
    func many() async throws {
        let text = (0..<1_200).map { "user\($0)@example.org pw\($0)\n" }.joined()
        #expect(try await run(text).imported == 1_200)
        #expect(try await AccountStore(storage: storage, host: "example.org").count() == 1_200)
        #expect(try await verifies("pw777", "user777"))
        let again = try await run(text)
        #expect(again.imported == 0)
        #expect(again.problems.count == 1_200)
    }
}
