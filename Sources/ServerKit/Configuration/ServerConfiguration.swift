import XMPP

/// The whole configuration file, read and checked as far as the kernel can; the options of modules stay as they were
/// written until the modules read them.
public struct ServerConfiguration: Sendable {
    /// Addresses that may administer the server.
    public let admins: [JID]
    /// The directory of all state.
    public let dataDirectory: String
    /// The directory with certificates and keys; nil leaves them to the hosts.
    public let certificates: String?
    /// The log.
    public let log: Log
    /// When a write counts as done.
    public let durability: Durability
    /// The name of the storage driver's module.
    public let storage: String
    /// The domains with accounts, in the order of the file.
    public let hosts: [HostConfiguration]
    /// The domains that modules serve, in the order of the file.
    public let components: [ComponentConfiguration]
    /// What the file says about modules on all hosts.
    public let modules: ModuleSettings
    /// Where each listener listens, by name; all that the caller knows are there.
    public let listen: [String: [ListenAddress]]

    /// What is logged, and how.
    public struct Log: Sendable {
        /// From the chattiest to the quietest.
        public enum Level: String, Sendable, CaseIterable { case trace, debug, info, notice, warning, error }
        /// For people or for programs.
        public enum Format: String, Sendable, CaseIterable { case text, json }

        /// The least important level that is logged.
        public let level: Level
        /// How a line looks.
        public let format: Format
    }

    /// When a write counts as done.
    public enum Durability: String, Sendable, CaseIterable {
        /// Once it is on the disk: what was acknowledged survives a power cut.
        case full
        /// Once the operating system has it: what was acknowledged survives a crash of the server.
        case relaxed
    }

    /// A service that listens, as the caller knows it.
    public struct Listener: Sendable {
        /// The name under `listen:`.
        public let name: String
        /// Where it listens when the file does not say.
        public let addresses: [ListenAddress]
        /// The sentence for the administrator.
        public let sentence: String
        /// The module that must serve some component, or nobody listens; nil for what does not depend on one.
        public let module: String?
        /// Whether secrets cross it in plain text, so that it belongs on the loopback interface.
        public let isPlain: Bool

        /// A service under `name` that listens on `addresses` by default.
        public init(
            _ name: String, default addresses: [ListenAddress], ifServing module: String? = nil, isPlain: Bool = false,
            _ sentence: String
        ) {
            self.name = name
            self.addresses = addresses
            self.sentence = sentence
            self.module = module
            self.isPlain = isPlain
        }

        /// Whether anything would come of listening.
        public func isUsed(by configuration: ServerConfiguration) -> Bool {
            Self.isUsed(self, configuration.components)
        }

        fileprivate static func isUsed(_ listener: Listener, _ components: [ComponentConfiguration]) -> Bool {
            listener.module.map { name in components.contains { $0.module == name } } ?? true
        }
    }

    /// Asks for every option of the file's top level. `listeners` are the services there are; the file may name no
    /// other, so that nobody believes a port open that is not.
    public init(_ config: inout OptionReader, listeners: [Listener]) {
        admins = config.jids("admins", "Addresses that may administer the server.")
        dataDirectory = config.path(
            "data_directory", default: "/var/lib/martlet", "Where accounts, archives and all other state live.")
        certificates = config.optionalPath(
            "certificates", "A directory with certificates and keys (PEM), found by the names in them.")
        log = config.section("log", "What is logged, and how.") { config in
            Log(
                level: config.choice("level", default: .info, "The least important level that is logged."),
                format: config.choice("format", default: .text, "Lines for people or for programs."))
        }
        durability = config.choice(
            "durability", default: .full, "Whether acknowledged stanzas survive a power cut, or only a crash.")
        storage = config.string("storage", default: "sqlite", "The module that stores everything.")
        let wanted = config.section("listen", "Where to listen: ports, addresses with ports, lists of them, or off.") {
            config in
            var addresses: [String: [ListenAddress]] = [:]
            for listener in listeners {
                addresses[listener.name] = config.listen(
                    listener.name, default: listener.addresses, listener.sentence)
            }
            return addresses
        }
        var domains = DomainNames()
        hosts = Self.hosts(&config, &domains)
        components = Self.components(&config, &domains)
        let serving = components
        let unused = listeners.filter { !Listener.isUsed($0, serving) }
        listen = wanted.merging(unused.map { ($0.name, []) }) { $1 }
        modules = .read("modules", "Modules on all hosts: on, off or options.", from: &config)
    }

    /// Reads the bytes of a file and everything that is wrong with them, as far as the kernel can tell. The
    /// configuration is nil when the file could not be read to its end; with problems it should not be used.
    public static func read(
        bytes: [UInt8], file: String, listeners: [Listener]
    ) -> (configuration: ServerConfiguration?, problems: [ConfigProblem]) {
        read(YAMLReader.parse(bytes: bytes, file: file), listeners)
    }

