/// Finds the certificates of a configuration's hosts: in the certificate directory, or where a host names its own.
public struct CertificateLoader {
    private let configuration: ServerConfiguration

    public init(_ configuration: ServerConfiguration) {
        self.configuration = configuration
    }

    /// The names that certificates are needed for, in ASCII form.
    public var names: [String] { Self.ascii(configuration.hosts.map(\.name)) }

    /// The names of components, which nobody connects to as long as they are local.
    public var componentNames: [String] { Self.ascii(configuration.components.map(\.name)) }

    private static func ascii(_ names: [String]) -> [String] {
        names.map { JID(unchecked: nil, domainpart: $0, resourcepart: nil).asciiDomain }
    }

    /// Reads all of them.
    public func load() -> CertificateStore.Result {
        var result = CertificateStore(directory: configuration.certificateDirectory).load(
            hosts: names, others: componentNames)
        for host in configuration.hosts {
            guard let chain = host.certificate else { continue }
            do {
                let name = JID(unchecked: nil, domainpart: host.name, resourcepart: nil).asciiDomain
                let context = try TLSContext(certificateChain: chain, privateKey: host.certificateKey ?? chain)
                result.add(context, for: name)
            } catch {
                result.add(problem: "\(error)")
            }
        }
        return result
    }
}

extension ServerConfiguration {
    /// Where certificates are looked for: without a directory in the file, the folder `certificates` among the data.
    public var certificateDirectory: String { certificates ?? dataDirectory + "/certificates" }
}
