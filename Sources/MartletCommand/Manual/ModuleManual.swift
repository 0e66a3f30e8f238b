import ServerKit

/// What the manual says about a module, from its manifest.
struct ModuleManual {
    private let module: any Module.Type

    init(_ module: any Module.Type) {
        self.module = module
    }

    /// For a terminal.
    var text: String {
        let info = module.info
        var lines = [info.name, "  \(info.summary.asSentence)", ""]
        for specification in info.implements { lines.append("  Implements \(specification.description)") }
        lines.append("  \(info.state); group: \(info.group.rawValue)")
        if info.scope == .server { lines.append("  Loaded once for the server") }
        if !info.requires.isEmpty { lines.append("  Needs \(info.requires.joined(separator: ", "))") }
        let options = module.optionDescriptions
        let place = info.scope == .component
            ? "\"components: { \(info.subdomain).example.org: { module: \(info.name), … } }\""
            : "\"modules: { \(info.name): { … } }\""
        lines += ["", options.isEmpty ? "  It has no options." : "  Options, under \(place):"]
        for option in options.flattened() {
            lines += ["", "  \(option.path): \(option.option.defaultText ?? "(not set)")"]
            lines.append("      \(option.option.explanation)")
        }
        return lines.joined(separator: "\n")
    }

    /// For the manual in Markdown.
    var markdown: String {
        let info = module.info
        var text = "### \(info.name)\n\n\(info.summary.asSentence) \(info.state)."
        if !info.implements.isEmpty {
            text += " Implements " + info.implements.map(\.markdown).joined(separator: ", ") + "."
        }
        if !info.requires.isEmpty { text += " Needs " + info.requires.joined(separator: ", ") + "." }
        text += "\n\n"
        let options = module.optionDescriptions.flattened()
        guard !options.isEmpty else { return text }
        text += "| option | default | |\n| --- | --- | --- |\n"
        for (path, option) in options {
            let value = option.defaultText.map { "`\($0)`" } ?? ""
            text += "| `\(path)` | \(value) | \(option.explanation) |\n"
        }
        return text + "\n"
    }
}

extension ModuleInfo {
    /// Whether it runs when the configuration does not mention it, or where it does.
    fileprivate var state: String {
        if scope == .component { return "Serves a domain of its own, named under \"components:\"" }
        let state = isOnByDefault ? "On by default" : "Off by default"
        guard scope == .hostAndComponent else { return state }
        return state + "; also serves a domain of its own where one under \"components:\" names it"
    }
}

extension ModuleInfo.Specification {
    /// `XEP-0280, version 1.0.1 (partly: no …)`
    var description: String {
        name + (version.map { ", version \($0)" } ?? "") + (note.map { " (partly: \($0))" } ?? "")
    }

    /// Where it can be read.
    var url: String {
        if name.hasPrefix("XEP-") { return "https://xmpp.org/extensions/\(name.lowercased()).html" }
        return "https://www.rfc-editor.org/rfc/rfc\(name.filter(\.isNumber))"
    }

    fileprivate var markdown: String {
        "[\(name)](\(url))" + (version.map { " \($0)" } ?? "") + (note.map { " (partly: \($0))" } ?? "")
    }
}

extension OptionDescription {
    /// The sentence, what it is and what is allowed.
    fileprivate var explanation: String {
        [sentence.asSentence, "A \(type).".correctedArticle, allowed.map { "Allowed: \($0)." } ?? ""]
            .filter { !$0.isEmpty }.joined(separator: " ")
    }
}

extension [OptionDescription] {
    /// The single options with the names that lead to them, joined by dots.
    fileprivate func flattened(_ prefix: String = "") -> [(path: String, option: OptionDescription)] {
        flatMap { option in
            let path = prefix + option.key
            // An item of a list is `key[]`, as in many query languages.
            return option.isGroup
                ? option.options.flattened(path + (option.type == "list" ? "[]." : ".")) : [(path, option)]
        }
    }
}

extension String {
    /// The text with a full stop.
    var asSentence: String {
        guard let last else { return "" }
        return ".!?".contains(last) ? self : self + "."
    }

    fileprivate var correctedArticle: String {
        hasPrefix("A a") || hasPrefix("A i") || hasPrefix("A o") || hasPrefix("A e") ? "An" + dropFirst() : self
    }
}
