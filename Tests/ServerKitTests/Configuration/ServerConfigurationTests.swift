import ServerKit
import Testing

private let listeners: [ServerConfiguration.Listener] = [
    .init("c2s", default: [ListenAddress(port: 5222)], "Clients, with STARTTLS."),
    .init("http", default: [ListenAddress(host: "127.0.0.1", port: 5280)], "Web clients and uploads."),
]

private func read(_ text: String) throws -> (configuration: ServerConfiguration, problems: [String]) {
    let result = ServerConfiguration.read(bytes: Array(text.utf8), file: "martlet.yaml", listeners: listeners)
    return (try #require(result.configuration), result.problems.map(\.description))
}

@Suite("Server configuration") struct ServerConfigurationTests {
    static let example = """
        admins: [anna@example.org]
        data_directory: /var/lib/martlet
        log: { level: debug }
        hosts:
          Example.ORG: {}
          plain.example.org:
          guests.example.org:
            authentication: anonymous
            modules: { archive: off, carbons: on, limits: { c2s: { burst: 3 } }, register: { open: yes } }
        components:
          conference.example.org: { module: muc }
          upload.example.org: { module: upload, size_limit: 100 MB, quota: 3 GB }
        modules:
          archive: { retention: 30 days }
          carbons: { strict: yes }
          limits: { c2s: { rate: 10/s, burst: 9 }, s2s: { rate: 20/s } }
          upload: { quota: 1 GB, expire: 30 days }
          proxy65: on
          register: off
        listen: { c2s: [5222, "[::1]:5223"], http: off }
        """

    @Test("The example of the design is read")
    func design() throws {
        let (configuration, problems) = try read(Self.example)
        #expect(problems == [])
        #expect(configuration.admins.map(\.description) == ["anna@example.org"])
        #expect(configuration.log.level == .debug)
        #expect(configuration.durability == .full)
        #expect(configuration.hosts.map(\.name) == ["example.org", "plain.example.org", "guests.example.org"])
        #expect(configuration.hosts.map(\.authentication) == [.internal, .internal, .anonymous])
        #expect(configuration.components.map(\.module) == ["muc", "upload"])
        #expect(configuration.components[1].options.entries.map(\.key) == ["size_limit", "quota"])
        #expect(configuration.listen["c2s"]?.map(\.description) == ["5222", "[::1]:5223"])
        #expect(configuration.listen["http"] == [])
        #expect(configuration.modules["register"]?.isOn == false)
    }

    @Test("An empty file is a working configuration")
    func empty() throws {
        let (configuration, problems) = try read("")
        #expect(problems == [])
        #expect(configuration.storage == "sqlite")
        #expect(configuration.listen["http"]?.map(\.description) == ["127.0.0.1:5280"])
    }

    @Test("A host's settings lie over the server's")
    func merging() throws {
        let configuration = try read(Self.example).configuration
        let host = "guests.example.org"
        #expect(configuration.setting(module: "archive", host: host)?.isOn == false)
        #expect(configuration.setting(module: "archive", host: "example.org")?.isOn == true)
        #expect(configuration.setting(module: "carbons", host: host)?.node["strict"]?.text == "yes")
        #expect(configuration.setting(module: "register", host: host)?.node["open"]?.text == "yes")
        #expect(configuration.setting(module: "mystery", host: host) == nil)
        let limits = try #require(configuration.setting(module: "limits", host: host)?.node)
        #expect(limits["c2s"]?["burst"]?.text == "3")
        #expect(limits["c2s"]?["burst"]?.path == "hosts.guests.example.org.modules.limits.c2s.burst")
        #expect(limits["c2s"]?["rate"]?.text == "10/s")
        #expect(limits["s2s"]?["rate"]?.path == "modules.limits.s2s.rate")
        let upload = configuration.options(of: configuration.components[1])
        #expect(upload["quota"]?.text == "3 GB")
        #expect(upload["expire"]?.text == "30 days")
    }

    @Test("Problems that several hosts inherit are printed once, in the order of the file")
    func repetitions() {
        let problems = (1...3).reversed().flatMap { line in
            let problem = ConfigProblem("wrong.", at: ConfigPosition(file: "f", line: line))
            return [problem, problem]
        }
        #expect(ConfigProblems(problems).description == "f:1: wrong.\nf:2: wrong.\nf:3: wrong.")
    }

    @Test(
        "What is wrong is said where it is",
        arguments: [
            (
                "hosts:\n  a.example: {}\n  A.example: {}\n",
                ["martlet.yaml:3: hosts.A.example: the domain a.example was given before, on line 2."]
            ),
            (
                "hosts: { a.example: }\ncomponents:\n  a.example.: { module: muc }\n",
                ["martlet.yaml:3: components.a.example.: the domain a.example was given before, on line 1."]
            ),
            (
                "hosts: { anna@a.example: {}, a..b: {}, 'a/b': {} }",
                ["anna@a.example", "a..b", "a/b"].map {
                    "martlet.yaml:1: hosts.\($0): \"\($0)\" is not a domain name such as example.org."
                }
            ),
            ("hosts: [a.example]", ["martlet.yaml:1: hosts: expected names with options, found a list."]),
            (
                "hosts:\n  a.example: on\n",
                ["martlet.yaml:2: hosts.a.example: expected a group of options, found \"on\"."]
            ),
            (
                "hosts:\n  a.example: { authentification: anonymous }\n",
                [
                    "martlet.yaml:2: hosts.a.example.authentification: no such option. "
                        + "Did you mean \"authentication\"?"
                ]
            ),
            (
                "components: { a.example: {}, b.example: }",
                [
                    "martlet.yaml:1: components.a.example: expected \"module: NAME\", "
                        + "the module that serves this domain.",
                    "martlet.yaml:1: components.b.example: expected \"module: NAME\", "
                        + "the module that serves this domain, found nothing.",
                ]
            ),
            (
                "modules: { a: maybe, b: [on] }",
                [
                    "martlet.yaml:1: modules.a: expected on, off or a group of options, found \"maybe\".",
                    "martlet.yaml:1: modules.b: expected on, off or a group of options, found a list.",
                ]
            ),
            ("listen: { s2s: 5269 }", ["martlet.yaml:1: listen.s2s: no such option. Did you mean \"c2s\"?"]),
            (
                "moduls: {}\nhost: {}",
                [
                    "martlet.yaml:1: moduls: no such option. Did you mean \"modules\"?",
                    "martlet.yaml:2: host: no such option. Did you mean \"hosts\"?",
                ]
            ),
            (
                "hosts: { a.example: { certificate_key: k.pem } }",
                [
                    "martlet.yaml:1: hosts.a.example.certificate_key: a key without a certificate; "
                        + "add \"certificate\"."
                ]
            ),
            ("- a", ["martlet.yaml:1: expected a group of options, found a list."]),
        ])
    func problems(text: String, expected: [String]) throws {
        #expect(try read(text).problems == expected)
    }

    @Test("A file that cannot be read to its end is no configuration")
    func unreadable() {
        let result = ServerConfiguration.read(bytes: [0xFF], file: "martlet.yaml", listeners: listeners)
        #expect(result.configuration == nil)
        #expect(result.problems.map(\.description) == ["martlet.yaml:1: the file is not valid UTF-8."])
    }

    @Test("Modules that do not exist are reported wherever they are named")
    func unknownModules() throws {
        let text = """
            modules: { archiv: on }
            hosts:
              a.example: { modules: { carbon: off } }
            components:
              b.example: { module: mcu }
            """
        let problems = try read(text).configuration.problems(knownModules: ["archive", "carbons", "muc"])
        #expect(
            problems.map(\.description) == [
                "martlet.yaml:1: modules.archiv: no such module. Did you mean \"archive\"?",
                "martlet.yaml:3: hosts.a.example.modules.carbon: no such module. Did you mean \"carbons\"?",
                "martlet.yaml:5: components.b.example.module: there is no module \"mcu\". Did you mean \"muc\"?",
            ])
    }

    @Test("The sample of the top level reads without problems once the marks are taken off")
    func sample() throws {
        var writer = SampleWriter()
        writer.prose("Martlet reads this file at its start.", "Every option stands here with its default.")
        writer.options(ServerConfiguration.descriptions(listeners: listeners))
        for line in writer.text.split(separator: "\n") { #expect(line.count <= 100) }
        #expect(try read(writer.text).problems == [])
        #expect(try read(uncommented(writer.text)).problems == [])
        #expect(writer.text.contains("#data_directory: /var/lib/martlet"))
        #expect(writer.text.contains("  #http: \"127.0.0.1:5280\""))
    }
}
