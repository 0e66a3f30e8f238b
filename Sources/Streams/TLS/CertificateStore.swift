import COpenSSL
import Glibc

/// What was found out about one certificate file, for `check certs` and for the log.
public struct CertificateReport: Sendable {
    /// The file with the certificate and, after it, those of the authorities between.
    public let path: String
    /// The file with the private key.
    public let keyPath: String
    /// The hosts the certificate is for, in lower case.
    public internal(set) var names: [String] = []
    /// Who issued it.
    public internal(set) var issuer = ""
    /// When it begins and ceases to be valid, in seconds since 1970; 0 when it could not be read.
    public internal(set) var notBefore = 0
    public internal(set) var notAfter = 0
    /// Those of the configured hosts that are served with it.
    public internal(set) var servedHosts: [String] = []
    /// Why it cannot be used at all.
    public internal(set) var errors: [String] = []
    /// What clients or other servers may object to.
    public internal(set) var warnings: [String] = []
}

/// A directory of certificates, as certbot and its like leave it or an administrator lays it out:
/// `<name>/fullchain.pem` with `<name>/privkey.pem`, `<name>.crt` or `<name>.pem` with `<name>.key`, or `<name>.pem`
/// with both inside. What a file is called does not matter; the names inside the certificate do.
public struct CertificateStore: Sendable {
    /// All that a directory has to say.
    public struct Result: Sendable {
        /// What to present, by host; hosts that share a certificate share its context.
        public internal(set) var identities: [String: TLSContext] = [:]
        /// One entry for each certificate, in the order of their paths.
        public internal(set) var reports: [CertificateReport] = []
        /// What concerns no single certificate: the directory, and hosts that none is for.
        public internal(set) var problems: [String] = []

        /// Presents a certificate from elsewhere for a host.
        public mutating func add(_ context: TLSContext, for host: String) {
            identities[host] = context
        }

        /// Adds what concerns no certificate of the directory.
        public mutating func add(problem: String) {
            problems.append(problem)
        }
    }

    /// The directory's path.
    public let directory: String
    /// Whom chains are checked against; nil to leave that out.
    public let trust: TLSTrust?

    public init(directory: String, trust: TLSTrust? = nil) {
        self.directory = directory
        self.trust = trust
    }

    private struct Candidate {
        let chain: [Certificate]
        let key: PrivateKey
        let report: Int
    }

    /// Reads everything anew. A bad file harms only the hosts that have no other.
    ///
    /// - Parameters:
    ///   - hosts: those to be served, in ASCII form.
    ///   - others: names that can do without a certificate, and get one if there is one for them.
    ///   - now: seconds since 1970.
    public func load(hosts: [String], others: [String] = [], now: Int = time(nil)) -> Result {
        var result = Result()
        let pairs: [(certificate: String, key: String)]
        do { pairs = try scan() } catch {
            result.problems.append("\(error)")
            pairs = []
        }
        var candidates: [Candidate] = []
        for pair in pairs {
            var report = CertificateReport(path: pair.certificate, keyPath: pair.key)
            do {
                let (chain, key) = try read(pair, &report, now: now)
                candidates.append(Candidate(chain: chain, key: key, report: result.reports.count))
            } catch { report.errors.append("\(error)") }
            result.reports.append(report)
        }
        choose(from: candidates, for: hosts + others, needed: Set(hosts.map { $0.lowercased() }), now: now, &result)
        return result
    }

    private func read(
        _ pair: (certificate: String, key: String), _ report: inout CertificateReport, now: Int
    ) throws(TLSError) -> ([Certificate], PrivateKey) {
        let chainText = try readSmallFile(pair.certificate)
        let chain: [Certificate]
        do { chain = try Certificate.chain(pem: chainText) } catch {
            throw .configuration("\(pair.certificate) \(error).")
        }
        guard let leaf = chain.first else { throw .configuration("\(pair.certificate) contains no certificate.") }
        report.names = leaf.dnsNames
        report.issuer = leaf.issuer
        report.notBefore = leaf.notBefore
        report.notAfter = leaf.notAfter

        let keyText = try readSmallFile(pair.key)
        let key: PrivateKey
        do { key = try PrivateKey(pem: keyText) } catch { throw .configuration("\(pair.key) \(error).") }
        guard key.belongs(to: leaf) else {
            throw .configuration("The key in \(pair.key) does not belong to the certificate in \(pair.certificate).")
        }
        warn(about: chain, leaf, &report, now: now)
        return (chain, key)
    }

