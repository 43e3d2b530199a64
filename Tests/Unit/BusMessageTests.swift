import Testing

@testable import Engine
@testable import LinuxKernel

/// D-Bus as bytes, and limits as systemd has them.
@Suite struct BusMessageTests {
    @Test func aCallIsWrittenAsTheSpecificationHasIt() {
        var message = BusMessage(path: "/a", interface: "b.c", member: "D")
        message.signature = "s"
        var body = BusWriter()
        body.text("hi")
        message.body = body.bytes
        var wanted: [UInt8] = [0x6c, 1, 0, 1, 7, 0, 0, 0, 5, 0, 0, 0, 55, 0, 0, 0]
        wanted += [1, 1, 0x6f, 0, 2, 0, 0, 0] + Array("/a\0".utf8) + [0, 0, 0, 0, 0]
        wanted += [2, 1, 0x73, 0, 3, 0, 0, 0] + Array("b.c\0".utf8) + [0, 0, 0, 0]
        wanted += [3, 1, 0x73, 0, 1, 0, 0, 0] + Array("D\0".utf8) + [0, 0, 0, 0, 0, 0]
        wanted += [8, 1, 0x67, 0, 1, 0x73, 0] + [0] + [2, 0, 0, 0] + Array("hi\0".utf8)
        #expect(message.bytes(serial: 5) == wanted)
    }

    @Test func whatIsWrittenIsRead() throws {
        var message = BusMessage(path: "/a", interface: "b.c", member: "D")
        message.body = [1, 2, 3]
        let bytes = message.bytes(serial: 9)
        #expect(try BusMessage.rest(Array(bytes.prefix(16))) == bytes.count - 16)
        let read = try BusMessage(bytes)
        #expect(read.member == "D" && read.path == "/a" && read.body == [1, 2, 3] && read.kind == .call)
    }

    /// Whatever stands at the other end: an error, and no crash.
    @Test func damagedMessagesAreErrors() {
        var message = BusMessage(path: "/a", interface: "b.c", member: "D")
        message.signature = "s"
        let good = message.bytes(serial: 1)
        for length in 0..<good.count { #expect((try? BusMessage(Array(good.prefix(length)))) == nil) }
        for index in good.indices {
            for value in [0, 1, 0x7f, 0xff] as [UInt8] {
                var bytes = good
                bytes[index] = value
                _ = try? BusMessage(bytes)
                _ = try? BusMessage.rest(Array(bytes.prefix(16)))
            }
        }
    }

    @Test func limitsAreProperties() {
        let settings = [
            ("memory.max", "max"), ("memory.high", "48M"), ("cpu.max", "50000 100000"), ("cpuset.cpus", "0-1,9"),
        ]
        let properties = ScopeUnit.properties(settings.map { CgroupSetting($0.0, $0.1) })
        #expect(
            properties.map(\.name) == [
                "MemoryMax", "MemoryHigh", "CPUQuotaPeriodUSec", "CPUQuotaPerSecUSec", "AllowedCPUs",
            ])
        #expect(
            properties.map(\.value) == [
                .long(UInt64.max), .long(48 << 20), .long(100_000), .long(500_000), .bytes([3, 2]),
            ])
        #expect(ScopeUnit.properties([CgroupSetting("rdma.max", "m hca_object=2")]).isEmpty)
    }
}
