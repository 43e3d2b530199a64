// swift-tools-version: 6.1
import PackageDescription

// Every room holds to the same language rules; warnings are errors in the Makefile's builds.
let rules: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    // Regular expressions and the searching that comes with them are 1.2 MB of a static program.
    .unsafeFlags(["-Xfrontend", "-disable-implicit-string-processing-module-import"]),
    // A generic type is then asked for by a call that names its conformances, instead of by a mangled name
    // for which the runtime searches every conformance of the program: most of the time of a start.
    .unsafeFlags(
        ["-Xfrontend", "-disable-concrete-type-metadata-mangled-name-accessors", "-Xfrontend", "-function-sections"],
        .when(configuration: .release)),
]

// What the command imports.
let command: [Target.Dependency] = ["LinuxKernel", "OCISpec", "Sandbox", "Images", "Engine", "Attacks"]

// The rooms, bottom first: a room may depend on those above it in this list, never on those below. Each names every room
// that it imports: one that it has by way of another is not built again with it.
// No package dependencies: all rooms so far are on the hot path, where neither Foundation nor NIO may load.
let package = Package(
    name: "codex32",
    products: [
        .executable(name: "codex32", targets: ["codex32"]),
        // For codex32-registry, a package of its own in Sources.
        .library(name: "OCISpec", targets: ["OCISpec"]), .library(name: "Distribution", targets: ["Distribution"]),
    ],
    targets: [
        .target(name: "CShims", path: "CShims", cSettings: [.unsafeFlags(["-Wall", "-Wextra"])]),
        .target(name: "LinuxKernel", dependencies: ["CShims"], swiftSettings: rules),
        .target(name: "OCISpec", swiftSettings: rules),
        // What registries say, read: codex32-registry's, here for the tests and the fuzzer, which wait for no NIO.
        .target(name: "Distribution", dependencies: ["OCISpec"], swiftSettings: rules),
        .target(
            name: "Sandbox", dependencies: ["LinuxKernel", "OCISpec"],
            resources: [
                .embedInCode("Profiles/minimal.json"), .embedInCode("Profiles/standard.json"),
                .embedInCode("Profiles/strict.json"),
            ], swiftSettings: rules),
        .target(
            name: "RootfsTemplates", path: "rootfs-templates",
            resources: [
                .embedInCode("host.json"), .embedInCode("busybox.json"), .embedInCode("python.json"),
                .embedInCode("debian.json"),
            ], swiftSettings: rules),
        .target(name: "Images", dependencies: ["LinuxKernel", "OCISpec", "RootfsTemplates"], swiftSettings: rules),
        .target(name: "Engine", dependencies: ["LinuxKernel", "OCISpec", "Sandbox", "Images"], swiftSettings: rules),
        // The corpus of `codex32 selftest --attack`, and what runs it: nothing else calls them.
        .target(name: "AttackPrograms", cSettings: [.unsafeFlags(["-Wall", "-Wextra"])]),
        .target(
            name: "Attacks", dependencies: ["AttackPrograms", "LinuxKernel", "OCISpec", "Sandbox"],
            swiftSettings: rules),
        .executableTarget(name: "codex32", dependencies: command, swiftSettings: rules),
        .testTarget(
            name: "UnitTests", dependencies: command + ["Distribution", "codex32"], path: "Tests/Unit",
            swiftSettings: rules),
    ]
)

// For `make fuzz` and `make test-fuzz` alone, built with -sanitize=fuzzer (Tests/Tools/fuzz): the command becomes a
// room like the others, so that the readers of its options can be called too, and one program calls them all.
if Context.environment["CODEX32_FUZZ"] != nil {
    package.products = [.executable(name: "codex32-fuzz", targets: ["codex32-fuzz"])]
    package.targets.removeAll { $0.isTest || $0.name == "codex32" }
    package.targets += [
        .target(
            name: "codex32", dependencies: command, exclude: ["Main.swift"], swiftSettings: rules),
        .executableTarget(
            name: "codex32-fuzz", dependencies: command + ["Distribution", "codex32"], path: "Tests/Fuzz",
            exclude: ["Corpus"], swiftSettings: rules + [.unsafeFlags(["-parse-as-library"])]),
    ]
}
