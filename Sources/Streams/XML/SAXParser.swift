import CLibXML2
import XMPP

/// libxml2's push parser, turned into first-level elements. RFC 6120 §11.
///
/// Not safe to share between threads: each event loop has a pool of its own. In SAX mode libxml2 has no limits of its
/// own worth the name, so depth, bytes, attributes and namespaces are counted here, and what RFC 6120 §11.1 forbids
/// stops the parser at once.
final class SAXParser {
    enum Event {
        /// The root's start tag; its namespace declarations as markup, for taking the stream up in another parser.
        case opened(StreamHeader, declarations: String)
        case element(Element)
        case closed
    }

    // What the callbacks change is touched by one thread, and no callback runs inside another: asking the runtime about
    // every access would cost a tenth of the time.
    @exclusivity(unchecked) private(set) var events: [Event] = []
    @exclusivity(unchecked) private(set) var error: StreamError?
    @exclusivity(unchecked) var limits = XMLLimits.unauthenticated

    private let context: xmlParserCtxtPtr
    @exclusivity(unchecked) private var builder = TapeBuilder()
    @exclusivity(unchecked) private var namespaces = NamespaceCache()
    /// The namespace declarations of the stream header, as markup; nil before it.
    @exclusivity(unchecked) private var declarations: String?
    @exclusivity(unchecked) private var isClosed = false
    private var resumesStream = false
    /// The stream's own name for what is ``Namespace/client`` inside the server; nil where that is its name.
    @exclusivity(unchecked) private var contentAlias: Namespace?
    /// The stream offset of the first-level element that is being read; behind the one before, if that is not known.
    @exclusivity(unchecked) private var elementStart = 0
    @exclusivity(unchecked) private var elementFollowsSpace = false

    init?() {
        var handler = SAXParser.handler
        guard let context = xmlCreatePushParserCtxt(&handler, nil, nil, 0, nil) else { return nil }
        self.context = context
        context.pointee.userData = Unmanaged.passUnretained(self).toOpaque()
    }

    deinit {
        xmlFreeParserCtxt(context)
    }

    /// Whether the parser is worth keeping. Its dictionary never shrinks: a peer that invents names fills it, and slows
    /// every look-up down.
    var isReusable: Bool {
        xmlDictSize(context.pointee.dict) < 4_096 && xmlDictGetUsage(context.pointee.dict) < 262_144
    }

    /// Whether nothing is begun: the stream is open, and what was not parsed yet is white space.
    var isIdle: Bool {
        declarations != nil && builder.depth == 0 && error == nil && !isClosed && unparsed.allSatisfy(\.isXMLSpace)
    }

    /// Whether a parser that ``isIdle`` can go on with a stream whose header had these declarations.
    func canResume(_ declarations: String) -> Bool { self.declarations == declarations && isIdle }

    /// Makes the parser read a new document. With `declarations`, one whose stream header was read before.
    func reset(resuming declarations: String? = nil) {
        xmlCtxtResetPush(context, nil, 0, nil, nil)
        // NOENT replaces the predefined entities inside attribute values; no others can be declared. Without IGNORE_ENC
        // a peer would choose which character set converters the C library loads.
        let options = XML_PARSE_NOENT.rawValue | XML_PARSE_NONET.rawValue | XML_PARSE_IGNORE_ENC.rawValue
        xmlCtxtUseOptions(context, Int32(options))
        // Resetting leaves it as the last document did; the parser sets it behind the first tag only, and would take a
        // `>` inside an attribute of the stream header for the end of the tag.
        context.pointee.progressive = 1
        builder.reset()
        events.removeAll(keepingCapacity: true)
        error = nil
        self.declarations = nil
        isClosed = false
        contentAlias = nil
        elementStart = 0
        elementFollowsSpace = false
        guard let declarations else { return }
        resumesStream = true
        var header = "<stream:stream" + declarations + ">"
        header.withUTF8 { feed(UnsafeRawBufferPointer($0)) }
        resumesStream = false
        elementStart = offset
    }

    func takeEvents() -> [Event] {
        defer { events.removeAll(keepingCapacity: true) }
        return events
    }

