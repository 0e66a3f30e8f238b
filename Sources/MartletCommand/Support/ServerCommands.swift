import ServerKit

// What the tool asks of a running server; both ends use these declarations.

extension ControlCommand where Arguments == ControlNothing, Reply == ServerStatus {
    /// How the server is.
    static var status: Self { Self("status") }
}

extension ControlCommand where Arguments == ControlNothing, Reply == ControlNotes {
    /// Reads configuration and certificates again.
    static var reload: Self { Self("reload") }
}

extension ControlCommand where Arguments == ControlNothing, Reply == ControlNothing {
    /// Ends the server.
    static var stop: Self { Self("stop") }
}

extension ControlCommand where Arguments == LogArguments, Reply == LogReply {
    /// Changes or tells what is logged.
    static var log: Self { Self("log") }
}

extension ControlCommand where Arguments == AccountArguments, Reply == ControlNothing {
    static var addAccount: Self { Self("account.add") }
    static var setPassword: Self { Self("account.password") }
    static var removeAccount: Self { Self("account.remove") }
    static var lockAccount: Self { Self("account.lock") }
    static var unlockAccount: Self { Self("account.unlock") }
}

extension ControlCommand where Arguments == AccountPageArguments, Reply == AccountPage {
    /// A page of a host's accounts.
    static var listAccounts: Self { Self("account.list") }
}

extension ControlCommand where Arguments == AccountBatch, Reply == AccountBatchReply {
    /// Adds accounts whose keys the tool has derived.
    static var insertAccounts: Self { Self("account.insert") }
}

extension ControlCommand where Arguments == AccountArguments, Reply == KeyLogReport {
    /// The log of an account's devices for encrypted messages.
    static var keys: Self { Self("keys") }
}

extension ControlCommand where Arguments == GuestRequest, Reply == GuestPass {
    /// Makes an invitation for guests.
    static var inviteGuest: Self { Self("guests.invite") }
}

extension ControlCommand where Arguments == GuestListArguments, Reply == [GuestInvitation] {
    /// The invitations for guests that are good now.
    static var listGuests: Self { Self("guests.list") }
}

extension ControlCommand where Arguments == GuestRevocation, Reply == ControlNothing {
    /// Takes an invitation for guests back.
    static var revokeGuest: Self { Self("guests.revoke") }
}

struct GuestListArguments: Codable, Sendable {
    /// The guests' domain; nil for all.
    var host: String?
}

struct GuestRevocation: Codable, Sendable {
    var id: String
}

/// How a server is.
struct ServerStatus: Codable, Sendable {
    struct Host: Codable, Sendable {
        var name: String
        var accounts: Int
        /// Connected resources.
        var resources: Int
        var modules: [String]
    }

    /// A domain that a module serves.
    struct Component: Codable, Sendable {
        var name: String
        var modules: [String]
    }

    var version: String
    var processID: Int32
    /// When the server was started, and how many seconds ago.
    var startedAt: String
    var uptimeSeconds: Int64
    /// Resident memory.
    var memoryKiB: Int
    var logLevel: String
    /// Where each listener listens.
    var listening: [String: [String]]
    var hosts: [Host]
    var components: [Component]
    /// How many iterations new passwords get.
    var passwordIterations: Int
}

/// What the administrator should know although all went well.
struct ControlNotes: Codable, Sendable {
    var notes: [String]
}

struct LogArguments: Codable, Sendable {
    var level: String?
    /// A bare JID whose sessions' XML is to be logged, or no longer.
    var trace: String?
    var isTraceOn: Bool?
}

struct LogReply: Codable, Sendable {
    var level: String
}

struct AccountArguments: Codable, Sendable {
    /// A bare JID.
    var address: String
    var password: String?
}

struct AccountPageArguments: Codable, Sendable {
    var host: String
    /// The localpart after which the page begins.
    var after: String?
    var limit: Int
    var hasDetails: Bool
}

struct AccountSummary: Codable, Sendable, Hashable {
    var address: String
    var created: String?
    var isLocked: Bool?
}

struct AccountPage: Codable, Sendable {
    var accounts: [AccountSummary]
    /// Where the next page begins; nil on the last one.
    var next: String?
}

struct AccountBatch: Codable, Sendable {
    struct Entry: Codable, Sendable {
        var localpart: String
        var record: AccountRecord
    }

    var host: String
    var accounts: [Entry]
}

struct AccountBatchReply: Codable, Sendable {
    /// The localparts that existed already.
    var existing: [String]
}
