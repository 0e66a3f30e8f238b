import ServerKit

/// An invitation as it lies on disk, under the localpart with which its guests log in.
struct Invitation: Codable, Sendable {
    /// Nil for the administrator's tool.
    let inviter: JID?
    /// Bare JIDs of users and rooms.
    let peers: [JID]
    let name: String?
    let made: Timestamp
    let expires: Timestamp
    /// How many guests may hold it at a time.
    let places: Int
    /// Keys of its password, which itself is nowhere; nil while they are being derived.
    var password: StoredPassword?
}

/// An invitation that is good now.
@ServerActor
final class OpenInvitation {
    /// With what its guests log in: a localpart that has nothing to do with the password. If there is one guest at a
    /// time, it is the guest's as well.
    let localpart: String
    private(set) var record: Invitation
    let peers: Set<JID>
    /// What its guests send together: who comes again and again is not new each time.
    var bucket = TokenBucket()
    /// How often its guests come in, where each time brings a new address.
    var admissions = TokenBucket()
    /// Why it is good no longer, when that is so and its guests are leaving.
    var end: StreamError?

    init(_ localpart: String, _ record: Invitation) {
        self.localpart = localpart
        self.record = record
        peers = Set(record.peers)
    }

    var isForOne: Bool { record.places == 1 }

    /// From now on somebody may log in with it.
    func complete(_ password: StoredPassword) { record.password = password }

    /// The password has 160 random bits: nobody guesses it.
    static func makePassword() -> String { RandomToken.make(bytes: 20) }
}

/// Somebody who was let in.
@ServerActor
final class Guest {
    let localpart: String
    /// Nil for one who came without.
    let invitation: OpenInvitation?
    /// When it was let in the last time, by the server's clock.
    var admittedAt: Duration
    private var bucket = TokenBucket()

    init(_ localpart: String, _ invitation: OpenInvitation?, at now: Duration) {
        self.localpart = localpart
        self.invitation = invitation
        admittedAt = now
    }

    /// Counts a stanza.
    ///
    /// - Returns: how long the guest has to wait if it was one too many.
    func count(_ rate: Rate, now: Duration) -> Duration? {
        if let pause = bucket.take(1, limit: rate, now: now) { return pause }
        guard let invitation else { return nil }
        let (count, overflow) = rate.count.multipliedReportingOverflow(by: invitation.record.places)
        return invitation.bucket.take(
            1, limit: Rate(overflow ? .max : count, per: rate.interval), now: now)
    }
}