    /// Parses a piece of the stream. Events gather in ``events``; after ``error`` is set, nothing more is read.
    func feed(_ bytes: UnsafeRawBufferPointer) {
        guard error == nil, !isClosed, let base = bytes.bindMemory(to: CChar.self).baseAddress else { return }
        var status = xmlParseChunk(context, base, Int32(clamping: bytes.count), 0)
        // Of a CDATA section libxml2 takes 300 bytes a call, and looks for its end in all the rest each time.
        while status == 0, context.pointee.instate == XML_PARSER_CDATA_SECTION {
            let before = unparsed.count
            status = xmlParseChunk(context, nil, 0, 0)
            if unparsed.count == before { break }
        }
        guard error == nil, !isClosed else { return }
        if status != 0 { return fail(code: status) }
        checkUnparsed()
        if pending > limits.elementBytes { failForSize() }
        let dictionary = context.pointee.dict
        if xmlDictSize(dictionary) > XMLLimits.names || xmlDictGetUsage(dictionary) > XMLLimits.nameBytes {
            fail(StreamError(.policyViolation, "The stream uses too many different names."))
        }
    }

    /// Bytes of what is begun and not complete.
    private var pending: Int {
        declarations != nil && builder.depth == 0 ? unparsed.count : offset &+ unparsed.count &- elementStart
    }

    /// How many bytes of the document were parsed.
    private var offset: Int {
        guard let input = context.pointee.input?.pointee, let current = input.cur, let base = input.base
        else { return 0 }
        return Int(truncatingIfNeeded: input.consumed) &+ (current - base)
    }

    /// What was fed and not yet parsed.
    private var unparsed: UnsafeBufferPointer<UInt8> {
        guard let input = context.pointee.input, let current = input.pointee.cur, let end = input.pointee.end,
            current < end
        else { return UnsafeBufferPointer(start: nil, count: 0) }
        return UnsafeBufferPointer(start: current, count: end - current)
    }

    /// Refuses what libxml2 would first wait for the end of. RFC 6120 §11.1.
    private func checkUnparsed() {
        let bytes = unparsed
        guard let first = bytes.first, context.pointee.instate != XML_PARSER_CDATA_SECTION else { return }
        if first == UInt8(ascii: "<"), bytes.count > 1 {
            if bytes[1] == UInt8(ascii: "!"), bytes.count > 2, bytes[2] != UInt8(ascii: "[") {
                return fail(SAXParser.restricted(bytes[2] == UInt8(ascii: "-") ? "Comments" : "Document types"))
            }
            if bytes[1] == UInt8(ascii: "?"), !isXMLDeclaration(bytes) {
                return fail(SAXParser.restricted("Processing instructions"))
            }
        }
        if first != UInt8(ascii: "<"), declarations != nil, builder.depth == 0, !bytes.allSatisfy(\.isXMLSpace) {
            return fail(SAXParser.textBetweenStanzas)
        }
        if bytes.count > XMLLimits.markupBytes {
            fail(StreamError(.policyViolation, "A tag is larger than \(XMLLimits.markupBytes) bytes."))
        }
    }

    /// Whether these may be the first bytes of a document.
    private func isXMLDeclaration(_ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
        guard declarations == nil, context.pointee.instate == XML_PARSER_START else { return false }
        return zip(bytes, "<?xml".utf8).allSatisfy { $0 == $1 } && (bytes.count < 6 || bytes[5].isXMLSpace)
    }

    /// Stops the parser at its next step. `xmlStopParser` would free the buffer that its caller is still reading.
    private func stop() {
        context.pointee.errNo = Int32(XML_ERR_USER_STOP.rawValue)
        context.pointee.disableSAX = 1
    }

    private func fail(_ error: StreamError) {
        guard self.error == nil, !isClosed else { return }
        self.error = error
        stop()
    }

    private func fail(code: Int32) {
        let bytes = unparsed
        // This is what a complete document type among elements makes libxml2 say.
        let isDocumentType = code == XML_ERR_INTERNAL_ERROR.rawValue && bytes.count > 2
            && bytes[0] == UInt8(ascii: "<") && bytes[1] == UInt8(ascii: "!") && bytes[2] != UInt8(ascii: "[")
        fail(isDocumentType ? SAXParser.restricted("Document types") : SAXParser.streamError(for: code))
    }

