import Modules
import ServerKit
import Testing

@testable import MartletCommand

@Suite("Configuration file") struct ConfigurationFileTests {
    private let folder = TemporaryFolder()
    private var path: String { folder.path + "/martlet.yaml" }

    private func problems(_ text: String) throws -> [String] {
        try Files.write(text, to: path, isReplacing: true)
        do {
            _ = try ConfigurationFile.read(path, modules: bundledModules)
            return []
        } catch let problems as ConfigProblems {
            return problems.all.map { String($0.description.dropFirst(folder.path.count + 1)) }
        }
    }

    @Test("All problems are found at once, with their lines and the way out")
    func reported() throws {
        #expect(try problems("hosts: { example.org: {} }\n") == [])
        #expect(
            try problems(
                """
                hosts:
                  example.org: {}
                storage: sqlit
                lissen: {}
                modules:
                  c2z: on
                  c2s: { login_tim: 3 s }
                """) == [
                    "martlet.yaml: storage: there is no storage module sqlit; allowed: sqlite or memory."
                        + " Did you mean \"sqlite\"?",
                    "martlet.yaml:4: lissen: no such option. Did you mean \"listen\"?",
                    "martlet.yaml:6: modules.c2z: no such module. Did you mean \"c2s\"?",
                    "martlet.yaml:7: modules.c2s.login_tim: no such option. Did you mean \"login_time\"?",
                ])
        #expect(
            try problems("admins: []\n") == [
                "martlet.yaml: hosts: no host; name at least one: \"hosts: { example.org: {} }\"."
            ])
    }

    @Test("What setup writes is right, explains itself, and is not written twice")
    func setup() async throws {
        let plan = try SetupPlan(
            domain: "Example.ORG", admin: "anna", configuration: path, data: folder.path + "/data", certificates: nil)
        try plan.check()
        let certificate = try await plan.carryOut(password: "secret", modules: bundledModules)
        #expect(certificate == folder.path + "/data/certificates/example.org.crt")
        let configuration = try ConfigurationFile.read(path, modules: bundledModules)
        #expect(configuration.hosts.map(\.name) == ["example.org"])
        #expect(configuration.admins.map(\.description) == ["anna@example.org"])
        #expect(!CertificateCheck.findings(configuration).hasProblems)
        let page = try await AccountAccess.with(configuration) { accounts in
            try await accounts.page(AccountPageArguments(host: "example.org", limit: 10, hasDetails: false))
        }
        #expect(page.accounts.map(\.address) == ["anna@example.org"])
        #expect(throws: CommandFailure.self) { try plan.check() }
        #expect(throws: CommandFailure.self) {
            try SetupPlan(domain: "a b", admin: "anna", configuration: "c", data: "d", certificates: nil)
        }
    }

    @Test("A demonstration that is started again has the same accounts and passwords")
    func demo() async throws {
        let stage = DemoStage(directory: folder.path)
        _ = try await stage.prepare(modules: bundledModules)
        let first = try stage.accounts()
        _ = try await stage.prepare(modules: bundledModules)
        #expect(first.map(\.address) == ["romeo@localhost", "juliet@localhost"])
        #expect(try stage.accounts().map(\.password) == first.map(\.password))
        #expect(try ConfigurationFile.read(stage.configuration, modules: bundledModules).hosts.count == 1)
    }
}
