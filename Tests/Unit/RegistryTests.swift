import Testing

@testable import Images

/// Names of registries' images, and platforms: what is one and what is none.
@Suite struct RegistryTests {
    @Test func aNameSaysItsRegistry() throws {
        let plain = try RegistryReference("docker.io/library/busybox", to: "pull")
        #expect(plain.registry == "docker.io" && plain.repository == "library/busybox" && plain.asked == "latest")
        let port = try RegistryReference("localhost:5000/a/b:2", to: "pull")
        #expect(port.registry == "localhost:5000" && port.repository == "a/b" && port.asked == "2")
        let digest = "sha256:" + String(repeating: "a", count: 64)
        let pinned = try RegistryReference("quay.io/x/y:1@\(digest)", to: "pull")
        #expect(
            pinned.asked == digest && "\(pinned.name)" == "quay.io/x/y:1" && "\(pinned)" == "quay.io/x/y:1@\(digest)")
    }

    @Test(arguments: [
        "busybox", "library/busybox", "busybox:1", "localhost", "localhost:5000", "quay.io", "quay.io/", "quay.io/X",
        "quay.io/x@sha256:1", "quay.io/x@md5:1", "@", "quay.io/../x", "quay.io//x", "-x.io/a", "quay.io/x:y:z", "",
        "quay.io:port/x", "[::1]:5000/x", "http://quay.io/x",
    ])
    func aShortOrBrokenNameIsRefused(_ text: String) {
        #expect(throws: (any Error).self) { try RegistryReference(text, to: "pull") }
        #expect(!RegistryReference.names(text))
    }

    @Test func platformsFitWhereWhatIsSaidFits() throws {
        let arm = try Platform(asked: "linux/arm/v7")
        #expect(arm.takes(Platform(os: "linux", architecture: "arm")))
        #expect(arm.takes(Platform(os: "linux", architecture: "arm", variant: "v7")))
        #expect(!arm.takes(Platform(os: "linux", architecture: "arm", variant: "v6")))
        #expect(!arm.takes(Platform(os: "windows", architecture: "arm", variant: "v7")))
        #expect(try Platform(asked: "x86_64") == Platform(os: "linux", architecture: "amd64"))
        #expect(try Platform(asked: "linux/aarch64") == Platform(os: "linux", architecture: "arm64"))
        for text in ["", "/", "linux/", "a/b/c/d", "Linux/amd64", "linux/amd 64"] {
            #expect(throws: (any Error).self) { try Platform(asked: text) }
        }
    }
}
