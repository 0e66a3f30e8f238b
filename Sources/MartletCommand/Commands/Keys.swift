import ArgumentParser
import ServerKit

struct Keys: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show who may read an account's encrypted messages, and since when.",
        discussion: """
            Shows every change of the account's list of devices for OMEMO, and checks that none was altered, removed or \
            put in since. Exits with 1 if the log was tampered with, with 3 if no server is running.
            """)

    @OptionGroup var account: AccountOptions
    @Flag(help: "Print JSON.") var json = false

    func run() async throws {
        let client = try ControlClient.require(try account.configuration())
        let report = try client.ask(.keys, AccountArguments(address: account.jid.description))
        if json { try Console.print(json: report) } else { show(report) }
        guard let problem = report.problem else { return }
        throw CommandFailure("The log was tampered with. \(problem)")
    }

    private func show(_ report: KeyLogReport) {
        guard !report.entries.isEmpty else {
            if report.problem == nil { Console.print("\(account.jid) has published no devices.") }
            return
        }
        Console.print(table: [["NUMBER", "TIME", "CHANGE", "LIST", "BY"]] + report.entries.map { entry in
            let change = entry.added.map { "+" + $0 } + entry.removed.map { "-" + $0 }
            return ["\(entry.number)", entry.time, change.joined(separator: " "), entry.node, entry.publisher]
        })
        Console.print("")
        for (node, devices) in report.devices.sorted(by: { $0.key < $1.key }) {
            Console.print("Devices in \(node): \(devices.isEmpty ? "none" : devices.joined(separator: " "))")
        }
        Console.print("Fingerprint: \(report.head)")
        if report.problem == nil { Console.print("The log is complete and unchanged.") }
    }
}
