import ServerKit

/// Spam Reporting (XEP-0377): whoever blocks somebody may say why, and the administrators are told.
final class SpamReports: Module {
    static let info = ModuleInfo(
        "spam_reports", "Takes reports of spam and abuse along with the blocking of addresses",
        implements: [.xep(377, "0.4.1")],
        group: .recommended, requires: ["blocking"])

    struct Options: ModuleOptions {
        let limit: Int
        let rate: Rate
        let textLimit: Int
        let notifiesAdmins: Bool
        let notifyInterval: Duration

        init(_ config: inout OptionReader) {
            limit = config.int(
                "max_reports", default: 1_000, in: 10...100_000,
                "Reports that are kept; the oldest makes room for one more.")
            rate = config.rate(
                "rate", default: Rate(20, per: .hours(1)),
                "Reports that one user may make; what exceeds them is blocked all the same, but not reported.")
            textLimit = config.int(
                "max_text", default: 2_000, in: 0...100_000, "Characters that are kept of what a user says.")
            notifiesAdmins = config.bool(
                "notify", default: true, "Whether the administrators get a message about new reports.")
            notifyInterval = config.duration(
                "notify_interval", default: .minutes(10), in: .zero...(.days(7)),
                "How much time lies between two of these messages; reports that come meanwhile are counted.")
        }
    }

    private var options: Options

    init(options: Options) {
        self.options = options
    }

    func reconfigure(_ options: Options) -> Bool {
        self.options = options
        return true
    }

    func load(into host: ModuleHost) {
        let reports = ReportStore(host)
        let notices = ReportNotices(host)
        host.startUp { try await reports.load() }
        host.onUnload { notices.stop() }
        host.advertise(.reporting, on: .host)
        host.observe(.addressBlocked) { self.take($0, reports, notices, host) }
        addCommands(host, reports)
    }

    /// XEP-0377 §6: the address is blocked whatever the report is like, so that one that makes no sense is left out
    /// without a word.
    private func take(_ event: BlockEvent, _ reports: ReportStore, _ notices: ReportNotices, _ host: ModuleHost) {
        guard let element = event.item.child("report", .reporting),
            let report = AbuseReport(element, about: event.jid, by: event.account.jid, textLimit: options.textLimit),
            isWithinRate(event.account, host)
        else { return }
        reports.add(report, limit: options.limit)
        host.log.info("Abuse was reported", metadata: ["jid": "\(report.reporter)", "peer": "\(report.reported)"])
        if options.notifiesAdmins { notices.tell(report, interval: options.notifyInterval) }
    }

    // MARK: Limits

    private struct Recent {
        let since: Duration
        var count = 0
    }

    /// What each user reported in the interval of the rate.
    private var recent: [String: Recent] = [:]

    private func isWithinRate(_ account: Account, _ host: ModuleHost) -> Bool {
        let now = host.clock.now
        recent = recent.filter { now - $0.value.since < options.rate.interval }
        var own = recent[account.name] ?? Recent(since: now)
        guard own.count < options.rate.count else { return false }
        own.count += 1
        recent[account.name] = own
        return true
    }
}

/// What a user says about an address. XEP-0377 §4.
struct AbuseReport: Codable, Sendable {
    /// A message in somebody's archive. XEP-0359 §3.
    struct MessageID: Codable, Sendable {
        let by: String
        let id: String
    }

    let reporter: JID
    let reported: JID
    /// A URN.
    let reason: String
    let text: String?
    let language: String?
    let messages: [MessageID]
    /// What the user agrees to: `report-origin`, `third-party`. XEP-0377 §5. Nobody may pass the report on otherwise;
    /// this server does not in any case.
    let agreedTo: [String]

    private static let longestReason = 256
    private static let longestID = 1_024
    private static let maxMessages = 50

    /// - Returns: nil for a report without a reason, which XEP-0377 §4 demands.
    init?(_ element: Element, about reported: JID, by reporter: JID, textLimit: Int) {
        guard let reason = element["reason"], !reason.isEmpty, reason.utf8.count <= Self.longestReason else {
            return nil
        }
        self.reporter = reporter
        self.reported = reported
        self.reason = reason
        let said = element.child("text")
        let words = said.map { String($0.text.trimmedXMLSpace.prefix(textLimit)) } ?? ""
        text = words.isEmpty ? nil : words
        language = text == nil ? nil : said?["xml:lang"].flatMap { $0.utf8.count <= 64 ? $0 : nil }
        messages = element.children("stanza-id", .stanzaIDs).prefix(Self.maxMessages).compactMap { element in
            guard let by = element.jid("by"), let id = element["id"] else { return nil }
            return id.utf8.count <= Self.longestID ? MessageID(by: by.description, id: id) : nil
        }
        agreedTo = ["report-origin", "third-party"].filter { element.has($0) }
    }

    /// The reason without what all have in common.
    var shortReason: String {
        let prefix = Namespace.reasonPrefix
        return reason.hasPrefix(prefix) ? String(reason.dropFirst(prefix.count)) : reason
    }

    /// One report is kept of each user about each address.
    var id: String { "\(reporter) \(reported)" }
}

extension Namespace {
    /// XEP-0377 §3.
    static let reporting: Namespace = "urn:xmpp:reporting:1"
    /// XEP-0377 §4.
    fileprivate static let reasonPrefix = "urn:xmpp:reporting:"
}
