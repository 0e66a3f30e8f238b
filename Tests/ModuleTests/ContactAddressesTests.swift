import ServerKit
import TestKit
import Testing

@testable import Modules

@Suite("Contact addresses (XEP-0157)") struct ContactAddressesTests {
    @Test("What is configured is published")
    func published() async throws {
        let config = """
            admins: [friar@montague.example]
            modules:
              disco: on
              contact: { abuse: ["mailto:abuse@montague.example", "xmpp:abuse@montague.example"],
                         status: "https://status.montague.example", admin: "xmpp:admins@montague.example?message" }
            """
        try await play(modules: [Disco.self, ContactAddresses.self], config: config) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let info = try #require(try await romeo.asks(.get, DiscoTests.info, to: "montague.example"))
            let form = try #require(try DataForm.find(in: info))
            #expect(form.formType == "http://jabber.org/network/serverinfo")
            #expect(
                form["abuse-addresses"]?.values == ["mailto:abuse@montague.example", "xmpp:abuse@montague.example"])
            #expect(form["status-addresses"]?.values == ["https://status.montague.example"])
            #expect(form["admin-addresses"]?.values == ["xmpp:admins@montague.example?message"])
            #expect(form["sales-addresses"] == nil)
            // Accounts have nothing to do with it.
            #expect(try await romeo.asks(.get, DiscoTests.info)?.has("x", .dataForms) == false)
        }
    }

    @Test("The administrators stand in, unless they do not want to", arguments: [true, false])
    func administrators(isDefault: Bool) async throws {
        let config = """
            admins: [friar@montague.example]
            hosts: { montague.example: { admins: [nurse@montague.example, friar@montague.example] } }
            modules: { disco: on, contact: \(isDefault ? "on" : "{ admin: [] }") }
            """
        try await play(modules: [Disco.self, ContactAddresses.self], config: config) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let info = try #require(try await romeo.asks(.get, DiscoTests.info, to: "montague.example"))
            let admins = try DataForm.find(in: info)?["admin-addresses"]?.values
            #expect(admins == (isDefault ? ["xmpp:friar@montague.example", "xmpp:nurse@montague.example"] : nil))
        }
    }

    @Test(
        "URIs that can be opened are taken",
        arguments: [
            "mailto:a@b.example", "mailto:a@b.example?subject=x", "xmpp:b.example", "xmpp:a@b.example?message",
            "xmpp:fr%69ar@b.example", "https://b.example", "HTTPS://b.example/x?y#z", "http://b.example",
        ])
    func good(uri: String) {
        #expect(ContactURI.check(uri) == uri)
    }

    @Test(
        "Others are not",
        arguments: [
            "", ":", "a@b.example", "mailto:", "mailto:a", "mailto:@", "mailto:a@b@c", "xmpp:", "xmpp:@b", "xmpp:%",
            "xmpp:%zz@b.example", "xmpp:%ff@b.example", "https:", "https://", "https:b.example", "https:///x",
            "javascript:alert(1)", "https://b.example/ x", "https://b.example/\u{7}", "https://ü.example",
            "mailto:<a@b>",
        ])
    func bad(uri: String) {
        #expect(ContactURI.check(uri) == nil)
    }

    @Test(
        "An address becomes a URI that is read back as the same",
        arguments: [
            "anna@example.org", "%@example.org", "müller@example.org", "a+b?@example.org",
        ])
    func roundTrip(jid: String) throws {
        let jid = try #require(JID(jid))
        #expect(ContactURI.check(ContactURI.make(jid)) != nil)
    }
}
