import ServerKit

/// What occupants see of each other. XEP-0045 §7.2.2 to §7.2.4.
extension Room {
    /// What may go with a presence beside the occupant's own.
    struct Details {
        var statuses: [Status] = []
        var reason: String?
        /// The nick of who did it. XEP-0045 §8.2: the real JID is for moderators, and nobody needs it.
        var actor: String?
        var newNick: String?
        /// What else belongs into `<x/>`, such as `<destroy/>`.
        var element: Element?
        var elements: [Element] = []
    }

    /// Whether an occupant may know others' real JIDs. XEP-0045 §7.2.3, §7.2.4.
    func seesJIDs(_ viewer: Occupant) -> Bool { settings.whois == .anyone || viewer.role == .moderator }

    /// XEP-0045 §15.5.2, `muc#roomconfig_presencebroadcast`: moderators see all, or nobody could give voice.
    func isVisible(_ occupant: Occupant, to viewer: Occupant) -> Bool {
        occupant.isShown || occupant === viewer || viewer.role == .moderator
    }

    /// The content of an occupant's presence for somebody else.
    func payload(of occupant: Occupant, for viewer: Occupant) -> Element {
        payload(of: occupant, showingJID: seesJIDs(viewer))
    }

    func payload(of occupant: Occupant, showingJID: Bool) -> Element {
        occupant.presence(showingJID: showingJID) {
            makePayload(of: occupant, .available, jid: showingJID ? occupant.primary?.jid : nil, Details())
        }
    }

    /// The content of an occupant's presence for itself. XEP-0045 §7.2.2.
    func ownPayload(of occupant: Occupant, _ statuses: [Status], _ elements: [Element] = []) -> Element {
        makePayload(
            of: occupant, .available, jid: occupant.primary?.jid,
            Details(statuses: statuses + [.selfPresence], elements: elements))
    }

    /// Builds a presence's content, encoded so that it is copied as bytes from then on.
    func makePayload(
        of occupant: Occupant, _ kind: Presence.Kind, jid: JID?, _ details: Details, farewell: Presence? = nil
    ) -> Element {
        let isHere = kind == .available
        let shown = isHere ? occupant.primary?.presence : farewell
        let element = Element("presence", .client) {
            shown?.payload.children ?? []
            if isHere { hatsElement(of: occupant) }
            Element("occupant-id", .occupantID, ["id": occupant.id])
            Element("x", .mucUser) {
                Element(
                    "item", nil,
                    [
                        "affiliation": occupant.affiliation.rawValue,
                        "role": isHere
                            ? occupant.role.rawValue : details.newNick == nil ? "none" : occupant.role.rawValue,
                        "jid": jid?.description, "nick": details.newNick,
                    ]
                ) {
                    if let actor = details.actor { Element("actor", nil, ["nick": actor]) }
                    if let reason = details.reason { Element("reason", text: reason) }
                }
                details.element
                details.elements
                for status in details.statuses.sorted() { status.element }
            }
        }
        return element.encoded
    }

    // MARK: To everybody

    /// Tells everybody of an occupant as it is now.
    ///
    /// - Parameters:
    ///   - details: why it has changed.
    ///   - selfStatuses: what it alone is told.
    ///   - except: a client of its own that is told otherwise.
    ///   - id: the id of the presence that caused it, for the client that sent it.
    func announce(
        _ occupant: Occupant, _ details: Details = Details(), selfStatuses: [Status] = [],
        except: Occupant.Session? = nil, id: String? = nil, of sender: Occupant.Session? = nil
    ) {
        let isPlain = details.statuses.isEmpty && details.reason == nil && details.actor == nil
        let make = { (showsJID: Bool) in
            isPlain
                ? self.payload(of: occupant, showingJID: showsJID)
                : self.makePayload(
                    of: occupant, .available, jid: showsJID ? occupant.primary?.jid : nil, details)
        }
        var own = details
        own.statuses += selfStatuses + [.selfPresence]
        broadcast(
            of: occupant, .available, except: except, id: id, idFor: sender, make,
            own: { self.makePayload(of: occupant, .available, jid: occupant.primary?.jid, own) })
    }

    /// Tells everybody, or `viewers`, that an occupant has another nick now. XEP-0045 §7.6.
    func announceNickChange(
        of occupant: Occupant, to nick: String, viewers: [Occupant.Session]? = nil, except: Occupant.Session? = nil
    ) {
        let details = Details(statuses: [.nickChanged], newNick: nick)
        broadcast(
            of: occupant, .unavailable, viewers: viewers, except: except,
            { self.makePayload(of: occupant, .unavailable, jid: $0 ? occupant.primary?.jid : nil, details) },
            own: {
                self.makePayload(
                    of: occupant, .unavailable, jid: occupant.primary?.jid,
                    Details(statuses: [.nickChanged, .selfPresence], newNick: nick))
            })
    }

    /// Sends one presence to everybody who may see it: to the occupant's own clients, to those who see real JIDs, and to
    /// the others, each made once.
    func broadcast(
        of occupant: Occupant, _ kind: Presence.Kind, viewers: [Occupant.Session]? = nil,
        except: Occupant.Session? = nil, id: String? = nil, idFor sender: Occupant.Session? = nil,
        _ make: (_ showsJID: Bool) -> Element, own: () -> Element
    ) {
        let (viewers, hasDoubts, isOpen, isShown) = (
            viewers ?? sessions, hasDoubts, settings.whois == .anyone, occupant.isShown
        )
        var payloads = PresencePayloads(room: self, step: stepInProgress)
        // What each of them gets. There may be as many broadcasts that wait as there are viewers, so it is little.
        var choices: [UInt8] = []
        choices.reserveCapacity(viewers.count)
        for viewer in viewers {
            let (other, isModerator) = (viewer.occupant, viewer.occupant.role == .moderator)
            if viewer === except || hasDoubts && viewer.isAway {
                choices.append(PresencePayloads.nothing)
            } else if other === occupant {
                choices.append(payloads.choice(.own, for: viewer, own))
            } else if !isShown, !isModerator {
                choices.append(PresencePayloads.nothing)
            } else if isOpen || isModerator {
                choices.append(payloads.choice(.open, for: viewer) { make(true) })
            } else {
                choices.append(payloads.choice(.hidden, for: viewer) { make(false) })
            }
        }
        guard !payloads.made.isEmpty else { return }
        var presence = Presence(from: occupant.jid, kind: kind)
        presence.language = occupant.primary?.presence.language
        let made = payloads.made
        outbox.send(size: viewers.count) {
            for (viewer, choice) in zip(viewers, choices) where choice != PresencePayloads.nothing {
                presence.header.to = viewer.jid
                presence.header.id = viewer === sender ? id : nil
                presence.payload = made[Int(choice)]
                self.router.route(presence)
            }
        }
    }
}

extension Element {
    /// The same, in the form that is copied as bytes when it is written.
    var encoded: Element { (try? Element.parse(xmlBytes[...])) ?? self }
}
