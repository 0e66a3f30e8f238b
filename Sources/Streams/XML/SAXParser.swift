import CLibXML2
import XMPP

/// libxml2's push parser, turned into first-level elements. RFC 6120 §11.
///
/// Not safe to share between threads: each event loop has a pool of its own. In SAX mode libxml2 has no limits of its
/// own worth the name, so depth, bytes, attributes and namespaces are counted here, and what RFC 6120 §11.1 forbids
/// stops the parser at once.
final class SAXParser {
    enum Event {
        /// The root's start tag: its namespace declarations as markup, for taking the stream up again in another parser.
        case opened(StreamHeader, declarations: String)
        case element(Element)
        case closed
    }

    private(set) var events: [Event] = []
    private(set) var error: StreamError?
    var limits = XMLLimits.unauthenticated
    /// Whether a first-level element is being read.
    var isInsideElement: Bool { builder.depth > 0 }

    private let context: xmlParserCtxtPtr
    private var builder = TapeBuilder()
    private var namespaces: [UnsafePointer<UInt8>: Namespace] = [:]
    private var rootIsOpen = false
    private var resumesStream = false
    private var contentIsServer = false
    private var elementJustEnded = false

    init?() {
        var handler = SAXParser.handler
        guard let context = xmlCreatePushParserCtxt(&handler, nil, nil, 0, nil) else { return nil }
        self.context = context
        context.pointee.userData = Unmanaged.passUnretained(self).toOpaque()
        useOptions()
    }

    deinit {
        xmlFreeParserCtxt(context)
    }

    /// How many names the parser's dictionary holds; it never shrinks, so a parser that saw many is thrown away.
    var nameCount: Int { Int(xmlDictSize(context.pointee.dict)) }

    /// Makes the parser read a new document. With `declarations`, one whose stream header was read before.
    func reset(resuming declarations: String? = nil) {
        xmlCtxtResetPush(context, nil, 0, nil, nil)
        useOptions()
        builder.reset()
        events.removeAll(keepingCapacity: true)
        error = nil
        rootIsOpen = false
        elementJustEnded = false
        guard let declarations else {
            contentIsServer = false
            return
        }
        resumesStream = true
        var header = "<stream:stream" + declarations + ">"
        header.withUTF8 { feed(UnsafeRawBufferPointer($0)) }
        resumesStream = false
    }

    func takeEvents() -> [Event] {
        defer { events.removeAll(keepingCapacity: true) }
        return events
    }

    /// Parses a piece of the stream. Events gather in ``events``; after ``error`` is set, nothing more is read.
    func feed(_ bytes: UnsafeRawBufferPointer) {
        guard error == nil, let base = bytes.bindMemory(to: CChar.self).baseAddress else { return }
        let status = xmlParseChunk(context, base, Int32(truncatingIfNeeded: bytes.count), 0)
        if status != 0, error == nil { error = SAXParser.streamError(for: status) }
    }

    /// Whether an element ended during the last ``feed(_:)``; asking forgets it.
    func tookElementEnd() -> Bool {
        defer { elementJustEnded = false }
        return elementJustEnded
    }

    /// What was fed and not yet parsed.
    var unparsed: UnsafeBufferPointer<UInt8> {
        guard let input = context.pointee.input, let current = input.pointee.cur, let end = input.pointee.end,
            current < end
        else { return UnsafeBufferPointer(start: nil, count: 0) }
        return UnsafeBufferPointer(start: current, count: end - current)
    }

    private func useOptions() {
        // NOENT replaces the predefined entities inside attribute values; no others can be declared.
        let options = XML_PARSE_NOENT.rawValue | XML_PARSE_NONET.rawValue | XML_PARSE_IGNORE_ENC.rawValue
        xmlCtxtUseOptions(context, Int32(options))
    }

    private func fail(_ error: StreamError) {
        guard self.error == nil else { return }
        self.error = error
        xmlStopParser(context)
    }

    // MARK: Events of libxml2

    private func startDocument() {
        // RFC 6120 §11.6: UTF-8 only.
        guard let declared = context.pointee.encoding ?? context.pointee.input?.pointee.encoding else { return }
        let name = String(cString: declared).lowercased()
        if name != "utf-8", name != "utf8" { fail(StreamError(.unsupportedEncoding, "Only UTF-8 is spoken here.")) }
    }

