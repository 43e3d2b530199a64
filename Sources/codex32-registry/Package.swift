// swift-tools-version: 6.2
import PackageDescription

// A package of its own, so that the build of codex32 and of its unit tests never touches NIO: its packages take
// longer to compile than all of codex32. `make build` builds both.
let package = Package(
    name: "codex32-registry",
    dependencies: [
        .package(name: "codex32", path: "../.."),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),
    ],
    targets: [
        .executableTarget(
            name: "codex32-registry",
            dependencies: [
                .product(name: "OCISpec", package: "codex32"), .product(name: "Distribution", package: "codex32"),
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"), .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ], path: "Program",
            swiftSettings: [
                .enableUpcomingFeature("ExistentialAny"), .enableUpcomingFeature("InternalImportsByDefault"),
                .enableUpcomingFeature("MemberImportVisibility"), .treatAllWarnings(as: .error),
            ])
    ]
)
