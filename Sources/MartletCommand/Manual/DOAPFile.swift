import ServerKit

/// The description of the project that xmpp.org reads. XEP-0453.
struct DOAPFile {
    private let specifications: [(ModuleInfo.Specification, [String])]

    init(_ specifications: [(ModuleInfo.Specification, [String])]) {
        self.specifications = specifications
    }

    var text: String {
        var writer = XMLWriter()
        writer.raw(
            """
            <?xml version='1.0' encoding='UTF-8'?>
            <rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'
                     xmlns='http://usefulinc.com/ns/doap#'
                     xmlns:xmpp='https://linkmauve.fr/ns/xmpp-doap#'>
              <Project>
                <name>Martlet</name>
                <shortdesc xml:lang='en'>An XMPP server in Swift</shortdesc>
                <programming-language>Swift</programming-language>
                <os>Linux</os>
                <category rdf:resource='https://linkmauve.fr/ns/xmpp-doap#category-server'/>

            """)
        for (specification, _) in specifications { write(specification, to: &writer) }
        writer.raw(
            """
              </Project>
            </rdf:RDF>

            """)
        return String(decoding: writer.bytes, as: UTF8.self)
    }

    private func write(_ specification: ModuleInfo.Specification, to writer: inout XMLWriter) {
        guard let version = specification.version else {
            writer.raw("    <implements")
            writer.attribute("rdf:resource", specification.url)
            return writer.raw("/>\n")
        }
        writer.raw("    <implements>\n      <xmpp:SupportedXep>\n        <xmpp:xep")
        writer.attribute("rdf:resource", specification.url)
        writer.raw("/>\n        <xmpp:version>")
        writer.text(version)
        writer.raw("</xmpp:version>\n        <xmpp:status>")
        writer.raw(specification.note == nil ? "complete" : "partial")
        writer.raw("</xmpp:status>\n")
        if let note = specification.note {
            writer.raw("        <xmpp:note>")
            writer.text(note)
            writer.raw("</xmpp:note>\n")
        }
        writer.raw("      </xmpp:SupportedXep>\n    </implements>\n")
    }
}
