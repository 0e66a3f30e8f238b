/// What a module says about itself: the single source for the sample configuration, the manual and the table of XEPs.
public struct ModuleInfo: Sendable {
    /// Where a module is documented in the sample configuration.
    public enum Group: String, Sendable, CaseIterable {
        /// Without it the server does not work.
        case core
        /// Expected of every server.
        case recommended
        /// For those who want it.
        case optional
        /// For administrators.
        case administration
    }

    /// What a module is loaded for.
    public enum Scope: Sendable {
        /// Once for each host with accounts that switches it on.
        case host
        /// The same, and once for each component: it makes sense on any domain.
        case domain
        /// Once for each component that names it. It serves the domain: ``ModuleHost/domain`` is its own.
        case component
        /// Once for each host with accounts that switches it on, and once for each component that names it:
        /// ``ModuleHost/isComponent`` tells.
        case hostAndComponent
        /// Once for the server.
        case server
    }

    /// A specification and how much of it is there.
    public struct Specification: Sendable {
        /// `XEP-0280` or `RFC 6121`.
        public let name: String
        /// The version whose text was followed; nil for RFCs.
        public let version: String?
        /// What is missing; nil when nothing is.
        public let note: String?

        /// A XEP in the version that was followed.
        public static func xep(_ number: Int, _ version: String) -> Specification {
            let digits = String(number)
            let padded = String(repeating: "0", count: max(0, 4 - digits.count)) + digits
            return Specification(name: "XEP-\(padded)", version: version, note: nil)
        }

        public static func rfc(_ number: Int) -> Specification {
            Specification(name: "RFC \(number)", version: nil, note: nil)
        }

        /// The same with what is missing.
        public func partial(_ note: String) -> Specification {
            Specification(name: name, version: version, note: note)
        }
    }

    public let name: String
    /// One line, as an administrator would say it.
    public let summary: String
    public let implements: [Specification]
    public let group: Group
    public let isOnByDefault: Bool
    public let scope: Scope
    /// For those that serve a domain of their own: what it begins with in examples, such as `conference`.
    public let subdomain: String
    /// Modules without which this one cannot work.
    public let requires: [String]
    /// Modules whose handlers run before this one's, when they are loaded.
    public let after: [String]

    public init(
        _ name: String, _ summary: String, implements: [Specification] = [], group: Group = .recommended,
        defaultOn: Bool = true, scope: Scope = .host, subdomain: String? = nil,
        requires: [String] = [], after: [String] = []
    ) {
        self.name = name
        self.summary = summary
        self.implements = implements
        self.group = group
        isOnByDefault = defaultOn && scope != .component
        self.scope = scope
        self.subdomain = subdomain ?? name
        self.requires = requires
        self.after = after
    }
}

/// A feature of the server: one XEP or a tight family of them, switched on and off by a line in the configuration.
///
/// `load` registers what it does on its host facade, which takes all of it back on unload.
@ServerActor
public protocol Module: AnyObject, SendableMetatype {
    associatedtype Options: ModuleOptions
    nonisolated static var info: ModuleInfo { get }
    init(options: Options)
    /// Registers handlers, features, stores and timers.
    ///
    /// - Throws: a sentence for the administrator; what was registered so far is taken back.
    func load(into host: ModuleHost) throws
    /// Takes new options without being loaded anew. Returns false when that cannot be done, and it is.
    func reconfigure(_ options: Options) -> Bool
    /// Lets go of what was opened outside of the host facade.
    func unload()
}

extension Module {
    public func reconfigure(_ options: Options) -> Bool { false }
    public func unload() {}
}

/// Why a module cannot be loaded, for the administrator.
public struct ModuleError: Error, Sendable, CustomStringConvertible {
    public let description: String

    public init(_ description: String) {
        self.description = description
    }
}

extension Module {
    /// Options read from the configuration, and what is wrong with them.
    nonisolated static func problems(with node: ConfigNode) -> [ConfigProblem] {
        Options.read(node).problems
    }

    static func make(_ node: ConfigNode) -> Self {
        Self(options: Options.read(node).options)
    }

    func reconfigure(from node: ConfigNode) -> Bool {
        reconfigure(Options.read(node).options)
    }

    /// What the module's options are, for sample file and manual.
    public nonisolated static var optionDescriptions: [OptionDescription] { Options.descriptions }
}
