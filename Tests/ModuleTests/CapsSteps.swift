import ServerKit
import TestKit
import Testing

/// What a client can do, as it says in presence and when it is asked. XEP-0115.
struct ClientCaps {
    let content: String
    let node: String
    let hash: String
    let ver: String

    /// - Parameters:
    ///   - ver: what it claims; by default the truth.
    init(
        _ features: [String], more: String = "", node: String = "https://client.example", hash: String = "sha-1",
        ver: String? = nil
    ) throws {
        content = "<identity category='client' type='pc' name='Test'/>"
            + features.map { "<feature var='\($0)'/>" }.joined() + more
        self.node = node
        self.hash = hash
        let algorithm: Digest.Algorithm = hash == "sha-256" ? .sha256 : hash == "sha-512" ? .sha512 : .sha1
        let query = try Element.parse("<query xmlns='http://jabber.org/protocol/disco#info'>\(content)</query>")
        self.ver = try ver ?? DiscoInfo(query).verificationString(algorithm)
    }

    /// The element in presence.
    var element: String {
        "<c xmlns='http://jabber.org/protocol/caps' hash='\(hash)' node='\(node)' ver='\(ver)'/>"
    }

    var presence: String { "<presence>\(element)</presence>" }

    /// What it is asked.
    var question: String {
        "<iq type='get'><query xmlns='http://jabber.org/protocol/disco#info' node='\(node)#\(ver)'/></iq>"
    }
}

extension TestKit.Actor {
    /// Is asked what it can do, and says so.
    func explains(_ caps: ClientCaps, file: String = #fileID, line: Int = #line) async throws {
        let question = try await receivesAnywhere(caps.question, file: file, line: line)
        try await answers(question, caps.content)
    }

    /// Answers a request for what it can do.
    func answers(_ question: Element, _ content: String) async throws {
        let node = question.firstChild?["node"] ?? ""
        try await sends(
            """
            <iq type='result' id='\(question["id"] ?? "")' to='\(question["from"] ?? "")'>
            <query xmlns='http://jabber.org/protocol/disco#info' node='\(node)'>\(content)</query></iq>
            """)
    }

    /// The questions about capabilities among everything that is unread.
    func questions() async -> [Element] {
        await everything().filter { $0.firstChild?.is("query", .discoInfo) == true && $0["type"] == "get" }
    }
}

extension Stage {
    /// Brings a client on stage that can do something, and says so when it is asked.
    func enter(_ jid: String, able caps: ClientCaps) async throws -> TestKit.Actor {
        let actor = try await enter(jid, presence: false)
        try await actor.sends(caps.presence)
        for question in await actor.questions() { try await actor.answers(question, caps.content) }
        _ = await actor.everything()
        return actor
    }

    func capabilities(_ host: String = "montague.example") throws -> any Capabilities {
        let host = try #require(server.host(host))
        return try #require(host.service((any Capabilities).self))
    }

    func loadedAccount(_ jid: String) throws -> Account {
        let jid = try #require(JID(jid))
        return try #require(server.host(jid.domainpart)?.accounts.loadedAccount(jid.localpart ?? ""))
    }
}

/// Both end with subscription "both", and nothing unread. Needs the modules roster and presence.
@ServerActor
func makeFriends(_ one: TestKit.Actor, _ other: TestKit.Actor) async throws {
    let (first, second) = (try #require(one.jid).bare, try #require(other.jid).bare)
    try await one.sends("<presence to='\(second)' type='subscribe'/>")
    try await other.sends("<presence to='\(first)' type='subscribed'/>")
    try await other.sends("<presence to='\(first)' type='subscribe'/>")
    try await one.sends("<presence to='\(second)' type='subscribed'/>")
    _ = await one.everything()
    _ = await other.everything()
}