    /// Reads the file at `path` likewise.
    public static func read(
        contentsOf path: String, listeners: [Listener]
    ) -> (configuration: ServerConfiguration?, problems: [ConfigProblem]) {
        read(YAMLReader.parse(contentsOf: path), listeners)
    }

    /// The options of the top level, for the sample file and the manual. Hosts, components and modules are shown as
    /// groups of one example each.
    public static func descriptions(listeners: [Listener]) -> [OptionDescription] {
        var reader = OptionReader.describing()
        _ = ServerConfiguration(&reader, listeners: listeners)
        return reader.descriptions
    }

    /// What holds for a module on a host: the server's setting with the host's own laid over it. Nil when neither
    /// mentions the module, and its own default holds. Without a host, the server's setting.
    public func setting(module: String, host: String? = nil) -> ModuleSetting? {
        let server = modules[module]
        guard let host, let own = hosts.first(where: { $0.name == host })?.modules[module] else { return server }
        return server?.overridden(by: own) ?? own
    }

    /// The options of a component: those of its module under `modules:` with the component's own laid over them.
    public func options(of component: ComponentConfiguration) -> ConfigNode {
        guard case .options(let server)? = modules[component.module] else { return component.options }
        return server.merging(component.options)
    }

    /// A problem for every module that is mentioned and not in `knownModules`.
    public func problems(knownModules: [String]) -> [ConfigProblem] {
        let named = components.filter { !knownModules.contains($0.module) }.map { component in
            component.moduleNode.problem(
                "there is no module \(component.module.quotedForMessage).",
                suggestion: Suggestion.nearest(to: component.module, in: knownModules))
        }
        return modules.problems(knownModules: knownModules)
            + hosts.flatMap { $0.modules.problems(knownModules: knownModules) } + named
    }

    private static func read(
        _ file: (root: ConfigNode?, problems: [ConfigProblem]), _ listeners: [Listener]
    ) -> (configuration: ServerConfiguration?, problems: [ConfigProblem]) {
        guard let root = file.root else { return (nil, ConfigProblems(file.problems).all) }
        var reader = OptionReader(root)
        let configuration = ServerConfiguration(&reader, listeners: listeners)
        reader.finish()
        return (configuration, ConfigProblems(file.problems + reader.problems).all)
    }

    private static func hosts(
        _ config: inout OptionReader, _ domains: inout DomainNames
    ) -> [HostConfiguration] {
        let sentence = "The domains whose accounts live here."
        if config.isDescribing {
            return config.map("hosts", example: "example.org", sentence) { name, config in
                HostConfiguration(name: name, position: ConfigPosition(file: ""), &config)
            }.map(\.value)
        }
        return config.rawEntries("hosts", sentence).compactMap { entry in
            guard let name = domains.add(entry, &config) else { return nil }
            return config.read(entry.value) { HostConfiguration(name: name, position: entry.position, &$0) }
        }
    }

    private static func components(
        _ config: inout OptionReader, _ domains: inout DomainNames
    ) -> [ComponentConfiguration] {
        config.rawEntries("components", "Domains that a module serves: { module: NAME, and its options }.")
            .compactMap { entry in
                guard let name = domains.add(entry, &config) else { return nil }
                return ComponentConfiguration(name: name, entry, &config)
            }
    }
}

/// The domains seen so far: each may be served once, whatever its spelling.
private struct DomainNames {
    private var lines: [String: Int] = [:]

    /// The domain in its normal form; nil, with a problem, when it is none or already taken.
    mutating func add(_ entry: ConfigEntry, _ config: inout OptionReader) -> String? {
        guard let name = JID(domain: entry.key)?.domainpart else {
            config.add(entry.problem("\(entry.key.quotedForMessage) is not a domain name such as example.org."))
            return nil
        }
        if let line = lines[name] {
            config.add(entry.problem("the domain \(name) was given before, on line \(line)."))
            return nil
        }
        lines[name] = entry.position.line
        return name
    }
}

extension ServerConfiguration {
    /// The services that listen, with their usual ports.
    public static let knownListeners = [
        Listener("c2s", default: [ListenAddress(port: 5222)], "Clients that begin in plain text and change to TLS."),
        Listener("c2s_tls", default: [ListenAddress(port: 5223)], "Clients that begin with TLS (XEP-0368)."),
        Listener(
            "s2s", default: [ListenAddress(port: 5269)], "Other servers that begin in plain text and change to TLS."),
        Listener("s2s_tls", default: [ListenAddress(port: 5270)], "Other servers that begin with TLS (XEP-0368)."),
        Listener(
            "component", default: [ListenAddress(host: "127.0.0.1", port: 5347)], ifServing: "external", isPlain: true,
            "External components, in plain text (XEP-0114), if there are any."),
        Listener(
            "component_tls", default: [], ifServing: "external", "External components on other machines, with TLS."),
        Listener(
            "proxy65", default: [ListenAddress(port: 5000)], ifServing: "proxy65",
            "File transfers through a component with the module proxy65 (XEP-0065), if there is one."),
    ]
}
