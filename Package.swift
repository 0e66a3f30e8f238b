// swift-tools-version: 6.2
import PackageDescription

// What awaits stays on its caller's thread unless it says @concurrent: a hop to another one costs more than most of it.
let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"), .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

let nio: [Target.Dependency] = [
    .product(name: "NIOCore", package: "swift-nio"),
    .product(name: "NIOPosix", package: "swift-nio"),
]

let package = Package(
    name: "martlet",
    products: [
        .library(name: "XMPP", targets: ["XMPP"]),
        .library(name: "ServerKit", targets: ["ServerKit"]),
        .library(name: "Modules", targets: ["Modules"]),
        .library(name: "MartletCommand", targets: ["MartletCommand"]),
        .library(name: "TestKit", targets: ["TestKit"]),
        .executable(name: "martlet", targets: ["martlet"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    ],
    targets: [
        // The system's libraries.
        .systemLibrary(name: "CIDN2", pkgConfig: "libidn2", providers: [.apt(["libidn2-dev"])]),
        .systemLibrary(name: "CLibXML2", pkgConfig: "libxml-2.0", providers: [.apt(["libxml2-dev"])]),
        .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
        // Without pkgConfig: its .pc file asks for those of libevent and others, which libunbound-dev does not bring.
        .systemLibrary(name: "CUnbound", providers: [.apt(["libunbound-dev"])]),
        .systemLibrary(name: "CYAML", pkgConfig: "yaml-0.1", providers: [.apt(["libyaml-dev"])]),

        // The house, from the ground up.
        .target(name: "XMPP", dependencies: ["CIDN2"], swiftSettings: strict),
        .target(name: "Streams", dependencies: ["XMPP", "CLibXML2", "COpenSSL", "CUnbound"] + nio, swiftSettings: strict),
        .target(
            name: "ServerKit",
            dependencies: ["XMPP", "Streams", "CYAML", .product(name: "Logging", package: "swift-log")] + nio,
            swiftSettings: strict),
        .target(
            name: "StorageMemory", dependencies: ["ServerKit"], path: "modules/storage-memory", swiftSettings: strict),
        .target(
            name: "StorageSQLite", dependencies: ["ServerKit", "CSQLite"], path: "modules/storage-sqlite",
            swiftSettings: strict),
        .target(name: "PubSub", dependencies: ["ServerKit"], path: "modules/pubsub", swiftSettings: strict),
        .target(name: "MUC", dependencies: ["ServerKit"], path: "modules/muc", swiftSettings: strict),
        .target(
            name: "Federation", dependencies: ["ServerKit", .product(name: "NIOHTTP1", package: "swift-nio")] + nio, path: "modules/s2s", swiftSettings: strict),
        .target(
            name: "Modules", dependencies: ["ServerKit", "StorageMemory", "StorageSQLite", "PubSub", "MUC", "Federation"] + nio,
            path: "modules", exclude: ["storage-memory", "storage-sqlite", "pubsub", "muc", "s2s"], swiftSettings: strict),
        .target(
            name: "MartletCommand",
            dependencies: [
                "ServerKit", "StorageMemory", "StorageSQLite",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ] + nio,
            swiftSettings: strict),
        .executableTarget(name: "martlet", dependencies: ["MartletCommand", "Modules"], swiftSettings: strict),
        .target(name: "TestKit", dependencies: ["ServerKit", "StorageMemory"] + nio, swiftSettings: strict),

        .executableTarget(
            name: "storage-crash", dependencies: ["ServerKit", "StorageSQLite"], path: "Tests/StorageCrash"),
        .testTarget(name: "XMPPTests", dependencies: ["XMPP"]),
        .testTarget(
            name: "StreamsTests",
            dependencies: ["Streams", "COpenSSL", .product(name: "NIOEmbedded", package: "swift-nio")] + nio),
        .testTarget(name: "ServerKitTests", dependencies: ["ServerKit", "TestKit"]),
        .testTarget(
            name: "StorageTests", dependencies: ["ServerKit", "StorageMemory", "StorageSQLite", "storage-crash"]),
        .testTarget(name: "CommandTests", dependencies: ["MartletCommand", "Modules", "StorageMemory", "martlet"]),
        .testTarget(
            name: "ModuleTests", dependencies: ["Modules", "PubSub", "StorageMemory", "StorageSQLite", "TestKit"]),
        .testTarget(name: "MUCTests", dependencies: ["MUC", "Modules", "StorageMemory", "StorageSQLite", "TestKit"]),
        .testTarget(
            name: "FederationTests", dependencies: ["Federation", "Modules", "MUC", "StorageMemory", "StorageSQLite", "TestKit"] + nio),
        .testTarget(name: "PubSubTests", dependencies: ["PubSub", "Modules", "StorageSQLite", "TestKit"]),
    ],
    swiftLanguageModes: [.v6])
