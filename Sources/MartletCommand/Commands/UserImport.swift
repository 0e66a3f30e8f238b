import ArgumentParser
import Glibc
import ServerKit

struct UserImport: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import", abstract: "Add many accounts.",
        discussion: """
            Each line of the file has an address and a password with blanks between; the password goes on to the \
            end of the line. Empty lines and lines that begin with # count as nothing. Accounts that exist already \
            keep their passwords. All lines that can be are imported; those that cannot are named at the end, and \
            the exit code is 1 then. How long it takes is how long it takes to derive the keys, on all cores.
            """)

    @OptionGroup var file: ConfigurationOption
    @Argument(help: ArgumentHelp("The file, or - for standard input.", valueName: "file")) var list: String

    func run() async throws {
        let configuration = try ConfigurationFile.readLoosely(file.path)
        let bytes = try Files.read(list)
        let result = try await AccountAccess.with(configuration) { accounts in
            try await AccountImport(accounts: accounts, hosts: configuration.hosts.map(\.name)).run(bytes) { count, of in
                guard isatty(STDERR_FILENO) == 1 else { return }
                Console.write("\r\(count) of \(of) ", to: STDERR_FILENO)
                if count == of { Console.write("\r\u{1B}[K", to: STDERR_FILENO) }
            }
        }
        for problem in result.problems { Console.complain("\(list):\(problem.line): \(problem.reason)") }
        Console.print("Imported \(result.imported) accounts.")
        if !result.problems.isEmpty { throw CommandFailure("") }
    }
}

/// Adds the accounts of a list.
struct AccountImport {
    struct Problem: Hashable {
        let line: Int
        let reason: String
    }

    struct Outcome {
        var imported = 0
        /// In the order of the lines.
        var problems: [Problem] = []
    }

    private struct Entry: Sendable {
        let line: Int
        let jid: JID
        let localpart: String
        let password: String
    }

    let accounts: any Accounts
    /// The hosts that may have accounts.
    let hosts: [String]

    /// How many accounts are stored at once.
    private static let batchSize = 256

    /// - Parameter progress: is told how many of how many lines are done.
    func run(_ list: [UInt8], progress: (_ done: Int, _ count: Int) -> Void = { _, _ in }) async throws -> Outcome {
        var outcome = Outcome()
        var entries = parse(list, &outcome)
        try await dropExisting(&entries, &outcome)
        let iterations = try await accounts.iterations
        var done = 0
        for start in stride(from: 0, to: entries.count, by: Self.batchSize) {
            let batch = Array(entries[start..<min(start + Self.batchSize, entries.count)])
            let passwords = await Self.derive(batch, iterations: iterations)
            try await store(zip(batch, passwords), &outcome)
            done += batch.count
            progress(done, entries.count)
        }
        outcome.problems.sort { $0.line < $1.line }
        return outcome
    }

    private func parse(_ list: [UInt8], _ outcome: inout Outcome) -> [Entry] {
        var entries: [Entry] = []
        var lines: [JID: Int] = [:]
        for (index, bytes) in list.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated() {
            let line = index + 1
            switch Self.split(bytes) {
            case .nothing: continue
            case .problem(let reason): outcome.problems.append(Problem(line: line, reason: reason))
            case .account(let address, let password):
                guard let jid = JID(address), let localpart = jid.localpart, jid.resourcepart == nil else {
                    outcome.problems.append(Problem(line: line, reason: "this is not the address of an account."))
                    continue
                }
                guard hosts.contains(jid.domainpart) else {
                    outcome.problems.append(Problem(line: line, reason: "there is no host \(jid.domainpart)."))
                    continue
                }
                if let first = lines[jid] {
                    outcome.problems.append(Problem(line: line, reason: "\(jid) was given before, on line \(first)."))
                    continue
                }
                lines[jid] = line
                entries.append(Entry(line: line, jid: jid, localpart: localpart, password: password))
            }
        }
        return entries
    }

    private enum Line {
        case nothing
        case account(address: String, password: String)
        case problem(String)
    }

    private static func split(_ bytes: ArraySlice<UInt8>) -> Line {
        let isBlank = { (byte: UInt8) in byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
        var bytes = bytes
        if bytes.last == UInt8(ascii: "\r") { bytes.removeLast() }
        bytes = bytes.drop(while: isBlank)
        guard let first = bytes.first, first != UInt8(ascii: "#") else { return .nothing }
        let address = bytes.prefix { !isBlank($0) }
        let password = bytes.dropFirst(address.count).drop(while: isBlank)
        guard let address = String(validating: address, as: UTF8.self),
            let password = String(validating: password, as: UTF8.self)
        else { return .problem("this is not valid UTF-8.") }
        return password.isEmpty ? .problem("the password is missing.") : .account(address: address, password: password)
    }

    /// Deriving keys takes milliseconds each, finding out who exists microseconds: so first the one, then the other.
    private func dropExisting(_ entries: inout [Entry], _ outcome: inout Outcome) async throws {
        var existing: Set<JID> = []
        for host in Set(entries.map(\.jid.domainpart)).sorted() {
            var next: String?
            repeat {
                let page = try await accounts.page(
                    AccountPageArguments(host: host, after: next, limit: 1_000, hasDetails: false))
                existing.formUnion(page.accounts.compactMap { JID($0.address) })
                next = page.next
            } while next != nil
        }
        for entry in entries where existing.contains(entry.jid) {
            outcome.problems.append(Problem(line: entry.line, reason: "\(entry.jid) exists already."))
        }
        entries.removeAll { existing.contains($0.jid) }
    }

    /// The keys of each, on all cores; nil for what cannot be a password.
    private static func derive(_ entries: [Entry], iterations: Int) async -> [StoredPassword?] {
        await withTaskGroup(of: (Int, StoredPassword?).self) { group in
            for (index, entry) in entries.enumerated() {
                group.addTask {
                    (index, try? await AccountStore.derive(entry.password, iterations: iterations))
                }
            }
            var passwords: [StoredPassword?] = Array(repeating: nil, count: entries.count)
            for await (index, password) in group { passwords[index] = password }
            return passwords
        }
    }

    private func store(_ derived: Zip2Sequence<[Entry], [StoredPassword?]>, _ outcome: inout Outcome) async throws {
        var batches: [String: (batch: AccountBatch, entries: [Entry])] = [:]
        for (entry, password) in derived {
            guard let password else {
                outcome.problems.append(Problem(line: entry.line, reason: "\(AccountError.badPassword)"))
                continue
            }
            let host = entry.jid.domainpart
            let record = AccountRecord(password: password, created: .now)
            batches[host, default: (AccountBatch(host: host, accounts: []), [])].batch.accounts.append(
                AccountBatch.Entry(localpart: entry.localpart, record: record))
            batches[host]?.entries.append(entry)
        }
        for (_, (batch, entries)) in batches {
            let existing = Set(try await accounts.insert(batch))
            outcome.imported += entries.count - existing.count
            for entry in entries where existing.contains(entry.localpart) {
                outcome.problems.append(Problem(line: entry.line, reason: "\(entry.jid) exists already."))
            }
        }
    }
}