    private func warn(
        about chain: [Certificate], _ leaf: Certificate, _ report: inout CertificateReport, now: Int
    ) {
        if report.notAfter <= now {
            report.warnings.append("\(report.path) has expired on \(calendarDay(report.notAfter)). Renew it.")
        } else if report.notBefore > now {
            report.warnings.append("\(report.path) is not valid before \(calendarDay(report.notBefore)).")
        }
        if report.names.isEmpty {
            report.warnings.append("\(report.path) names no host as subject alternative name (dNSName).")
        }
        var status = stat()
        if stat(report.keyPath, &status) == 0, status.st_mode & 0o007 != 0 {
            let mode = String(status.st_mode & 0o777, radix: 8)
            report.warnings.append("\(report.keyPath) can be used by every user (mode 0\(mode)). Make it 0600.")
        }
        if leaf.isSelfIssued {
            report.warnings.append("\(report.path) is self-signed: clients will warn, other servers will refuse it.")
            return
        }
        guard let trust, report.notAfter > now, report.notBefore <= now else { return }
        guard let intermediates = copenssl_certificates_new() else { return }
        defer { copenssl_certificates_free(intermediates) }
        for certificate in chain.dropFirst() { _ = copenssl_certificates_append(intermediates, certificate.x509) }
        guard let problem = trust.verify(leaf, intermediates: intermediates) else { return }
        switch problem.code {
        case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
            X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
            report.warnings.append(
                "The chain in \(report.path) is incomplete, or ends at an authority this system does not know. "
                    + "Append the certificates of the authorities between (often in a file called fullchain).")
        default:
            report.warnings.append("\(report.path) is not accepted by this system: \(problem.reason).")
        }
    }

    private func choose(
        from candidates: [Candidate], for hosts: [String], needed: Set<String>, now: Int, _ result: inout Result
    ) {
        var contexts: [Int: TLSContext] = [:]
        for host in hosts {
            let host = host.lowercased()
            let fitting = candidates.filter { $0.chain.first?.covers(host) == true }.sorted { one, other in
                let (one, other) = (result.reports[one.report], result.reports[other.report])
                let (isOneCurrent, isOtherCurrent) = (one.notBefore <= now, other.notBefore <= now)
                if isOneCurrent != isOtherCurrent { return isOneCurrent }
                return one.notAfter > other.notAfter
            }
            for candidate in fitting where result.identities[host] == nil {
                do throws(TLSError) {
                    let context: TLSContext
                    if let known = contexts[candidate.report] {
                        context = known
                    } else {
                        context = try TLSContext(chain: candidate.chain, key: candidate.key)
                    }
                    contexts[candidate.report] = context
                    result.identities[host] = context
                    result.reports[candidate.report].servedHosts.append(host)
                } catch {
                    let path = result.reports[candidate.report].path
                    let sentence = "\(path) cannot be used: \(error)."
                    guard !result.reports[candidate.report].errors.contains(sentence) else { continue }
                    result.reports[candidate.report].errors.append(sentence)
                }
            }
            if result.identities[host] == nil, needed.contains(host) {
                result.problems.append("No usable certificate in \(directory) is for \(host).")
            }
        }
        for candidate in candidates where !hosts.contains(where: { candidate.chain.first?.covers($0) == true }) {
            let path = result.reports[candidate.report].path
            result.reports[candidate.report].warnings.append("\(path) is for none of the configured hosts.")
        }
    }

    /// The pairs of files that belong together, sorted by path.
    private func scan() throws(TLSError) -> [(certificate: String, key: String)] {
        let names = try list(directory)
        let all = Set(names)
        var pairs: [(certificate: String, key: String)] = []
        for name in names {
            let path = directory + "/" + name
            if name.hasSuffix(".crt") || name.hasSuffix(".pem") {
                let base = String(name.dropLast(4))
                // A pair needs one certificate; `.crt` is the more certain sign of it.
                if name.hasSuffix(".pem"), all.contains(base + ".crt") { continue }
                let hasKey = all.contains(base + ".key")
                if !hasKey, name.hasSuffix(".crt") {
                    pairs.append((path, "\(directory)/\(base).key"))
                } else {
                    pairs.append((path, hasKey ? "\(directory)/\(base).key" : path))
                }
            } else if access(path + "/fullchain.pem", F_OK) == 0 || errno == EACCES {
                // Without permission there may be one, and reading it will say what is missing.
                pairs.append((path + "/fullchain.pem", path + "/privkey.pem"))
            }
        }
        return pairs
    }

    private func list(_ path: String) throws(TLSError) -> [String] {
        guard let stream = opendir(path) else {
            throw .configuration("The directory \(path) cannot be read: \(String(cString: strerror(errno))).")
        }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names.sorted()
    }
}
