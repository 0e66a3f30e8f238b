/// What is wrong with a field of a submission.
public struct DataFormProblem: Error, Sendable, Hashable, CustomStringConvertible {
    /// The name of the field.
    public let field: String
    /// The end of a sentence, such as "is required".
    public let reason: String

    public init(_ field: String, _ reason: String) {
        self.field = field
        self.reason = reason
    }

    public var description: String { "The field \(field) \(reason)." }

    /// XEP-0004 §4 asks for `not-acceptable`.
    public var stanzaError: StanzaError { .notAcceptable(description) }
}

extension DataForm {
    /// Checks a submission against this form, whose fields say what is allowed.
    ///
    /// - Returns: the submitted fields that this form has, each with this form's type, in this form's order. What was
    ///   left out stays out (XEP-0004 §3.5); read the rest with ``bool(_:)``, ``int(_:in:)`` and their like.
    /// - Throws: `.badRequest` when it is no submission or one for another FORM_TYPE (XEP-0068 §4.3),
    ///   `.notAcceptable` naming the first field that is wrong.
    public func read(_ submission: DataForm) throws(StanzaError) -> DataForm {
        guard submission.kind == .submit else { throw .badRequest("A submitted form was expected.") }
        if let formType, let other = submission.formType, other != formType {
            throw .badRequest("The form has the wrong FORM_TYPE.")
        }
        if let problem = problems(in: submission).first { throw problem.stanzaError }
        var result = DataForm(.submit)
        for declared in fields {
            guard let name = declared.name, var field = submission[name] else { continue }
            field.kind = declared.kind ?? .textSingle
            result.fields.append(field)
        }
        return result
    }

    /// Everything that is wrong with a submission of this form, in this form's order.
    public func problems(in submission: DataForm) -> [DataFormProblem] {
        fields.compactMap { declared in
            guard let name = declared.name, declared.kind != .fixed, name != DataFormField.formTypeName else {
                return nil
            }
            return declared.problem(with: submission[name]?.values ?? []).map { DataFormProblem(name, $0) }
        }
    }
}

extension DataFormField {
    /// What is wrong with these values for this field; nil when they are right.
    func problem(with values: [String]) -> String? {
        let kind = kind ?? .textSingle
        guard kind.isMulti || values.count <= 1 else { return "has more than one value" }
        let filled = values.filter { !$0.isEmpty }
        guard !filled.isEmpty else { return isRequired ? "is required" : nil }
        switch kind {
        case .boolean:
            if filled.contains(where: { Bool(formValue: $0.trimmedXMLSpace) == nil }) { return "is no boolean" }
        case .jidSingle, .jidMulti:
            if filled.contains(where: { JID($0.trimmedXMLSpace) == nil }) { return "is no JID" }
        case .listSingle, .listMulti:
            if !isOpen, filled.contains(where: { value in !options.contains { $0.value == value } }) {
                return "is none of the options"
            }
            if kind == .listMulti, let range = validation?.listRange {
                if let min = range.min, filled.count < min { return "needs at least \(min) values" }
                if let max = range.max, filled.count > max { return "takes at most \(max) values" }
            }
        case .fixed, .hidden, .textMulti, .textPrivate, .textSingle: break
        }
        guard let validation else { return nil }
        // XEP-0122 §3.2: with basic validation the lines of a text are one value, otherwise each is one.
        let units = kind == .textMulti && !isOpen ? [filled.joined(separator: "\n")] : filled
        return units.lazy.compactMap { validation.problem(with: $0) }.first
    }

    /// XEP-0122 §3.2: every method but basic implies open.
    private var isOpen: Bool {
        switch validation?.method {
        case .open, .range, .regex: true
        case .basic, nil: false
        }
    }
}

/// Reading values by type. A field that is missing or has no value (XEP-0004 §3.6) reads as nil; a wrong one throws
/// `.notAcceptable` and names itself.
extension DataForm {
    /// The first value as it is; "" for a field that was emptied.
    public func text(_ name: String) -> String? {
        self[name].map { $0.value ?? "" }
    }

    /// The values as lines of one text. XEP-0004 §3.3.
    public func lines(_ name: String) -> String? {
        self[name].map { $0.values.joined(separator: "\n") }
    }

    public func bool(_ name: String) throws(StanzaError) -> Bool? {
        guard let text = scalar(name) else { return nil }
        guard let value = Bool(formValue: text) else { throw DataFormProblem(name, "is no boolean").stanzaError }
        return value
    }

    public func int(_ name: String, in range: ClosedRange<Int> = .min ... .max) throws(StanzaError) -> Int? {
        guard let text = scalar(name) else { return nil }
        guard let value = Int(text) else { throw DataFormProblem(name, "is no number").stanzaError }
        guard range.contains(value) else {
            throw DataFormProblem(name, "is not between \(range.lowerBound) and \(range.upperBound)").stanzaError
        }
        return value
    }

    public func jid(_ name: String) throws(StanzaError) -> JID? {
        guard let text = scalar(name) else { return nil }
        guard let jid = JID(text) else { throw DataFormProblem(name, "is no JID").stanzaError }
        return jid
    }

    /// Duplicates are left out (XEP-0004 §3.3). Empty for a field that was emptied.
    public func jids(_ name: String) throws(StanzaError) -> [JID]? {
        guard let field = self[name] else { return nil }
        var result: [JID] = []
        var seen: Set<JID> = []
        for text in field.values.map(\.trimmedXMLSpace) where !text.isEmpty {
            guard let jid = JID(text) else { throw DataFormProblem(name, "holds something that is no JID").stanzaError }
            if seen.insert(jid).inserted { result.append(jid) }
        }
        return result
    }

    public func timestamp(_ name: String) throws(StanzaError) -> Timestamp? {
        guard let text = scalar(name) else { return nil }
        guard let value = Timestamp(text) else { throw DataFormProblem(name, "is no date and time").stanzaError }
        return value
    }

    /// One of the cases of an enumeration.
    public func choice<Choice: RawRepresentable<String>>(
        _ name: String, of type: Choice.Type = Choice.self
    ) throws(StanzaError) -> Choice? {
        guard let text = scalar(name) else { return nil }
        guard let choice = Choice(rawValue: text) else {
            throw DataFormProblem(name, "is none of the options").stanzaError
        }
        return choice
    }

    /// Some of the cases of an enumeration. Empty for a field that was emptied.
    public func choices<Choice: RawRepresentable<String>>(
        _ name: String, of type: Choice.Type = Choice.self
    ) throws(StanzaError) -> [Choice]? {
        guard let field = self[name] else { return nil }
        var result: [Choice] = []
        for text in field.values where !text.isEmpty {
            guard let choice = Choice(rawValue: text) else {
                throw DataFormProblem(name, "holds something that is none of the options").stanzaError
            }
            result.append(choice)
        }
        return result
    }

    private func scalar(_ name: String) -> String? {
        guard let text = self[name]?.value?.trimmedXMLSpace, !text.isEmpty else { return nil }
        return text
    }
}
