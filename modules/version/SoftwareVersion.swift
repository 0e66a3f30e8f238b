import Glibc
import ServerKit

/// Software Version (XEP-0092): which software the host runs.
final class SoftwareVersion: Module {
    static let info = ModuleInfo(
        "version", "Tells which software the server is",
        implements: [.xep(92, "1.1")],
        group: .recommended, scope: .domain)

    struct Options: ModuleOptions {
        let showsOS: Bool

        init(_ config: inout OptionReader) {
            showsOS = config.bool("show_os", default: false, "Whether to tell the operating system, too.")
        }
    }

    private let options: Options

    init(options: Options) {
        self.options = options
    }

    func load(into host: ModuleHost) {
        // XEP-0092 §5: the operating system is of use to attackers first.
        let system = options.showsOS ? Self.operatingSystem : nil
        host.advertise(.version, on: .host)
        host.answer(.get, "query", .version, on: .host) { _ in
            Element("query", .version) {
                Element("name", text: ServerVersion.name)
                Element("version", text: ServerVersion.number)
                if let system { Element("os", text: system) }
            }
        }
    }

    /// Such as `Linux 6.1.0`.
    private static var operatingSystem: String? {
        var names = utsname()
        guard uname(&names) == 0 else { return nil }
        let system = withUnsafeBytes(of: names.sysname) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        let release = withUnsafeBytes(of: names.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        return "\(system) \(release)"
    }
}

extension Namespace {
    fileprivate static let version: Namespace = "jabber:iq:version"
}
