import ArgumentParser
import ServerKit

struct UserList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List the accounts.")

    @OptionGroup var file: ConfigurationOption
    @Argument(help: "The host whose accounts to list; all hosts if none is named.") var host: String?
    @Flag(help: "Show when each account was made, and whether it is locked.") var details = false
    @Flag(help: "Print JSON.") var json = false

    func run() async throws {
        let configuration = try ConfigurationFile.readLoosely(file.path)
        if let host { try configuration.requireHost(host, path: file.path) }
        let hosts = host.map { [$0] } ?? configuration.hosts.map(\.name)
        try await AccountAccess.with(configuration) { accounts in
            var all: [AccountSummary] = []
            for host in hosts {
                var next: String?
                repeat {
                    let page = try await accounts.page(
                        AccountPageArguments(host: host, after: next, limit: 1_000, hasDetails: details))
                    if json { all += page.accounts } else { show(page.accounts) }
                    next = page.next
                } while next != nil
            }
            if json { try Console.print(json: all) }
        }
    }

    private func show(_ accounts: [AccountSummary]) {
        for account in accounts {
            guard details else {
                Console.print(account.address)
                continue
            }
            let remark = account.isLocked == true ? "locked" : ""
            let created = (account.created ?? "unknown").padded(to: 20)
            Console.print("\(created)  \(remark.padded(to: 6))  \(account.address)")
        }
    }
}
