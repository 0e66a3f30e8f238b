import ServerKit
import TestKit
import Testing

@testable import Modules

@Suite("Entity time (XEP-0202)") struct EntityTimeTests {
    @Test("The time is the server's, in UTC")
    func answer() async throws {
        try await play(modules: [EntityTime.self]) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            await stage.advance(by: .milliseconds(1_500))
            let time = try #require(
                try await romeo.asks(.get, "<time xmlns='urn:xmpp:time'/>", to: "montague.example"))
            #expect(time.text(of: "utc") == "2025-06-15T15:06:41Z")
            #expect(time.text(of: "tzo")?.isEmpty == false)
            #expect(try await romeo.isRefused(.get, "<time xmlns='urn:xmpp:time'/>").condition == .serviceUnavailable)
        }
    }

    @Test(
        "Zones",
        arguments: [
            (0, "Z"), (3_600, "+01:00"), (-21_600, "-06:00"), (20_700, "+05:45"), (-12_600, "-03:30"),
            (50_400, "+14:00"),
            (-30, "Z"),
        ])
    func zone(seconds: Int, text: String) {
        #expect(EntityTime.zone(secondsEast: seconds) == text)
    }
}
