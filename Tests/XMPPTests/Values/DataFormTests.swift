import Testing
@testable import XMPP

private let validate = "<validate xmlns='http://jabber.org/protocol/xdata-validate'>"

private func form(_ type: String, _ content: String) throws -> DataForm {
    try DataForm(parse("<x xmlns='jabber:x:data' type='\(type)'>\(content)</x>"))
}

@Suite("Data forms (XEP-0004, XEP-0122, XEP-0068)") struct DataFormTests {
    enum Feature: String { case news, search }

    let declared = DataForm(
        .form, formType: "jabber:bot", title: "Bot",
        fields: [
            .fixed("Section 1"),
            DataFormField("botname", .textSingle, isRequired: true),
            DataFormField("description", .textMulti),
            DataFormField("public", .boolean),
            DataFormField(
                "features", .listMulti, options: [.init("news", label: "News"), .init("search")],
                validation: DataFormValidation(listRange: .init(min: 1, max: 2))),
            DataFormField("maxsubs", .listSingle, values: ["20"], options: [.init("10"), .init("20"), .init("none")]),
            DataFormField("invitelist", .jidMulti),
            DataFormField("owner", .jidSingle),
            DataFormField("age", .textSingle, validation: DataFormValidation("xs:int", .range(min: "0", max: "150"))),
            DataFormField("day", .textSingle, validation: DataFormValidation("xs:date")),
            DataFormField(
                "ssn", .textSingle, validation: DataFormValidation("xs:string", .regex("[0-9]{3}-[0-9]{2}"))),
            DataFormField("open", .listSingle, options: [.init("a")], validation: DataFormValidation("xs:byte", .open)),
        ])

    @Test("A submission is read by type (XEP-0004 §5.1)")
    func submission() throws {
        let submitted = try form("submit", """
            <field type='hidden' var='FORM_TYPE'><value>jabber:bot</value></field>
            <field type='text-single' var='botname'><value>The Jabber Google Bot</value></field>
            <field var='description'><value>This bot sends requests</value><value>to Google</value></field>
            <field var='public'><value>0</value></field>
            <field var='features'><value>news</value><value>search</value></field>
            <field var='maxsubs'><value>none</value></field>
            <field var='invitelist'><value>juliet@capulet.com</value><value>juliet@capulet.com</value></field>
            <field var='age'><value>42</value></field><field var='day'><value>2024-02-29</value></field>
            <field var='ssn'><value>123-45</value></field><field var='open'><value>-128</value></field>
            <field var='surprise'><value>x</value></field>
            """)
        let values = try declared.read(submitted)
        #expect(values.text("botname") == "The Jabber Google Bot")
        #expect(values.lines("description") == "This bot sends requests\nto Google")
        #expect(try values.bool("public") == false)
        #expect(try values.choices("features", of: Feature.self) == [.news, .search])
        #expect(values.text("maxsubs") == "none")
        #expect(try values.jids("invitelist") == [JID("juliet@capulet.com")].compactMap { $0 })
        #expect(try values.int("age", in: 0...150) == 42)
        #expect(try values.jid("owner") == nil)
        #expect(values["surprise"] == nil)
        #expect(values["public"]?.kind == .boolean)
    }

    @Test("What is wrong is named", arguments: [
        ("", "botname"),
        ("<field var='botname'><value/></field>", "botname"),
        ("<field var='botname'><value>a</value><value>b</value></field>", "botname"),
        ("<field var='botname'><value>a</value></field><field var='public'><value>yes</value></field>", "public"),
        ("<field var='botname'><value>a</value></field><field var='features'><value>x</value></field>", "features"),
        ("<field var='botname'><value>a</value></field><field var='maxsubs'><value>30</value></field>", "maxsubs"),
        ("<field var='botname'><value>a</value></field><field var='owner'><value>@</value></field>", "owner"),
        ("<field var='botname'><value>a</value></field><field var='age'><value>151</value></field>", "age"),
        ("<field var='botname'><value>a</value></field><field var='age'><value>1e1</value></field>", "age"),
        ("<field var='botname'><value>a</value></field><field var='day'><value>2023-02-29</value></field>", "day"),
        ("<field var='botname'><value>a</value></field><field var='ssn'><value>x123-45</value></field>", "ssn"),
        ("<field var='botname'><value>a</value></field><field var='open'><value>128</value></field>", "open"),
        ("<field var='botname'><value>a</value></field><field var='features'><value>news</value><value>news</value>"
            + "<value>search</value></field>", "features"),
    ])
    func problems(_ content: String, _ field: String) throws {
        let submitted = try form("submit", content)
        #expect(declared.problems(in: submitted).map(\.field) == [field])
        #expect {
            try declared.read(submitted)
        } throws: { error in
            let error = error as? StanzaError
            return error?.condition == .notAcceptable && error?.text?.contains(field) == true
        }
    }

    @Test("Emptied fields are unset, missing ones unchanged (XEP-0004 §3.6)")
    func empty() throws {
        let values = try form("submit", "<field var='a'><value/></field><field var='b'/>")
        #expect(values.text("a") == "" && values.text("b") == "" && values.text("c") == nil)
        #expect(try values.bool("a") == nil && values.int("b") == nil && values.jids("a") == [])
        let two = try form("submit", "<field var='a'><value>2</value></field>")
        #expect(throws: StanzaError.self) { try two.bool("a") }
        #expect(throws: StanzaError.self) { try two.int("a", in: 3...4) }
    }

    @Test("Malformed forms are refused", arguments: [
        ("nonsense", ""), ("", ""), ("submit", "<field><value>a</value></field>"),
        ("submit", "<field var='a'/><field var='a'/>"), ("form", "<field var='a' type='list-single'><option/></field>"),
        ("form", "<field var='a'><option><value/><value/></option></field>"),
        ("form", "<field var='a'>\(validate)<open/><basic/></validate></field>"),
        ("form", "<field var='a'>\(validate)<list-range min='-1'/></validate></field>"),
    ])
    func malformed(_ type: String, _ content: String) {
        #expect { try form(type, content) } throws: { ($0 as? StanzaError)?.condition == .badRequest }
    }

    @Test("Forms survive being written and read, tables included")
    func roundTrip() throws {
        #expect(try DataForm(view(declared.element)) == declared)
        let table = DataForm(
            .result, instructions: ["a", "b"], reported: [.init("name", .textSingle, label: "Name")],
            items: [[.init("name", values: ["x"])], [.init("name", values: ["y"])]])
        #expect(try DataForm(view(table.element)) == table)
        #expect(table.element.child("reported")?.child("field")?["label"] == "Name")
    }

    @Test("FORM_TYPE counts when hidden, or untyped in a submission; another one is refused (XEP-0068 §4.3)")
    func formType() throws {
        let field = "<field var='FORM_TYPE' type='text-single'><value>urn:x</value></field>"
        #expect(try form("result", field).formType == nil)
        #expect(try form("submit", "<field var='FORM_TYPE'><value>urn:x</value></field>").formType == "urn:x")
        #expect(DataForm.extendedInfo("urn:x", [.text("a", "b")]).formType == "urn:x")
        #expect { try declared.read(form("submit", "<field var='FORM_TYPE'><value>urn:x</value></field>")) } throws: {
            ($0 as? StanzaError)?.condition == .badRequest
        }
        let parent = Element("query", "urn:q") { declared.element; DataForm.extendedInfo("urn:x", []).element }
        #expect(try DataForm.find(in: parent, formType: "urn:x")?.kind == .result)
        #expect(try DataForm.find(in: parent, formType: "urn:y") == nil)
    }
}
