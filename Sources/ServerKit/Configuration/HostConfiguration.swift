import XMPP

/// One domain whose accounts live here: `hosts: { example.org: { … } }`.
public struct HostConfiguration: Sendable {
    /// How clients of a host log in.
    public enum Authentication: String, Sendable, CaseIterable {
        /// With an account of the server.
        case `internal`
        /// Without an account, under a random address that ends with the stream. RFC 6120 §6.3.3, XEP-0175.
        case anonymous
    }

    /// The domain, normalised.
    public let name: String
    /// Where the domain was written.
    public let position: ConfigPosition
    /// Administrators of this host alone.
    public let admins: [JID]
    /// How clients log in.
    public let authentication: Authentication
    /// The file with the certificate chain in PEM; nil looks in the certificate directory.
    public let certificate: String?
    /// The file with the certificate's key in PEM; nil looks beside the certificate.
    public let certificateKey: String?
    /// What the host says about modules, before the server's settings are merged in.
    public let modules: ModuleSettings

    init(name: String, position: ConfigPosition, _ config: inout OptionReader) {
        self.name = name
        self.position = position
        admins = config.jids("admins", "Administrators of this host alone.")
        authentication = config.choice(
            "authentication", default: Authentication.internal,
            "Whether clients need an account or get a random address.")
        certificate = config.optionalPath("certificate", "Certificate chain (PEM), if not in the directory.")
        certificateKey = config.optionalPath("certificate_key", "Its key (PEM), if not beside it.")
        modules = .read("modules", "Modules that this host sets differently.", from: &config)
        if certificateKey != nil && certificate == nil {
            config.report("certificate_key", "a key without a certificate; add \"certificate\".")
        }
    }
}

extension HostConfiguration {
    /// What holds for the domain of a component: nobody logs in there, and the server's administrators are its own.
    init(component: ComponentConfiguration) {
        name = component.name
        position = component.position
        admins = []
        authentication = .internal
        certificate = nil
        certificateKey = nil
        modules = ModuleSettings(entries: [])
    }
}

/// One domain that a module serves: `components: { conference.example.org: { module: muc } }`.
public struct ComponentConfiguration: Sendable {
    /// The domain, normalised.
    public let name: String
    /// Where the domain was written.
    public let position: ConfigPosition
    /// The module's name.
    public let module: String
    /// The other keys: the module's options, a mapping.
    public let options: ConfigNode
    let moduleNode: ConfigNode

    /// Reads a component; nil, with a problem, when it names no module.
    init?(name: String, _ entry: ConfigEntry, _ config: inout OptionReader) {
        let node = entry.value
        let expected = "expected \"module: NAME\", the module that serves this domain"
        guard case .mapping(let entries) = node.value else {
            config.add(entry.problem("\(expected), found \(node.outline)."))
            return nil
        }
        guard let moduleNode = node["module"], let module = moduleNode.text else {
            config.add(entry.problem("\(expected)."))
            return nil
        }
        self.name = name
        self.module = module
        self.moduleNode = moduleNode
        position = entry.position
        options = ConfigNode(.mapping(entries.filter { $0.key != "module" }), at: node.position, path: node.path)
    }
}
