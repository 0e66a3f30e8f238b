import ServerKit

/// The files in `etc` that are made from the modules' manifests, and never edited by hand.
struct GeneratedDocs {
    private let modules: [any Module.Type]

    init(_ modules: [any Module.Type]) {
        self.modules = modules
    }

    /// Names and contents.
    var files: [(name: String, text: String)] {
        [
            ("martlet.yaml", SampleConfiguration(modules: modules).text), ("modules.md", manual), ("xeps.md", table),
            ("martlet.doap", DOAPFile(specifications).text),
        ]
    }

    /// What is implemented, each specification once, with the modules that have a part in it.
    private var specifications: [(ModuleInfo.Specification, [String])] {
        var all: [String: (specification: ModuleInfo.Specification, modules: [String])] = [:]
        for module in modules {
            for specification in module.info.implements {
                all[specification.name, default: (specification, [])].modules.append(module.info.name)
            }
        }
        return all.sorted { $0.key < $1.key }.map { ($0.value.specification, $0.value.modules.sorted()) }
    }

    private var manual: String {
        var text = """
            # Modules

            Made from the modules' manifests by `martlet docs`; edit those.


            """
        for group in ModuleInfo.Group.allCases {
            let members = modules.filter { $0.info.group == group }.inManualOrder
            guard !members.isEmpty else { continue }
            text += "## \(group.title)\n\n" + members.map { ModuleManual($0).markdown }.joined()
        }
        return text.trimmed + "\n"
    }

    private var table: String {
        var text = """
            # Specifications

            Made from the modules' manifests by `martlet docs`; edit those.

            | specification | version | module | missing |
            | --- | --- | --- | --- |

            """
        for (specification, modules) in specifications {
            let cells = [
                "[\(specification.name)](\(specification.url))", specification.version ?? "",
                modules.joined(separator: ", "), specification.note ?? "",
            ]
            text += "| " + cells.joined(separator: " | ") + " |\n"
        }
        return text
    }
}

extension ModuleInfo.Group {
    fileprivate var title: String {
        switch self {
        case .core: "Core"
        case .recommended: "Recommended"
        case .optional: "Optional"
        case .administration: "Administration"
        }
    }
}

extension String {
    fileprivate var trimmed: String {
        var text = self
        while text.last?.isNewline == true { text.removeLast() }
        return text
    }
}
