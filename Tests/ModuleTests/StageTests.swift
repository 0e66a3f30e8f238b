import ServerKit
import TestKit
import Testing

@Suite("The stage") struct StageTests {
    @Test("A request that nobody understands is answered, over both media", arguments: [Medium.memory, .tls])
    func unknownRequest(medium: Medium) async throws {
        try await play(modules: [], over: medium) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let error = try await romeo.isRefused(.get, "<query xmlns='urn:example:nothing'/>", to: "montague.example")
            #expect(error.condition == .serviceUnavailable)
            try await stage.staysSilent()
        }
    }

    @Test("A request to nobody comes back")
    func requestToNobody() async throws {
        try await play(modules: []) { stage in
            let romeo = try await stage.enter("romeo@montague.example/phone")
            let error = try await romeo.isRefused(
                .get, "<query xmlns='urn:example:nothing'/>", to: "nobody@montague.example")
            #expect(error.condition == .serviceUnavailable)
            try await stage.staysSilent()
        }
    }
}
