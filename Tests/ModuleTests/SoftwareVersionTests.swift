import ServerKit
import TestKit
import Testing

@testable import Modules

@Suite("Software version (XEP-0092)") struct SoftwareVersionTests {
    private static let query = "<query xmlns='jabber:iq:version'/>"

    @Test("Name and version, and the system only where that is wanted", arguments: [false, true])
    func answer(showsOS: Bool) async throws {
        let config = "modules: { version: { show_os: \(showsOS ? "on" : "off") } }"
        try await play(modules: [SoftwareVersion.self], config: config) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let answer = try #require(try await romeo.asks(.get, Self.query, to: "montague.example"))
            #expect(answer.text(of: "name") == "Martlet")
            #expect(answer.text(of: "version")?.isEmpty == false)
            #expect(answer.text(of: "os")?.hasPrefix("Linux ") == (showsOS ? true : nil))
        }
    }

    @Test("Accounts run no software, and nothing can be set")
    func refused() async throws {
        try await play(modules: [SoftwareVersion.self]) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            #expect(try await romeo.isRefused(.get, Self.query).condition == .serviceUnavailable)
            #expect(try await romeo.isRefused(.set, Self.query, to: "montague.example").condition == .notAllowed)
        }
    }
}