    private func startElement(
        _ name: UnsafePointer<UInt8>, _ prefix: UnsafePointer<UInt8>?, _ uri: UnsafePointer<UInt8>?,
        _ declarations: UnsafeBufferPointer<UnsafePointer<UInt8>?>,
        _ attributes: UnsafeBufferPointer<UnsafePointer<UInt8>?>
    ) {
        guard error == nil else { return }
        guard prefix == nil || uri != nil else {
            return fail(StreamError(.notWellFormed, "An element's namespace prefix is not declared."))
        }
        guard attributes.count / 5 + declarations.count / 2 <= limits.attributes else {
            return fail(StreamError(.policyViolation, "An element has too many attributes."))
        }
        guard rootIsOpen else {
            rootIsOpen = true
            return openRoot(name, prefix, uri, declarations, attributes)
        }
        guard builder.depth < limits.depth else {
            return fail(StreamError(.policyViolation, "Elements are nested too deeply."))
        }
        guard builder.namespaceCount <= limits.namespaces, builder.count <= limits.elementBytes &* 6 else {
            return fail(StreamError(.policyViolation, "An element uses too much of something."))
        }
        builder.startElement(SAXParser.bytes(name), namespace(uri))
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
        if prefixName != "xml", !stride(from: 0, to: earlier.count, by: 5).contains(where: { earlier[$0 + 1] == prefix }) {
            var declaration = "xmlns:" + prefixName
            declaration.withUTF8 { builder.attribute($0, SAXParser.bytes(uri)) }
        }
        var qualified = prefixName + ":" + String(cString: name)
        qualified.withUTF8 { builder.attribute($0, value) }
    }

    private func openRoot(
        _ name: UnsafePointer<UInt8>, _ prefix: UnsafePointer<UInt8>?, _ uri: UnsafePointer<UInt8>?,
        _ declarations: UnsafeBufferPointer<UnsafePointer<UInt8>?>,
        _ attributes: UnsafeBufferPointer<UnsafePointer<UInt8>?>
    ) {
        var markup = ""
        var content = Namespace("")
        for index in stride(from: 0, to: declarations.count - 1, by: 2) {
            let uri = declarations[index + 1].map { String(cString: $0) } ?? ""
            let escaped = Element("a", .client, ["u": uri]).xml
            let value = escaped.dropFirst("<a xmlns='jabber:client' u=".utf8.count).dropLast("/>".utf8.count)
            if let prefix = declarations[index] {
                markup += " xmlns:\(String(cString: prefix))=\(value)"
            } else {
                content = Namespace(uri)
                markup += " xmlns=\(value)"
            }
        }
        contentIsServer = content == .server
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
                declarations: markup))
    }

    private func endElement() {
        guard error == nil else { return }
        guard builder.depth > 0 else {
            events.append(.closed)
            return
        }
        builder.endElement()
        guard builder.depth == 0 else { return }
        elementJustEnded = true
        if let element = builder.finish() { events.append(.element(element)) }
    }

    private func text(_ data: UnsafeBufferPointer<UInt8>) {
        guard error == nil else { return }
        guard builder.depth > 0 else {
            // RFC 6120 §4.6.1: white space may stand between first-level elements, nothing else may.
            let isSpace = data.allSatisfy { $0 == 0x20 || $0 == 0x0A || $0 == 0x0D || $0 == 0x09 }
            if !isSpace { fail(StreamError(.badFormat, "Text stands between stanzas.")) }
            return
        }
        builder.text(data)
        if builder.count > limits.elementBytes &* 6 {
            fail(StreamError(.policyViolation, "A stanza is too large."))
        }
    }

    private func namespace(_ uri: UnsafePointer<UInt8>?) -> Namespace {
        guard let uri else { return "" }
        if let known = namespaces[uri] { return contentIsServer && known == .server ? .client : known }
        let namespace = Namespace(String(cString: uri))
        namespaces[uri] = namespace
        return contentIsServer && namespace == .server ? .client : namespace
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
        handler.comment = { data, _ in
            SAXParser.from(data)?.fail(StreamError(.restrictedXML, "Comments are not allowed."))
        }
        handler.processingInstruction = { data, _, _ in
            SAXParser.from(data)?.fail(StreamError(.restrictedXML, "Processing instructions are not allowed."))
        }
        handler.internalSubset = { data, _, _, _ in
            SAXParser.from(data)?.fail(StreamError(.restrictedXML, "Document types are not allowed."))
        }
        handler.reference = { data, _ in
            SAXParser.from(data)?.fail(StreamError(.restrictedXML, "Only the predefined entities may be used."))
        }
        handler.serror = { data, error in
            guard let error, error.pointee.level != XML_ERR_WARNING || error.pointee.code == XML_WAR_UNDECLARED_ENTITY.rawValue
            else { return }
            SAXParser.from(data)?.fail(SAXParser.streamError(for: error.pointee.code))
        }
        return handler
    }
}
