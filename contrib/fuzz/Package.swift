// swift-tools-version: 6.2
import PackageDescription

// Apart from the server's own package: everything here is compiled with the fuzzer's and the address sanitizer's
// instrumentation, which `run` switches on.
let package = Package(
    name: "fuzz",
    dependencies: [.package(name: "martlet", path: "../..")],
    targets: [
        .executableTarget(
            name: "Fuzz", dependencies: [.product(name: "ServerKit", package: "martlet")],
            // The gold linker stumbles over the instrumented objects.
            linkerSettings: [.unsafeFlags(["-use-ld=lld"])])
    ],
    swiftLanguageModes: [.v6])
