/// What a check found, as lines for a person or as data.
struct Findings: Codable, Sendable {
    enum Grade: String, Codable, Sendable {
        case fine
        /// Worth knowing; the check passes.
        case hint
        /// To be mended; the check fails.
        case problem
    }

    struct Finding: Codable, Sendable {
        let grade: Grade
        let text: String
    }

    private(set) var findings: [Finding] = []

    var hasProblems: Bool { findings.contains { $0.grade == .problem } }

    mutating func fine(_ text: String) { findings.append(Finding(grade: .fine, text: text)) }
    mutating func hint(_ text: String) { findings.append(Finding(grade: .hint, text: text)) }
    mutating func problem(_ text: String) { findings.append(Finding(grade: .problem, text: text)) }

    /// One line for each, those that need attention marked.
    var text: String {
        findings.map { finding in
            switch finding.grade {
            case .fine: "  ok    \(finding.text)"
            case .hint: "  note  \(finding.text)"
            case .problem: "  BAD   \(finding.text)"
            }
        }.joined(separator: "\n")
    }
}
