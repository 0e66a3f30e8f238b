/// Finds the certificates of a configuration's hosts: in the certificate directory, or where a host names its own.
public struct CertificateLoader {
    private let configuration: ServerConfiguration

    public init(_ configuration: ServerConfiguration) {
        self.configuration = configuration
    }

    /// The names that certificates are needed for, in ASCII form.
    public var names: [String] {
        (configuration.hosts.map(\.name) + configuration.components.map(\.name)).map { name in
            JID(unchecked: nil, domainpart: name, resourcepart: nil).asciiDomain
        }
    }

    /// Reads all of them. Without a directory in the configuration, the folder `certificates` among the data.
    public func load() -> CertificateStore.Result {
        let directory = configuration.certificates ?? configuration.dataDirectory + "/certificates"
        var result = CertificateStore(directory: directory).load(hosts: names)
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
