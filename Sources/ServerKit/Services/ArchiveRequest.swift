extension Namespace {
    /// XEP-0313 §10.1.
    public static let mam: Namespace = "urn:xmpp:mam:2"
    /// XEP-0313 §7: everything that ``ArchiveRequest`` reads.
    public static let mamExtended: Namespace = "urn:xmpp:mam:2#extended"
    /// XEP-0431 §2.1.
    public static let fullText: Namespace = "urn:xmpp:fulltext:0"
}

/// What somebody wants to know of a message archive: the `<query/>` of XEP-0313 §4.
///
/// **How the query engine is layered.** It serves whoever keeps an archive of messages, the account as well as a room,
/// and knows neither. From the wire to the disk and back:
///
/// 1. `ArchiveRequest` reads a query, once and for all: form, page, flipping. What is wrong with it is refused here.
/// 2. ``ArchiveStore/page(_:of:limits:condition:)`` turns it into one ``ArchiveQuery`` and runs it. What `with` means
///    (who somebody talked to, or who published) the keeper of the archive says in `condition`.
/// 3. ``ArchivePage`` is what was found: the items, and the `<fin/>` that ends the answer.
/// 4. ``ArchivePage/results(of:queryID:from:to:content:)`` wraps items for sending. Their content comes from the
///    keeper, as it may look different to different people; a stored message need not be parsed for it
///    (``Element/init(sealed:from:)``).
/// 5. ``ArchiveQueue`` answers the questions of one asker one after the other, so that their pages neither mix nor pile
///    up, and ``Resource/waitForReader(below:patience:)`` keeps a large page from overflowing a slow client's stream.
///
/// Who may ask, what is kept and for how long is not decided here.
public struct ArchiveRequest: Sendable {
    /// What an archive understands beyond the fields that every archive must (XEP-0313 §4.1).
    public struct Extras: OptionSet, Sendable {
        public let rawValue: UInt8
        public init(rawValue: UInt8) { self.rawValue = rawValue }

        /// Words to look for. XEP-0431.
        public static let text = Extras(rawValue: 1)
        /// Whether messages from rooms are wanted. XEP-0313 §4.1.4.
        public static let groupchat = Extras(rawValue: 2)
    }

    /// Returned with each result. XEP-0313 §4.2.
    public var queryID: String?
    public var with: JID?
    public var start: Timestamp?
    public var end: Timestamp?
    public var beforeID: String?
    public var afterID: String?
    public var ids: [String]?
    /// The words that a message must have. XEP-0431.
    public var words: [String]?
    /// Whether messages from rooms are wanted; nil where nothing was said.
    public var includesGroupchat: Bool?
    public var page: ResultSetRequest
    /// Whether the page is to be sent newest first. XEP-0313 §4.3.4.
    public var isFlipped: Bool

    /// The most bytes of a query id, which comes back with every result.
    private static let queryIDLimit = 1024
    /// The most words that are looked for, and bytes of the field that has them.
    private static let wordLimit = 16
    private static let textLimit = 1024

    /// Reads a `<query/>` that searches.
    ///
    /// - Parameters:
    ///   - extras: what is understood beyond the fields that XEP-0313 asks for.
    ///   - idLimit: how many items may be asked for by their ids.
    /// - Throws: `.featureNotImplemented` for fields that are not known (XEP-0313 §4.1.5) and for pages by index
    ///   (XEP-0059 §2.6), `.badRequest` or `.notAcceptable` for what is no form, field or page.
    public init(_ query: Element, extras: Extras = [], idLimit: Int) throws(StanzaError) {
        // XEP-0313 §6.1.3 reserves the node for PubSub.
        guard query["node"] == nil else { throw .featureNotImplemented }
        queryID = query["queryid"]
        guard queryID?.utf8.count ?? 0 <= Self.queryIDLimit else { throw .badRequest("The queryid is too long.") }
        isFlipped = query.has("flip-page")
        let pages = query.children("set", .rsm)
        guard pages.count <= 1 else { throw .badRequest("A query asks for one page.") }
        page = try pages.first.map { element throws(StanzaError) in try ResultSetRequest(element) } ?? .init()
        if case .index = page.position { throw .featureNotImplemented }
        let forms = query.children("x", .dataForms)
        guard forms.count <= 1 else { throw .badRequest("A query has one form.") }
        if let form = forms.first { try read(DataForm(form), extras, idLimit) }
    }

    private mutating func read(_ submission: DataForm, _ extras: Extras, _ idLimit: Int) throws(StanzaError) {
        // XEP-0313 §4.1: the FORM_TYPE is required.
        guard submission.formType == Namespace.mam.uri else { throw .badRequest("The form has the wrong FORM_TYPE.") }
        let form = Self.form(extras)
        for field in submission.fields where field.kind != .fixed && form[field.name ?? ""] == nil {
            throw .featureNotImplemented
        }
        let fields = try form.read(submission)
        with = try fields.jid(Field.with)
        start = try fields.timestamp(Field.start)
        end = try fields.timestamp(Field.end)
        beforeID = fields.identifier(Field.beforeID)
        afterID = fields.identifier(Field.afterID)
        ids = fields[Field.ids].map { $0.values.filter { !$0.isEmpty } }
        if ids?.isEmpty == true { ids = nil }
        guard ids?.count ?? 0 <= idLimit else {
            throw .policyViolation("At most \(idLimit) messages can be asked for by their ids.")
        }
        includesGroupchat = try fields.bool(Field.includeGroupchat)
        guard let text = fields.identifier(Field.text) else { return }
        let found = text.split { !$0.isLetter && !$0.isNumber }.map(String.init)
        guard text.utf8.count <= Self.textLimit, found.count <= Self.wordLimit else {
            throw .policyViolation("A search has at most \(Self.wordLimit) words.")
        }
        words = found
    }

    /// The form that tells which fields are understood. XEP-0313 §4.1.5.
    public static func form(_ extras: Extras = []) -> DataForm {
        var fields = [
            DataFormField(Field.with, .jidSingle), DataFormField(Field.start, .textSingle),
            DataFormField(Field.end, .textSingle), DataFormField(Field.beforeID, .textSingle),
            DataFormField(Field.afterID, .textSingle),
            // XEP-0313 §4.1.5: a list that is open, since the ids there are cannot be told.
            DataFormField(Field.ids, .listMulti, validation: DataFormValidation("xs:string", .open)),
        ]
        if extras.contains(.groupchat) { fields.append(DataFormField(Field.includeGroupchat, .boolean)) }
        if extras.contains(.text) { fields.append(DataFormField(Field.text, .textSingle)) }
        return DataForm(.form, formType: Namespace.mam.uri, fields: fields)
    }

    /// Whether only some of the messages match: what the archive holds cannot be inferred from such a page.
    public var isSelective: Bool { with != nil || ids != nil || words != nil }

    private enum Field {
        static let with = "with"
        static let start = "start"
        static let end = "end"
        static let beforeID = "before-id"
        static let afterID = "after-id"
        static let ids = "ids"
        static let includeGroupchat = "include-groupchat"
        /// XEP-0431 §3.1.
        static let text = "{\(Namespace.fullText.uri)}fulltext"
    }
}

extension DataForm {
    /// A text as it is; nil when it is missing or empty.
    fileprivate func identifier(_ name: String) -> String? {
        text(name).flatMap { $0.isEmpty ? nil : $0 }
    }
}
