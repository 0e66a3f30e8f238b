import ServerKit

enum DialbackElement {
    case result
    case verify
}

/// What the other side says about a key. XEP-0220 §2.4.
enum DialbackAnswer {
    case valid
    case invalid
    case error(StanzaError)
}

/// A key that is to be verified. XEP-0220 §2.1.2.
struct DialbackVerification: Hashable {
    let pair: DomainPair
    /// The id of the stream that the key came on.
    let streamID: String
}

/// What was asked on one stream and not answered yet. Whatever is not in here was never asked for (XEP-0220 §3.1).
@ServerActor
struct DialbackRequests {
    typealias Reply = @ServerActor (DialbackAnswer) -> Void

    var results: [DomainPair: Reply] = [:]
    var verifications: [DialbackVerification: Reply] = [:]
    /// Keys of the peer that are being verified.
    var beingVerified: Set<DomainPair> = []
    /// How many of them an authoritative server is asked about.
    var callsBack = 0

    nonisolated init() {}

    mutating func failAll(_ reason: String) {
        let replies = Array(results.values) + Array(verifications.values)
        results = [:]
        verifications = [:]
        let error = StanzaError(.remoteServerTimeout, .wait, reason)
        for reply in replies { reply(.error(error)) }
    }
}

/// Proof of a domain by calling back those who own it. XEP-0220.
///
/// A peer whose certificate is for the domain needs no calling back: the certificate is the better proof.
@ServerActor
final class Dialback {
    private unowned let federation: Federation
    private let secret: [UInt8]

    init(_ federation: Federation, secret: [UInt8]) {
        self.federation = federation
        // XEP-0185 §2: the secret goes in hashed, as hexadecimal text.
        self.secret = Array(Hex.encode(Digest.sha256(secret)).utf8)
    }

    /// How many domains a peer may have verified, or be about to, on one stream.
    private static let domainsPerStream = 100
    /// How many a peer may have looked at that has proved none yet, and how many it may have others asked about at a
    /// time: each may cost connections to whomever it names.
    private static let claimsOfStrangers = 20
    private static let callsBackPerStream = 10

    /// How long a peer may think about a key.
    private static let patience = Duration.seconds(40)
    /// How long an authoritative server may: less, since somebody waits for us meanwhile.
    private static let patienceForVerification = Duration.seconds(30)

    /// The key for a stream of ours. XEP-0185 §2: receiving server, originating server, stream id.
    func key(_ pair: DomainPair, streamID: String) -> String {
        key(receiving: pair.remote, originating: pair.local, streamID)
    }

    private func key(receiving: String, originating: String, _ streamID: String) -> String {
        Hex.encode(Digest.hmac(.sha256, key: secret, Array("\(receiving) \(originating) \(streamID)".utf8)))
    }

    // MARK: Asking

    /// Asks the peer to take stanzas of `pair` on this stream. XEP-0220 §2.1.1.
    func authenticate(_ pair: DomainPair, on stream: ServerStream, reply: @escaping DialbackRequests.Reply) {
        stream.dialback.results[pair] = reply
        stream.sendDialback(
            .result, [("from", pair.local), ("to", pair.remote)],
            key: key(pair, streamID: stream.id))
        federation.server.clock.after(Self.patience) { [weak stream] in
            guard let reply = stream?.dialback.results.removeValue(forKey: pair) else { return }
            reply(.error(StanzaError(.remoteServerTimeout, .wait, "\(pair.remote) did not answer.")))
        }
    }

    /// Asks the authoritative server whether a key is its own. XEP-0220 §2.1.2.
    func verify(
        _ request: DialbackVerification, key: String, on stream: ServerStream, reply: @escaping DialbackRequests.Reply
    ) {
        stream.dialback.verifications[request] = reply
        let pair = request.pair
        stream.sendDialback(
            .verify,
            [("from", pair.local), ("to", pair.remote), ("id", request.streamID)],
            key: key)
        federation.server.clock.after(Self.patienceForVerification) { [weak stream] in
            guard let reply = stream?.dialback.verifications.removeValue(forKey: request) else { return }
            reply(.error(StanzaError(.remoteServerTimeout, .wait, "The authoritative server did not answer.")))
        }
    }

    // MARK: Elements from the peer

    func handle(_ element: Element, on stream: ServerStream) throws(StreamError) {
        guard let from = JID.domain(element["from"]), let to = JID.domain(element["to"]) else {
            throw StreamError(.improperAddressing, "Dialback needs two domains.")
        }
        // RFC 7590 §3.1: nothing is proved in plain text.
        guard stream.transport.isSecure else {
            throw StreamError(.policyViolation, "Servers change to TLS first.")
        }
        let pair = DomainPair(local: to, remote: from)
        switch (element.name, element["type"]) {
        case ("result", nil): receiveKey(element.text, pair, stream)
        case ("verify", nil):
            guard let id = element["id"] else { throw StreamError(.badFormat, "A key belongs to a stream.") }
            judge(element.text, pair, id, stream)
        case ("result", let type?):
            guard let reply = stream.dialback.results.removeValue(forKey: pair) else {
                return ignore(pair, stream)
            }
            reply(answer(type, element))
        case ("verify", let type?):
            let request = DialbackVerification(pair: pair, streamID: element["id"] ?? "")
            guard let reply = stream.dialback.verifications.removeValue(forKey: request) else {
                return ignore(pair, stream)
            }
            reply(answer(type, element))
        default: throw StreamError(.unsupportedStanzaType)
        }
    }

