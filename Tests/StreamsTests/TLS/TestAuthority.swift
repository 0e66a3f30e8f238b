import Testing

@testable import Streams

/// Authorities and certificates made by the `openssl` program, each under a short name.
struct TestAuthority {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    /// Makes a certificate.
    ///
    /// - Parameters:
    ///   - issuer: the short name of whose key signs it; nil for its own.
    ///   - names: `DNS:example.org`, `SRV:_xmpp-server.example.org`, `XMPP:example.org`.
    ///   - subject: the common name; the short name if there is none.
    ///   - extensions: as openssl's configuration has them.
    @discardableResult
    func issue(
        _ name: String, by issuer: String? = nil, names: [String] = [], subject: String? = nil,
        extensions: [String] = [], key: [String] = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    ) throws -> Certificate {
        var lines = ["[req]", "distinguished_name=dn", "[dn]", "[v3]"] + extensions
        if !names.isEmpty { lines += ["subjectAltName=@alt", "[alt]"] }
        for (index, entry) in names.enumerated() {
            let value = entry.drop { $0 != ":" }.dropFirst()
            switch entry.prefix(while: { $0 != ":" }) {
            case "SRV": lines.append("otherName.\(index)=1.3.6.1.5.5.7.8.7;IA5STRING:\(value)")
            case "XMPP": lines.append("otherName.\(index)=1.3.6.1.5.5.7.8.5;FORMAT:UTF8,UTF8:\(value)")
            case "ODD": lines.append("otherName.\(index)=1.3.6.1.5.5.7.8.7;INTEGER:\(value)")
            case let kind: lines.append("\(kind).\(index)=\(value)")
            }
        }
        try scratch.write("\(name).cnf", lines.joined(separator: "\n") + "\n")
        var words = ["req", "-x509", "-config", path("\(name).cnf"), "-extensions", "v3", "-newkey"] + key
        words += ["-nodes", "-keyout", path("\(name).key"), "-out", path("\(name).crt"), "-days", "30"]
        words += ["-subj", "/CN=\(subject ?? name)"]
        if let issuer { words += ["-CA", path("\(issuer).crt"), "-CAkey", path("\(issuer).key")] }
        let output = try openssl(words)
        return try #require(try? certificate(name), "\(output)")
    }

    @discardableResult
    func issueAuthority(_ name: String, by issuer: String? = nil, extensions: [String] = []) throws -> Certificate {
        try issue(name, by: issuer, extensions: ["basicConstraints=critical,CA:TRUE"] + extensions)
    }

    func certificate(_ name: String) throws -> Certificate {
        try #require(Certificate.chain(pem: readSmallFile(path("\(name).crt"))).first)
    }

    func trust(_ name: String) throws -> TLSTrust { try TLSTrust(file: path("\(name).crt")) }

    /// What a server presents that has these files, its own first.
    func identity(_ names: String...) throws -> TLSContext {
        try scratch.write("chain.pem", names.map { try scratch.text("\($0).crt") }.joined())
        return try TLSContext(certificateChain: path("chain.pem"), privateKey: path("\(names[0]).key"))
    }

    func path(_ file: String) -> String { scratch.path + "/" + file }
}
