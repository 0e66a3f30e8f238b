import Testing
import XMPP

@testable import Streams

@Suite("The namespace of a stream's content (RFC 6120 §4.8.2)") struct ContentNamespaceTests {
    private func read(_ namespace: String, _ content: String) throws -> Element? {
        let reader = StreamReader(pool: ParserPool())
        let xml = "<stream:stream xmlns='\(namespace)' xmlns:stream='http://etherx.jabber.org/streams'>" + content
        var found: Element?
        try Array(xml.utf8).withUnsafeBytes { bytes in
            try reader.read(bytes) { event throws(StreamError) in
                if case .element(let element) = event { found = element }
                return true
            }
        }
        return found
    }

    @Test(
        "Servers' and components' is that of clients inside", arguments: ["jabber:server", "jabber:component:accept"])
    func aliases(_ namespace: String) throws {
        let message = try read(
            namespace, "<message><body>Hark</body><x xmlns='urn:x'><body xmlns='\(namespace)'/></x></message>")
        #expect(message?.is("message", .client) == true)
        #expect(message?.child("body", .client)?.text == "Hark")
        #expect(message?.child("x", "urn:x")?.firstChild?.namespace == .client)
        #expect(message?.xml.contains(namespace) == false)
    }

    @Test("Another stream's is what it says it is")
    func others() throws {
        let message = try read(
            "jabber:client", "<message><a xmlns='jabber:server'/><b xmlns='jabber:component:accept'/></message>")
        #expect(message?.children.map(\.namespace) == [.server, .component])
        let other = try read("jabber:component:accept", "<message><a xmlns='jabber:server'/></message>")
        #expect(other?.firstChild?.namespace == .server)
    }
}
