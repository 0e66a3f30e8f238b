import ServerKit

/// What an announcement says.
struct Notice: Codable, Sendable {
    let subject: String?
    let body: String

    init(subject: String?, body: String) {
        self.subject = subject
        self.body = body
    }

    /// What a message says; nil when that is nothing.
    init?(_ message: Message) {
        guard let body = message.body, !body.isEmpty else { return nil }
        self.init(subject: message.text(of: "subject"), body: body)
    }

    func message(to recipient: JID, from sender: JID, _ kind: Message.Kind) -> Message {
        Message(to: recipient, from: sender, id: RandomToken.make(bytes: 8), kind: kind) {
            if let subject { Element("subject", .client, text: subject) }
            Element("body", .client, text: body)
        }
    }
}

/// What a host tells everybody who comes.
@ServerActor
final class NoticeBoard {
    /// The message of the day under an id of its own, so that a new one is shown again.
    struct Current: Codable, Sendable {
        let id: String
        let notice: Notice
    }

    private struct Stored: Codable, Sendable {
        var messageOfTheDay: Current?
        var welcome: String?
    }

    private var stored = Stored()
    private var wasChanged = false
    private let store: KeyValueStore<Stored>
    /// No localpart is empty: what belongs to the host is not deleted with any account.
    private static let owner = ""

    init(_ host: ModuleHost) {
        store = host.store("announcements")
    }

    var current: Current? { stored.messageOfTheDay }

    /// The welcome an administrator set in place of the configured one; empty for none at all.
    var welcome: String? { stored.welcome }

    func load() async throws {
        let read = try await store.value(for: Self.owner)
        if let read, !wasChanged { stored = read }
    }

    func setMessageOfTheDay(_ notice: Notice?) {
        stored.messageOfTheDay = notice.map { Current(id: RandomToken.make(bytes: 8), notice: $0) }
        save()
    }

    func setWelcome(_ text: String) {
        stored.welcome = text
        save()
    }

    private func save() {
        wasChanged = true
        store.set(stored, for: Self.owner)
    }
}
