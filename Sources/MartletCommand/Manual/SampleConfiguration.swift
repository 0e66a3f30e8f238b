import ServerKit

/// The configuration that `setup` writes and that comes as a sample: what has to be said is said, everything else
/// stands there as a comment, with its default.
struct SampleConfiguration {
    let modules: [any Module.Type]
    var host = "example.org"
    /// What `setup` fills in.
    var admin: JID?
    var data: String?
    var certificates: String?

    var text: String {
        var writer = SampleWriter()
        writer.prose(
            "The configuration of Martlet. Only \"hosts\" is needed; everything else has the default that is shown. "
                + "Take the # off a line to change it.",
            "\"martlet check\" looks for mistakes, \"martlet reload\" puts changes into force while clients stay "
                + "connected, \"martlet modules info NAME\" explains a module.")
        writer.yaml(inForce)
        let said = Set(inForceKeys)
        // The modules follow one by one.
        let components = sorted.filter { $0.info.scope == .component }
        writer.options(
            ServerConfiguration.descriptions(listeners: ServerConfiguration.knownListeners)
                .filter { !said.contains($0.key) && $0.key != "modules" }
                .filter { $0.key != "components" || components.isEmpty })
        var rest = SampleWriter()
        if !components.isEmpty {
            rest.components(
                components.map { ($0.info.subdomain, Self.describe($0), $0.info.group == .recommended) }, of: host)
        }
        rest.modules(sorted.filter { $0.info.scope != .component }.map(Self.describe))
        return writer.text + "\n" + rest.text
    }

    private var inForceKeys: [String] {
        ["hosts"]
            + [("admins", admin != nil), ("data_directory", data != nil), ("certificates", certificates != nil)]
            .filter(\.1).map(\.0)
    }

    private var inForce: String {
        var lines = ["hosts:", "  \(host.yamlScalar): {}"]
        if let admin { lines.append("admins: [\(admin.description.yamlScalar)]") }
        if let data { lines.append("data_directory: \(data.yamlScalar)") }
        if let certificates { lines.append("certificates: \(certificates.yamlScalar)") }
        return lines.joined(separator: "\n")
    }

    /// By group, then by name.
    private var sorted: [any Module.Type] { modules.inManualOrder }

    private static func describe(_ module: any Module.Type) -> SampleWriter.Module {
        SampleWriter.Module(
            module.info.name, module.info.summary, isOnByDefault: module.info.isOnByDefault,
            options: module.optionDescriptions)
    }
}

extension [any Module.Type] {
    /// By group, within a group by name.
    var inManualOrder: [any Module.Type] {
        ModuleInfo.Group.allCases.flatMap { group in
            filter { $0.info.group == group }.sorted { $0.info.name < $1.info.name }
        }
    }
}