    private func failForSize() {
        fail(StreamError(.policyViolation, "A stanza is larger than \(limits.elementBytes) bytes."))
    }

    // MARK: Events of libxml2

    /// Checks the encoding that the XML declaration names. RFC 6120 §11.6: UTF-8 only.
    private func startDocument() {
        guard let input = context.pointee.input?.pointee, let base = input.base, let current = input.cur else { return }
        // libxml2 has found the declaration well-formed: nothing in front of the word can contain it.
        let declaration = String(decoding: UnsafeBufferPointer(start: base, count: current - base), as: UTF8.self)
        let words = declaration.split { "='\" \t\r\n?<>".unicodeScalars.contains($0.unicodeScalars.first ?? " ") }
        guard let keyword = words.firstIndex(of: "encoding"), keyword + 1 < words.endIndex else { return }
        let name = words[keyword + 1].lowercased()
        if name != "utf-8", name != "utf8" { fail(StreamError(.unsupportedEncoding, "Only UTF-8 is spoken here.")) }
    }

    private func startElement(
        _ name: UnsafePointer<UInt8>, _ prefix: UnsafePointer<UInt8>?, _ uri: UnsafePointer<UInt8>?,
        _ declared: UnsafeBufferPointer<UnsafePointer<UInt8>?>,
        _ attributes: UnsafeBufferPointer<UnsafePointer<UInt8>?>
    ) {
        guard error == nil else { return }
        guard prefix == nil || uri != nil else {
            return fail(StreamError(.notWellFormed, "An element's namespace prefix is not declared."))
        }
        guard attributes.count / 5 + declared.count / 2 <= limits.attributes else {
            return fail(StreamError(.policyViolation, "An element has too many attributes."))
        }
        guard declarations != nil else { return openRoot(name, prefix, uri, declared, attributes) }
        if builder.depth == 0 { beginElement(name, uri) }
        guard builder.depth < limits.depth else {
            return fail(StreamError(.policyViolation, "Elements are nested too deeply."))
        }
        builder.startElement(SAXParser.bytes(name), namespace(uri))
        guard builder.namespaceCount <= limits.namespaces, builder.count <= limits.elementBytes &* 6 else {
            return fail(StreamError(.policyViolation, "An element uses too many or too long namespaces."))
        }
        var index = 0
        while index + 4 < attributes.count {
            defer { index += 5 }
            guard let name = attributes[index], let value = attributes[index + 3], let end = attributes[index + 4]
            else { continue }
            let bytes = UnsafeBufferPointer(start: value, count: max(0, end - value))
            guard let prefix = attributes[index + 1] else {
                builder.attribute(SAXParser.bytes(name), bytes)
                continue
            }
            guard let uri = attributes[index + 2] else {
                return fail(StreamError(.notWellFormed, "An attribute's namespace prefix is not declared."))
            }
            addPrefixed(name, prefix, uri, bytes, declared: attributes[..<index])
        }
    }

    /// Adds `prefix:name='…'`, and the declaration of the prefix unless an earlier attribute brought it.
    private func addPrefixed(
        _ name: UnsafePointer<UInt8>, _ prefix: UnsafePointer<UInt8>, _ uri: UnsafePointer<UInt8>,
        _ value: UnsafeBufferPointer<UInt8>, declared earlier: Slice<UnsafeBufferPointer<UnsafePointer<UInt8>?>>
    ) {
        let prefixName = String(cString: prefix)
        let isDeclared = stride(from: 0, to: earlier.count, by: 5).contains { earlier[$0 + 1] == prefix }
        if prefixName != "xml", !isDeclared {
            var declaration = "xmlns:" + prefixName
            declaration.withUTF8 { builder.attribute($0, SAXParser.bytes(uri)) }
        }
        var qualified = prefixName + ":" + String(cString: name)
        qualified.withUTF8 { builder.attribute($0, value) }
    }