    /// XEP-0220 §3.1: what was not asked for on this stream counts for nothing.
    private func ignore(_ pair: DomainPair, _ stream: ServerStream) {
        stream.log.info("Unsolicited dialback answer ignored", metadata: ["remote": "\(pair.remote)"])
    }

    private func answer(_ type: String, _ element: Element) -> DialbackAnswer {
        switch type {
        case "valid": .valid
        case "error": .error(element.child("error").map { StanzaError($0) } ?? .undefinedCondition)
        default: .invalid
        }
    }

    // MARK: Answering

    /// XEP-0220 §2.2.2: whether a key was made here.
    private func judge(_ key: String, _ pair: DomainPair, _ id: String, _ stream: ServerStream) {
        let attributes: [(StaticString, String)] = [
            ("from", pair.local), ("to", pair.remote), ("id", id),
        ]
        guard federation.serves(pair.local) else {
            return stream.sendDialback(.verify, attributes + [("type", "error")], error: .itemNotFound)
        }
        // What came on a stream of ours to the one who asks: it is the receiving server.
        let right = self.key(receiving: pair.remote, originating: pair.local, id)
        let isValid = Digest.constantTimeEqual(Array(key.utf8.filter { !$0.isSpace }), Array(right.utf8))
        stream.sendDialback(.verify, attributes + [("type", isValid ? "valid" : "invalid")])
    }

    /// XEP-0220 §2.2.1: a peer wants to send for a domain.
    private func receiveKey(_ key: String, _ pair: DomainPair, _ stream: ServerStream) {
        guard federation.serves(pair.local, for: pair.remote) else {
            return refuse(pair, stream, StanzaError(.itemNotFound, nil, "\(pair.local) is not served here."))
        }
        guard !federation.isHere(pair.remote) else {
            return refuse(pair, stream, StanzaError(.notAcceptable, nil, "\(pair.remote) is served here."))
        }
        if let reason = federation.policies.refusal(of: pair.remote) {
            return refuse(pair, stream, .policyViolation(reason))
        }
        if stream.trusted.contains(pair.remote) { return accept(pair, stream, nil) }
        let limit = stream.trusted.isEmpty ? Self.claimsOfStrangers : Self.domainsPerStream
        guard stream.trusted.count + stream.dialback.beingVerified.count < limit,
            stream.dialback.beingVerified.insert(pair).inserted
        else { return refuse(pair, stream, .resourceConstraint) }
        federation.judge.judge(stream, claims: pair) { [weak stream] verdict in
            guard let stream, !stream.isClosing else { return }
            let mayCallBack = self.federation.policies.policy(for: pair.remote) == .dialback
            switch verdict {
            case .valid(let means):
                stream.dialback.beingVerified.remove(pair)
                self.accept(pair, stream, "certificate (\(means))")
            case .invalid where mayCallBack, .undecided where mayCallBack:
                self.callBack(key, pair, stream)
            case .invalid(let problem):
                stream.dialback.beingVerified.remove(pair)
                self.federation.note(refused: pair, problem, on: stream)
                self.refuse(pair, stream, StanzaError(.notAuthorized, nil, problem))
            case .undecided(let problem):
                stream.dialback.beingVerified.remove(pair)
                self.federation.note(refused: pair, problem, on: stream)
                self.refuse(pair, stream, StanzaError(.remoteServerTimeout, .wait, problem))
            }
        }
    }

    private func callBack(_ key: String, _ pair: DomainPair, _ stream: ServerStream) {
        guard stream.dialback.callsBack < Self.callsBackPerStream else {
            stream.dialback.beingVerified.remove(pair)
            return refuse(pair, stream, .resourceConstraint)
        }
        stream.dialback.callsBack += 1
        federation.verify(DialbackVerification(pair: pair, streamID: stream.id), key: key, besides: stream) {
            [weak stream] answer in
            guard let stream, !stream.isClosing else { return }
            stream.dialback.beingVerified.remove(pair)
            stream.dialback.callsBack -= 1
            switch answer {
            case .valid: self.accept(pair, stream, "dialback")
            case .invalid:
                self.federation.note(refused: pair, "The dialback key is not valid.", on: stream)
                self.reply(pair, stream, "invalid")
                // XEP-0220 §2.2.1: the only domain of the stream is forged.
                if stream.trusted.isEmpty { stream.close(reason: "The dialback key of \(pair.remote) is not valid.") }
            case .error(let error):
                self.federation.note(
                    refused: pair, "The authoritative server: \(error.text ?? error.condition.rawValue)", on: stream)
                self.refuse(pair, stream, error)
            }
        }
    }

    private func accept(_ pair: DomainPair, _ stream: ServerStream, _ means: String?) {
        if stream.trusted.isEmpty, !stream.isInitiator, !federation.loads.makePlace(for: pair.remote) {
            return stream.close(
                StreamError(.policyViolation, "\(pair.remote) has too many connections to this server."))
        }
        stream.prove(pair)
        if let means { federation.authenticated(stream, pair, by: means) }
        reply(pair, stream, "valid")
        federation.usable(stream, pair)
    }

    private func reply(_ pair: DomainPair, _ stream: ServerStream, _ type: String, _ error: StanzaError? = nil) {
        stream.sendDialback(
            .result,
            [("from", pair.local), ("to", pair.remote), ("type", type)], error: error)
    }

    /// XEP-0220 §2.4: the stream goes on.
    private func refuse(_ pair: DomainPair, _ stream: ServerStream, _ error: StanzaError) {
        reply(pair, stream, "error", error)
        stream.countFalseClaim()
    }
}

extension UInt8 {
    fileprivate var isSpace: Bool { self == 0x20 || self == 0x0A || self == 0x0D || self == 0x09 }
}
