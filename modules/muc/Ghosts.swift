import ServerKit

/// What a client was asked to see whether it is there.
struct Probe {
    enum Kind {
        /// XEP-0199.
        case ping
        /// XEP-0199 §4.2: clients that know no pings answer like servers whose client is gone. Whoever is there tells
        /// about itself (XEP-0030 §3.1).
        case info
    }

    let kind: Kind
    /// What the ids of its requests begin with, since an answer to an earlier one is as good.
    let token = RandomToken.make(bytes: 6)
    var count = 0
    var sentAt: Duration
}

/// Ghosts: clients that went away without a word. XEP-0045 §11.1, §18.1.2.
extension Room {
    // MARK: Errors

    /// Something that the room sent to a client came back.
    ///
    /// - Parameter message: what came back, if it is a message.
    func receive(_ error: StanzaError, about session: Occupant.Session, _ message: Message? = nil) {
        guard !service.server.isStopping else { return }
        switch service.whereabouts(of: session.jid, in: self) {
        case .absent: cannotReach(session, message)
        case .unknown: break
        case .present, .bound:
            // Its server knows that it is there, unless it says so itself.
            if error.saysGone, message?.isPrivate != true { loseConnection(of: session) }
        case .elsewhere:
            // What became of somebody's private message has many reasons.
            if message?.isPrivate == true {
                if error.maySayGone { probe(session) }
                return
            }
            if error.saysGone { return cannotReach(session, message) }
            if error.saysUnreachable {
                // Its server may be there again soon, and the client with it.
                doubt(session)
                return markAway(session, message)
            }
            // XEP-0045 §18.1.2 leaves this one out: servers say it for those who block somebody, too.
            guard error.maySayGone else { return }
            if session.isUnverified { markAway(session, message) } else { probe(session) }
        }
    }

    private func cannotReach(_ session: Occupant.Session, _ message: Message?) {
        if session.isUnverified { markAway(session, message) } else { loseConnection(of: session) }
    }

    /// A client is gone. XEP-0045 §11.1, which advises against status 307: nobody has kicked it.
    func loseConnection(of session: Occupant.Session) {
        expel(session, Details(statuses: [.removedForError], reason: "The connection was lost."))
    }

    // MARK: Probes

    /// Asks a client whether it is there.
    func probe(_ session: Occupant.Session) {
        if session.probe == nil { session.probe = Probe(kind: .ping, sentAt: service.now) }
        sendProbe(to: session)
    }

    private func sendProbe(to session: Occupant.Session) {
        guard var probe = session.probe else { return }
        probe.count += 1
        probe.sentAt = service.now
        session.probe = probe
        let request = IQ(.get, to: session.jid, from: jid, id: "\(probe.token)-\(probe.count)") {
            switch probe.kind {
            case .ping: Element("ping", .ping)
            case .info: Element("query", .discoInfo)
            }
        }
        router.route(request)
    }

    /// A client has answered something that the room itself asked.
    func receiveAnswer(_ iq: IQ, _ session: Occupant.Session) {
        guard let probe = session.probe, iq.id?.hasPrefix("\(probe.token)-") == true else { return }
        session.probe = nil
        guard let error = iq.error else { return isThere(session) }
        switch error.condition {
        case .serviceUnavailable where probe.kind == .ping:
            session.probe = Probe(kind: .info, sentAt: service.now)
            sendProbe(to: session)
        case .serviceUnavailable: cannotReach(session, nil)
        // They say nothing of the client.
        case .internalServerError, .resourceConstraint, .undefinedCondition: break
        default:
            if error.saysGone { return cannotReach(session, nil) }
            guard error.saysUnreachable else { return isThere(session) }
            doubt(session)
            markAway(session)
        }
    }

    // MARK: Looking after all

    /// Looks for those that have been silent for long.
    ///
    /// - Parameter probes: how many may be asked.
    func checkForGhosts(_ probes: inout Int) {
        for session in sessions where !session.isUnverified {
            guard self.session(session.jid) === session else { continue }
            switch service.whereabouts(of: session.jid, in: self) {
            case .absent: loseConnection(of: session)
            case .bound: service.adopt(session)
            case .present, .unknown: break
            case .elsewhere:
                guard let limit = service.options.pingAfter, probes > 0 else { continue }
                let last = max(session.lastHeard, session.probe?.sentAt ?? .zero)
                guard service.now - last >= limit else { continue }
                probes -= 1
                probe(session)
            }
        }
    }
}

extension StanzaError {
    /// Whether it says that nobody is there any more. XEP-0045 §18.1.2.
    fileprivate var saysGone: Bool {
        switch condition {
        case .gone, .itemNotFound, .recipientUnavailable, .redirect, .jidMalformed: true
        default: false
        }
    }

    /// Whether it says that there is no way at the moment.
    fileprivate var saysUnreachable: Bool {
        condition == .remoteServerNotFound || condition == .remoteServerTimeout
    }

    /// Whether it may be because nobody is there.
    fileprivate var maySayGone: Bool { saysGone || saysUnreachable || condition == .serviceUnavailable }
}

extension Message {
    /// Whether a message that came back was from one occupant to another. XEP-0045 §7.5.
    fileprivate var isPrivate: Bool { payload.child("x", .mucUser) != nil && !payload.has("stanza-id", .stanzaIDs) }
}
