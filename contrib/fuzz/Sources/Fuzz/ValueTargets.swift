import ServerKit

extension FuzzTarget {
    /// JIDs and the PRECIS profiles: what was prepared once stays as it is.
    static let address = FuzzTarget(name: "address") { bytes in
        let text = bytes.text
        if let jid = JID(text) {
            guard let again = JID(jid.description) else { fatalError("Not a JID any more: \(jid)") }
            require(again == jid && again.description == jid.description, "\(jid) became \(again)")
            for part in [jid.localpart, jid.domainpart, jid.resourcepart] {
                require((1...1_023).contains(part?.utf8.count ?? 1), "A part of \(jid) has the wrong length.")
            }
        }
        _ = bytes.withMemoryRebound(to: UInt8.self) { JID(utf8: $0) }
        let profiles: [(String) throws -> String] = [
            { try PRECIS.usernameCaseMapped($0) }, { try PRECIS.usernameCasePreserved($0) },
            { try PRECIS.opaqueString($0) }, { try PRECIS.nickname($0) }, { try PRECIS.nicknameForComparison($0) },
        ]
        for (index, profile) in profiles.enumerated() {
            guard let prepared = try? profile(text) else { continue }
            let again = try? profile(prepared)
            // Preparation may take a few rounds (RFC 8265 §6.2): one more must not fail for what servers store.
            require(index > 2 || again.map { $0.utf8.elementsEqual(prepared.utf8) } == true,
                "Profile \(index): \(prepared.debugDescription) became \(again.debugDescription)")
        }
    }

    /// Data forms, result sets and stanzas from any element; dates from any text.
    static let values = FuzzTarget(name: "values") { bytes in
        let text = bytes.text
        if let timestamp = Timestamp(text) {
            require(Timestamp(timestamp.description) == timestamp, "\(text) became \(timestamp)")
        }
        if let timestamp = Timestamp(legacy: text) { _ = timestamp.advanced(by: .seconds(Int64.max)) }
        _ = (CivilDate(text), TimeOfDay(text))
        guard let element = try? Element.parse(bytes) else { return }
        for element in [element] + element.children {
            if let form = try? DataForm(element) {
                guard let again = try? DataForm(form.element) else { fatalError("Not a form any more: \(form.element)") }
                require(again.element.xml == form.element.xml, "\(form.element)\nbecame\n\(again.element)")
                var submission = form
                submission.kind = .submit
                _ = form.problems(in: submission)
                _ = try? form.read(submission)
            }
            if let request = try? ResultSetRequest(element) { _ = request.element }
            if let result = try? ResultSetResponse(element) { _ = result.element }
            _ = try? Delay(element)
            _ = StanzaError(element).element
            _ = StreamError(element).element
            if let stanza = try? Stanza.parse(element) {
                var writer = XMLWriter()
                writer.write(stanza)
                require((try? Element.parse(writer.bytes)) != nil, "Not readable: \(element)")
            }
        }
    }

    /// Base 64 and base 16, and back.
    static let encoding = FuzzTarget(name: "encoding") { bytes in
        require(Base64.decode(Base64.encode(bytes)).map { $0.elementsEqual(bytes) } == true, "Base 64")
        require(Hex.decode(Hex.encode(bytes)).map { $0.elementsEqual(bytes) } == true, "Base 16")
        let text = bytes.text
        if let decoded = Base64.decode(text) { require(Base64.decode(Base64.encode(decoded)) == decoded, "Base 64") }
        if let decoded = Hex.decode(text) { require(Hex.decode(Hex.encode(decoded)) == decoded, "Base 16") }
    }

    /// A configuration, as the administrator wrote it.
    static let configuration = FuzzTarget(name: "configuration") { bytes in
        let (root, problems) = YAMLReader.parse(bytes: Array(bytes), file: "fuzz.yaml")
        require(root != nil || !problems.isEmpty, "Nothing was read, and nothing was said.")
        let listener = ServerConfiguration.Listener("c2s", default: [], "Clients.")
        _ = ServerConfiguration.read(bytes: Array(bytes), file: "fuzz.yaml", listeners: [listener])
    }
}
