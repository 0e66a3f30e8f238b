// swift-tools-version: 6.2
import PackageDescription

// A server of your own: Martlet's modules and yours in one program.
let package = Package(
    name: "site",
    dependencies: [
        // From outside of this checkout: .package(url: "https://…/martlet", from: "0.1.0")
        .package(name: "martlet", path: "../..")
    ],
    targets: [
        .executableTarget(
            name: "site",
            dependencies: [
                .product(name: "MartletCommand", package: "martlet"), .product(name: "Modules", package: "martlet"),
                .product(name: "ServerKit", package: "martlet"),
            ])
    ],
    swiftLanguageModes: [.v6])