    private func openRoot(
        _ name: UnsafePointer<UInt8>, _ prefix: UnsafePointer<UInt8>?, _ uri: UnsafePointer<UInt8>?,
        _ declared: UnsafeBufferPointer<UnsafePointer<UInt8>?>,
        _ attributes: UnsafeBufferPointer<UnsafePointer<UInt8>?>
    ) {
        var markup = XMLWriter()
        var content = Namespace("")
        for index in stride(from: 0, to: declared.count - 1, by: 2) {
            let uri = declared[index + 1].map { String(cString: $0) } ?? ""
            let prefix = declared[index].map { String(cString: $0) }
            if prefix == nil { content = Namespace(uri) }
            markup.declare(Namespace(uri), as: prefix)
        }
        let declarations = String(decoding: markup.bytes, as: UTF8.self)
        self.declarations = declarations
        elementFollowsSpace = true
        contentAlias = content == .server || content == .component ? content : nil
        guard !resumesStream else { return }
        // RFC 6120 §4.9.3.10: the stream's namespace; §4.9.3.2: its prefix.
        guard uri.map({ String(cString: $0) }) == Namespace.streams.uri else {
            return fail(StreamError(.invalidNamespace, "The stream's namespace is \(Namespace.streams)."))
        }
        guard prefix.map({ String(cString: $0) }) == "stream" else {
            return fail(StreamError(.badNamespacePrefix, "The stream's prefix is stream."))
        }
        guard String(cString: name) == "stream" else {
            return fail(StreamError(.badFormat, "A stream begins with stream:stream."))
        }
        var values: [String: String] = [:]
        for index in stride(from: 0, to: attributes.count - 4, by: 5) {
            guard let name = attributes[index], let value = attributes[index + 3], let end = attributes[index + 4]
            else { continue }
            let prefix = attributes[index + 1].map { String(cString: $0) + ":" } ?? ""
            let bytes = UnsafeBufferPointer(start: value, count: max(0, end - value))
            values[prefix + String(cString: name)] = String(decoding: bytes, as: UTF8.self)
        }
        events.append(
            .opened(
                StreamHeader(
                    to: values["to"], from: values["from"], id: values["id"],
                    version: StreamHeader.version(values["version"]), language: values["xml:lang"],
                    contentNamespace: content),
                declarations: declarations))
    }

    /// Notes where a first-level element begins, and refuses a second stream inside the first.
    private func beginElement(_ name: UnsafePointer<UInt8>, _ uri: UnsafePointer<UInt8>?) {
        if elementFollowsSpace, let input = context.pointee.input?.pointee, let base = input.base, let end = input.cur {
            // The whole start tag is in the buffer, and no other `<` can be inside it.
            var start = end
            while start > base, start.pointee != UInt8(ascii: "<") { start -= 1 }
            elementStart = offset &- (end - start)
        }
        // RFC 6120 §4.8.3: on a server's stream stanzas are in the namespace of servers.
        if contentAlias == .server, let uri, namespaces.namespace(at: uri) == .client {
            fail(StreamError(.invalidNamespace, "Servers speak jabber:server."))
        }
        if namespace(uri) == .streams, SAXParser.bytes(name).elementsEqual("stream".utf8) {
            fail(StreamError(.badFormat, "A stream cannot begin inside another."))
        }
    }

    private func endElement() {
        guard error == nil else { return }
        guard builder.depth > 0 else {
            isClosed = true
            events.append(.closed)
            return stop()
        }
        builder.endElement()
        guard builder.depth == 0 else { return }
        let end = offset
        guard end &- elementStart <= limits.elementBytes else { return failForSize() }
        elementStart = end
        elementFollowsSpace = false
        if let element = builder.finish() { events.append(.element(element)) }
    }

    private func text(_ data: UnsafeBufferPointer<UInt8>) {
        guard error == nil else { return }
        guard builder.depth > 0 else {
            elementFollowsSpace = true
            // RFC 6120 §4.6.1: white space may stand between first-level elements, nothing else may; not even a
            // reference to white space, which ends in a semicolon.
            let input = context.pointee.input?.pointee
            let isReference = input.map { $0.cur > $0.base && $0.cur[-1] == UInt8(ascii: ";") } ?? false
            if isReference || !data.allSatisfy(\.isXMLSpace) { fail(SAXParser.textBetweenStanzas) }
            return
        }
        builder.text(data)
    }

