import ServerKit

/// Counting and listing users. XEP-0133 §4.13 to §4.22.
extension Admin {
    /// How many addresses one stanza may carry, whatever was asked for.
    private static let longestList = 10_000

    func addReports(_ host: ModuleHost, _ idleAfter: Duration) {
        func count(
            _ name: String, _ field: String, _ title: String,
            _ count: @escaping @Sendable @ServerActor () async throws -> Int
        ) {
            host.command(
                .administration(name, "Get \(title)") { _ in
                    .results(DataFormField(field, label: title, values: [String(try await count())]))
                })
        }
        count("get-registered-users-num", "registeredusersnum", "Number of Registered Users") {
            try await host.accounts.store.count()
        }
        count("get-disabled-users-num", "disabledusersnum", "Number of Disabled Users") {
            try await self.disabled(host, limit: .max).count
        }
        count("get-online-users-num", "onlineusersnum", "Number of Online Users") { self.online(host).count }
        count("get-active-users-num", "activeusersnum", "Number of Active Users") {
            self.online(host).count { !self.isIdle($0, host, idleAfter) }
        }
        count("get-idle-users-num", "idleusersnum", "Number of Idle Users") {
            self.online(host).count { self.isIdle($0, host, idleAfter) }
        }
    }

    func addLists(_ host: ModuleHost, _ idleAfter: Duration) {
        // One more than asked for tells whether there are more.
        func list(
            _ name: String, _ field: String, _ title: String,
            _ names: @escaping @Sendable @ServerActor (_ limit: Int) async throws -> [String]
        ) {
            host.command(
                .administration(name, "Get \(title)", asking: { [Self.maxItems] }) { form, _ in
                    let limit = min(form.text("max_items").flatMap { Int($0) } ?? .max, Self.longestList)
                    let found = try await names(limit + 1)
                    let jids = found.prefix(limit).map { "\($0)@\(host.domain)" }
                    return .results(
                        DataFormField(field, .jidMulti, label: title, values: jids),
                        note: found.count > limit ? "There are more." : nil)
                })
        }
        list("get-registered-users-list", "registereduserjids", "List of Registered Users") {
            try await host.accounts.store.names(limit: $0)
        }
        list("get-disabled-users-list", "disableduserjids", "List of Disabled Users") {
            try await self.disabled(host, limit: $0)
        }
        list("get-online-users-list", "onlineuserjids", "List of Online Users") { _ in
            self.online(host).map(\.name).sorted()
        }
        list("get-active-users", "activeuserjids", "List of Active Users") { _ in
            self.online(host).filter { !self.isIdle($0, host, idleAfter) }.map(\.name).sorted()
        }
        // XEP-0133 §4.22 has the field of §4.21, and §8.2 no other.
        list("get-idle-users", "activeuserjids", "List of Idle Users") { _ in
            self.online(host).filter { self.isIdle($0, host, idleAfter) }.map(\.name).sorted()
        }
    }

    private static let maxItems = DataFormField(
        "max_items", .listSingle, label: "Maximum number of items to show",
        options: ["25", "50", "75", "100", "150", "200"].map { .init($0, label: $0) } + [.init("none", label: "None")])

    /// Those with a connected resource. XEP-0133 §4.15.
    private func online(_ host: ModuleHost) -> [Account] {
        host.accounts.loadedAccounts.filter { !$0.resources.isEmpty }
    }

    private func isIdle(_ account: Account, _ host: ModuleHost, _ idleAfter: Duration) -> Bool {
        account.resources.allSatisfy { host.clock.now - $0.lastActivity >= idleAfter }
    }

    /// The locked accounts, found by looking at each.
    private func disabled(_ host: ModuleHost, limit: Int) async throws -> [String] {
        var found: [String] = []
        var last: String?
        while found.count < limit {
            let page = try await host.accounts.store.names(after: last, limit: 500)
            guard let end = page.last else { break }
            for name in page where try await host.accounts.store.record(of: name)?.isLocked ?? false {
                found.append(name)
            }
            last = end
        }
        return found
    }
}
