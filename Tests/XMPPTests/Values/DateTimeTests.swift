import Testing
@testable import XMPP

@Suite("Dates and times (XEP-0082)") struct DateTimeTests {
    @Test("DateTimes are read and written in UTC", arguments: [
        ("1969-07-21T02:56:15Z", -14_159_025_000_000, "1969-07-21T02:56:15Z"),
        ("1969-07-20T21:56:15-05:00", -14_159_025_000_000, "1969-07-21T02:56:15Z"),
        ("1970-01-01T00:00:00.000Z", 0, "1970-01-01T00:00:00Z"),
        ("2000-02-29T23:59:59.25+00:00", 951_868_799_250_000, "2000-02-29T23:59:59.25Z"),
        ("2024-02-29T12:00:00.123456789Z", 1_709_208_000_123_456, "2024-02-29T12:00:00.123456Z"),
        ("1969-12-31T23:59:59.999999Z", -1, "1969-12-31T23:59:59.999999Z"),
        ("0000-01-01T00:00:00Z", -62_167_219_200_000_000, "0000-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
        ("9999-12-31T23:59:59-14:00", 253_402_351_199_000_000, "9999-12-31T23:59:59.999999Z"),
    ] as [(String, Int64, String)])
    func reading(_ text: String, _ microseconds: Int64, _ written: String) {
        #expect(Timestamp(text)?.microseconds == microseconds)
        #expect(Timestamp(text)?.description == written)
    }

    @Test("Nonsense is no DateTime", arguments: [
        "", "2024", "2024-01-01", "2024-01-01T00:00:00", "2024-01-01 00:00:00Z", "2023-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z", "2024-13-01T00:00:00Z", "2024-00-01T00:00:00Z", "2024-04-31T00:00:00Z",
        "2024-01-00T00:00:00Z", "2024-01-01T24:00:00Z", "2024-01-01T23:60:00Z", "2024-01-01T23:59:60Z",
        "2024-01-01T00:00:00.Z", "2024-01-01T00:00:00z", "2024-01-01T00:00:00+15:00", "2024-01-01T00:00:00+14:01",
        "2024-01-01T00:00:00+0100", "2024-01-01T00:00:00Z ", "12024-01-01T00:00:00Z", "-2024-01-01T00:00:00Z",
        "2024-1-1T0:0:0Z", "٢٠٢٤-01-01T00:00:00Z", "20240101T00:00:00Z", "2024-01-01T00:00:00+01:60",
    ])
    func refused(_ text: String) {
        #expect(Timestamp(text) == nil)
    }

    @Test("Every day of 800 years comes back, in order")
    func days() throws {
        var previous: CivilDate?
        for day in Int64(-160_000)...132_000 {
            let date = CivilDate(daysSinceEpoch: day)
            #expect(date.daysSinceEpoch == day)
            #expect(CivilDate(date.description) == date)
            if let previous { try #require(previous < date) }
            previous = date
        }
    }

    @Test("The legacy format, times of day, clamping")
    func others() {
        #expect(Timestamp(legacy: "20020910T23:08:25")?.description == "2002-09-10T23:08:25Z")
        #expect(Timestamp(legacy: "20020910T23:08:25Z") == nil)
        #expect(Timestamp(legacy: "20020230T23:08:25") == nil)
        #expect(TimeOfDay("16:00:00.5-08:00")?.description == "00:00:00.5")
        #expect(TimeOfDay("01:00:00+02:00")?.description == "23:00:00")
        #expect(TimeOfDay("24:00:00") == nil)
        #expect(Timestamp(microseconds: .min).description == "0000-01-01T00:00:00Z")
        #expect(Timestamp(microseconds: .max).description == "9999-12-31T23:59:59.999999Z")
        #expect(Timestamp(seconds: .max).microseconds == .max)
        #expect(Timestamp(microseconds: -1).seconds == -1)
        #expect(Timestamp(seconds: 5).advanced(by: .milliseconds(-1)).microseconds == 4_999_000)
        #expect(Timestamp(microseconds: .max).advanced(by: .seconds(1)).microseconds == .max)
        #expect(Timestamp.now > Timestamp(seconds: 1_700_000_000))
    }

    @Test("Delays (XEP-0203 §3)")
    func delay() throws {
        let message = try Message(parse("""
            <message from='romeo@montague.net/orchard' to='juliet@capulet.com' type='chat'>\
            <body>O blessed night!</body>\
            <delay xmlns='urn:xmpp:delay' stamp='nonsense'/><delay xmlns='urn:xmpp:delay' from='capulet.com' \
            stamp='2002-09-10T23:08:25Z'>Offline Storage</delay></message>
            """))
        let delay = try #require(message.delay(by: JID("capulet.com")))
        #expect(delay == message.delay())
        #expect(delay.reason == "Offline Storage" && delay.stamp.seconds == 1_031_699_305)
        #expect(try Delay(view(delay.element)) == delay)
        #expect(message.delay(by: JID("evil.example")) == nil)
        #expect(throws: StanzaError.jidMalformed) {
            try Delay(parse("<delay xmlns='urn:xmpp:delay' from='@' stamp='2002-09-10T23:08:25Z'/>"))
        }
    }
}