    private func namespace(_ uri: UnsafePointer<UInt8>?) -> Namespace {
        guard let uri else { return "" }
        let namespace = namespaces.namespace(at: uri)
        guard let contentAlias, namespace == contentAlias else { return namespace }
        return .client
    }

    private static let textBetweenStanzas = StreamError(.badFormat, "Text stands between stanzas.")

    private static func restricted(_ what: String) -> StreamError {
        StreamError(.restrictedXML, "\(what) are not allowed.")
    }

    private static func bytes(_ string: UnsafePointer<UInt8>) -> UnsafeBufferPointer<UInt8> {
        UnsafeBufferPointer(start: string, count: Int(xmlStrlen(string)))
    }

    private static func streamError(for code: Int32) -> StreamError {
        switch xmlParserErrors(rawValue: UInt32(bitPattern: code)) {
        case XML_ERR_INVALID_ENCODING, XML_ERR_UNKNOWN_ENCODING, XML_ERR_UNSUPPORTED_ENCODING, XML_I18N_CONV_FAILED:
            // RFC 6120 §4.9.3.22 counts bytes that are no UTF-8 here.
            StreamError(.unsupportedEncoding, "The stream is not UTF-8.")
        case XML_ERR_UNDECLARED_ENTITY, XML_WAR_UNDECLARED_ENTITY, XML_ERR_ENTITY_LOOP:
            StreamError(.restrictedXML, "Only the predefined entities may be used.")
        case XML_ERR_RESERVED_XML_NAME:
            // A second XML declaration, among other things that look like one.
            restricted("Processing instructions")
        default:
            StreamError(.notWellFormed)
        }
    }

    // MARK: Callbacks

    /// The parser behind the user data that libxml2 hands back: set in `init`, and callbacks run only inside
    /// `xmlParseChunk`, which `self` calls.
    private static func from(_ data: UnsafeMutableRawPointer?) -> SAXParser? {
        data.map { Unmanaged<SAXParser>.fromOpaque($0).takeUnretainedValue() }
    }

    private static var handler: xmlSAXHandler {
        var handler = xmlSAXHandler()
        handler.initialized = martlet_sax2_magic()
        handler.startDocument = { SAXParser.from($0)?.startDocument() }
        handler.startElementNs = { data, name, prefix, uri, declarationCount, declarations, count, _, attributes in
            guard let name else { return }
            SAXParser.from(data)?.startElement(
                name, prefix, uri,
                UnsafeBufferPointer(start: declarations, count: Int(declarationCount) * 2),
                UnsafeBufferPointer(start: attributes, count: Int(count) * 5))
        }
        handler.endElementNs = { data, _, _, _ in SAXParser.from(data)?.endElement() }
        handler.characters = { data, text, length in
            SAXParser.from(data)?.text(UnsafeBufferPointer(start: text, count: max(0, Int(length))))
        }
        handler.ignorableWhitespace = handler.characters
        handler.cdataBlock = handler.characters
        // RFC 6120 §11.1: no comments, processing instructions, DTD subsets or entity references.
        handler.comment = { data, _ in SAXParser.from(data)?.fail(SAXParser.restricted("Comments")) }
        handler.processingInstruction = { data, _, _ in
            SAXParser.from(data)?.fail(SAXParser.restricted("Processing instructions"))
        }
        handler.internalSubset = { data, _, _, _ in
            SAXParser.from(data)?.fail(SAXParser.restricted("Document types"))
        }
        handler.reference = { data, _ in SAXParser.from(data)?.fail(SAXParser.restricted("Entity references")) }
        handler.serror = { data, error in
            // A namespace name need not be a URI that libxml2 understands (XML Namespaces §2.2).
            guard let error, error.pointee.code != XML_WAR_NS_URI.rawValue,
                error.pointee.level != XML_ERR_WARNING || error.pointee.code == XML_WAR_UNDECLARED_ENTITY.rawValue
            else { return }
            SAXParser.from(data)?.fail(code: error.pointee.code)
        }
        return handler
    }
}

extension UInt8 {
    /// White space as XML 1.0 §2.3 defines it.
    var isXMLSpace: Bool { self == 0x20 || self == 0x0A || self == 0x0D || self == 0x09 }
}
