import PubSub
import ServerKit
import TestKit
import Testing

@testable import Modules

@Suite("vCard 4 (XEP-0292)") struct VCard4Tests {
    private static let modules: [any Module.Type] = [
        Disco.self, Caps.self, Roster.self, PresenceExchange.self, Messages.self, VCard.self, PubSub.self, VCard4.self,
    ]
    private static let peter = "stpeter@montague.example"
    private static let node = "urn:xmpp:vcard4"
    private static let cardRequest = "<vCard xmlns='vcard-temp'/>"
    private static let request = "<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'/>"

    /// Of the examples of XEP-0054 §3.1 and XEP-0292 §11.
    private static let old = """
        <vCard xmlns='vcard-temp'><FN>Peter Saint-Andre</FN>\
        <N><FAMILY>Saint-Andre</FAMILY><GIVEN>Peter</GIVEN><MIDDLE/></N><NICKNAME>stpeter</NICKNAME>\
        <URL>http://www.xmpp.org/xsf/people/stpeter.shtml</URL><BDAY>1966-08-06</BDAY>\
        <ORG><ORGNAME>XMPP Standards Foundation</ORGNAME><ORGUNIT>Council</ORGUNIT></ORG>\
        <TITLE>Executive Director</TITLE><ROLE>Patron Saint</ROLE>\
        <TEL><WORK/><VOICE/><PREF/><NUMBER>303-308-3282</NUMBER></TEL>\
        <TEL><HOME/><FAX/><NUMBER/></TEL>\
        <ADR><WORK/><EXTADD>Suite 600</EXTADD><STREET>1899 Wynkoop Street</STREET><LOCALITY>Denver</LOCALITY>\
        <REGION>CO</REGION><PCODE>80202</PCODE><CTRY>USA</CTRY></ADR>\
        <EMAIL><INTERNET/><PREF/><USERID>stpeter@jabber.org</USERID></EMAIL>\
        <JABBERID>stpeter@jabber.org</JABBERID><GEO><LAT>39.59</LAT><LON>-105.01</LON></GEO>\
        <DESC>My site: https://stpeter.im/</DESC><CATEGORIES><KEYWORD>a</KEYWORD><KEYWORD>b</KEYWORD></CATEGORIES>\
        </vCard>
        """
    private static let new = """
        <vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'><fn><text>Peter Saint-Andre</text></fn>\
        <nickname><text>stpeter</text></nickname><bday><date>1966-08-06</date></bday>\
        <title><text>Executive Director</text></title><role><text>Patron Saint</text></role>\
        <url><uri>http://www.xmpp.org/xsf/people/stpeter.shtml</uri></url>\
        <note><text>My site: https://stpeter.im/</text></note>\
        <n><surname>Saint-Andre</surname><given>Peter</given></n>\
        <adr><parameters><type><text>work</text></type></parameters><ext>Suite 600</ext>\
        <street>1899 Wynkoop Street</street><locality>Denver</locality><region>CO</region><code>80202</code>\
        <country>USA</country></adr>\
        <tel><parameters><type><text>work</text><text>voice</text></type><pref><integer>1</integer></pref></parameters>\
        <uri>tel:303-308-3282</uri></tel>\
        <email><parameters><pref><integer>1</integer></pref></parameters><text>stpeter@jabber.org</text></email>\
        <impp><uri>xmpp:stpeter@jabber.org</uri></impp><geo><uri>geo:39.59,-105.01</uri></geo>\
        <org><text>XMPP Standards Foundation</text><text>Council</text></org>\
        <categories><text>a</text><text>b</text></categories></vcard>
        """

    private static func perform(
        _ body: @escaping @ServerActor @Sendable (Stage, TestKit.Actor) async throws -> Void
    ) async throws {
        try await TestKit.play(modules: modules) { stage in
            try await body(stage, try await stage.enter(peter + "/squire"))
        }
    }

    // MARK: Converting

    @Test("Every property that both have goes over (§11)")
    func toVCard4() throws {
        let converted = CardConversion.vCard4(try Element.parse(Self.old))
        #expect(try converted.isExactly(Self.new))
    }

    @Test("… and comes back; what vcard-temp alone has stays")
    func toVCardTemp() throws {
        let before = """
            <vCard xmlns='vcard-temp'><FN>Old</FN><TEL><NUMBER>1</NUMBER></TEL><MAILER>Exodus</MAILER>
            <PHOTO><BINVAL>AAAA</BINVAL></PHOTO></vCard>
            """
        let converted = try #require(
            CardConversion.vCardTemp(try Element.parse(Self.new), changing: try Element.parse(before)))
        let expected = Self.old.replacing("<MIDDLE/>", with: "")
            .replacing("<TEL><HOME/><FAX/><NUMBER/></TEL>", with: "")
            .replacing("DESC>", with: "NOTE>")
            .replacing("</vCard>", with: "<MAILER>Exodus</MAILER><PHOTO><BINVAL>AAAA</BINVAL></PHOTO></vCard>")
        #expect(try converted.isExactly(expected))
        let rest = CardConversion.vCardTemp(nil, changing: converted)
        #expect(rest?.children.map(\.name).sorted() == ["MAILER", "PHOTO"])
        #expect(CardConversion.vCardTemp(nil, changing: nil) == nil)
    }

    @Test(
        "Nonsense is left out",
        arguments: [
            "<TEL/><EMAIL/><ADR/><ORG/><GEO><LAT>1</LAT></GEO><N/><FN>  </FN><CATEGORIES/><JABBERID/>",
            "<FN xmlns='urn:other'>x</FN>",
        ])
    func nonsense(content: String) throws {
        let card = CardConversion.vCard4(try Element.parse("<vCard xmlns='vcard-temp'>\(content)</vCard>"))
        #expect(card.children.allSatisfy { $0.name == "adr" && !$0.hasChildren })
    }

    @Test("Values of other types are read, and nonsense is not", arguments: ["<geo><uri>geo:</uri></geo>", "<geo/>"])
    func otherTypes(geo: String) throws {
        let card = """
            <vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'><tel><text>+1-303</text></tel>\(geo)
            <bday><date-time>19660806T000000</date-time></bday><impp><uri>sip:a@b</uri></impp>
            <n><surname>A</surname><given>B</given><given>C</given></n></vcard>
            """
        let converted = try #require(CardConversion.vCardTemp(try Element.parse(card), changing: nil))
        #expect(converted.child("TEL")?.text(of: "NUMBER") == "+1-303")
        #expect(converted.text(of: "BDAY") == "19660806T000000")
        #expect(converted.child("N")?.text(of: "GIVEN") == "B,C")
        #expect(!converted.has("GEO") && !converted.has("JABBERID"))
    }

    // MARK: On stage

    @Test("A card stored in the old format is published in the new one (§4.1)")
    func fromOld() async throws {
        try await Self.perform { stage, peter in
            let sam = try await stage.enter("samizzi@capulet.example/foo")
            try await peter.asks(.set, Self.old)
            await stage.settle()
            let item = try #require(try await sam.itemsAt(Self.node, of: Self.peter).first)
            #expect(try item.firstChild?.isExactly(Self.new) == true)
            #expect(try await sam.asks(.get, Self.request, to: Self.peter)?.hasChildren == true)
            // What is stored again says nothing new.
            let caps = try ClientCaps(["urn:xmpp:vcard4+notify"])
            let roundabout = try await stage.enter(Self.peter + "/roundabout", able: caps)
            try await peter.asks(.set, Self.old)
            #expect(await roundabout.everything().isEmpty)
            try await peter.asks(.set, Self.cardRequest)
            await stage.settle()
            #expect(try await sam.itemsAt(Self.node, of: Self.peter).isEmpty)
            #expect(try await sam.isRefused(.get, Self.request, to: Self.peter) == .serviceUnavailable)
        }
    }

    @Test("A card that is closed to others later does not stay open in the old format")
    func closing() async throws {
        try await Self.perform { stage, peter in
            let sam = try await stage.enter("samizzi@capulet.example/foo")
            try await peter.publishes(Self.new, at: Self.node, options: ["access_model": "open"])
            await stage.settle()
            #expect(try await sam.asks(.get, Self.cardRequest, to: Self.peter)?.has("FN") == true)
            try await peter.opens(Self.node, to: "whitelist")
            await stage.settle()
            #expect(try await peter.isRefused(.get, Self.cardRequest) == .itemNotFound)
            // What is stored in the old format afterwards is meant for everybody.
            try await peter.asks(.set, "<vCard xmlns='vcard-temp'><MAILER>x</MAILER></vCard>")
            try await peter.opens(Self.node, to: "presence")
            await stage.settle()
            #expect(try await peter.asks(.get, Self.cardRequest)?.has("MAILER") == true)
        }
    }

    @Test("One published in the new format is stored in the old one, by whatever request")
    func fromNew() async throws {
        try await Self.perform { stage, peter in
            let sam = try await stage.enter("samizzi@capulet.example/foo")
            try await peter.publishes(Self.new, at: Self.node, options: ["access_model": "open"])
            await stage.settle()
            let card = try await sam.asks(.get, Self.cardRequest, to: Self.peter)
            #expect(card?.text(of: "FN") == "Peter Saint-Andre")
            #expect(card?.child("EMAIL")?.text(of: "USERID") == "stpeter@jabber.org")
            try await peter.asks(
                .set, "<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'><fn><text>Peter</text></fn></vcard>")
            await stage.settle()
            #expect(try await sam.asks(.get, Self.cardRequest, to: Self.peter)?.children.map(\.name) == ["FN"])
            #expect(try await sam.itemsAt(Self.node, of: Self.peter).count == 1)
            try await sam.isRefused(.set, Self.new, to: Self.peter)
            try await peter.owns("delete", Self.node)
            await stage.settle()
            #expect(try await sam.isRefused(.get, Self.cardRequest, to: Self.peter) == .serviceUnavailable)
        }
    }

    @Test("What only contacts may read does not get into the old card, which everybody may (XEP-0292 §8)")
    func secret() async throws {
        try await Self.perform { stage, peter in
            let sam = try await stage.enter("samizzi@capulet.example/foo")
            try await peter.publishes(Self.new, at: Self.node, options: ["access_model": "presence"])
            await stage.settle()
            #expect(try await sam.isRefused(.get, Self.cardRequest, to: Self.peter) == .serviceUnavailable)
            #expect(try await sam.isRefused(.get, Self.request, to: Self.peter) == .serviceUnavailable)
            try await makeFriends(peter, sam)
            #expect(try await sam.asks(.get, Self.request, to: Self.peter)?.hasChildren == true)
        }
    }
}
