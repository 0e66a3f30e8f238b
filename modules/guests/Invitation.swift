import ServerKit

/// An invitation as it lies on disk, under the SHA-256 of its token. The token itself is nowhere.
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
    /// Who the guest is, if there is one at a time: a localpart that has nothing to do with the token.
    let localpart: String
}

/// An invitation that is good now.
@ServerActor
final class OpenInvitation {
    /// The SHA-256 of its token, in hexadecimal digits.
    let digest: String
    let record: Invitation
    let peers: Set<JID>
    /// What its guests send together: who comes again and again is not new each time.
    var bucket = TokenBucket()
    /// Why it is good no longer, when that is so and its guests are leaving.
    var end: StreamError?

    init(_ digest: String, _ record: Invitation) {
        self.digest = digest
        self.record = record
        peers = Set(record.peers)
    }

    /// What people call it by. Enough to tell a hundred thousand apart; of no use to log in.
    var id: String { String(digest.prefix(Self.idLength)) }

    var isForOne: Bool { record.places == 1 }

    private static let idLength = 16
    /// 160 random bits.
    static let tokenBytes = 20

    /// Whether a text could be a token.
    static func isToken(_ text: String) -> Bool {
        text.utf8.count == 2 * tokenBytes
            && text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }

    /// What a token is looked up by: whatever the time that takes tells, it is about a hash that nobody can choose.
    static func digest(_ token: String) -> String { Hex.encode(Digest.sha256(Array(token.utf8))) }
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
