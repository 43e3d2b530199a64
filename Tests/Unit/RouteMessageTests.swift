import Testing

@testable import LinuxKernel

/// rtnetlink as bytes, and which addresses go with a device that moves.
@Suite struct RouteMessageTests {
    private static func address(
        scope: UInt8 = 0, flags: UInt8 = 0x80, long: UInt32? = nil, index: UInt32 = 7
    ) -> RouteMessage {
        var body: [UInt8] = [2, 24, flags, scope]
        withUnsafeBytes(of: index) { body += $0 }
        var message = RouteMessage(RouteMessage.Kind.newAddress, 0, body: body)
        message.attribute(1, [10, 0, 0, 1])
        message.attribute(2, [10, 0, 0, 1])
        message.attribute(3, Array("eth0\0".utf8))
        if let long { message.attribute(8, long) }
        return message
    }

    @Test func aRequestIsWrittenAsTheKernelReadsIt() {
        var message = RouteMessage.link(RouteMessage.Kind.setLink, index: 3, up: true)
        message.attribute(3, Array("ab\0".utf8))
        message.attribute(28, 9 as UInt32)
        var wanted: [UInt8] = [48, 0, 0, 0, 19, 0, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0]
        wanted += [0, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]
        wanted += [7, 0, 3, 0, 0x61, 0x62, 0, 0, 8, 0, 28, 0, 9, 0, 0, 0]
        #expect(message.bytes(sequence: 1) == wanted)
    }

    @Test func onlyAnswersToTheRequestAreRead() {
        let (mine, other) = (Self.address(), RouteMessage.link(RouteMessage.Kind.newLink))
        let packet = other.bytes(sequence: 1) + mine.bytes(sequence: 2)
        #expect(RouteMessage.list(packet, sequence: 2) == [mine])
        #expect(RouteMessage.list([], sequence: 2) == [])
    }

    @Test func damagedPacketsAreNoAnswers() {
        let good = Self.address(long: 0x80).bytes(sequence: 1)
        for length in 1..<good.count { #expect(RouteMessage.list(Array(good.prefix(length)), sequence: 1) == nil) }
        for index in good.indices {
            for value in [0, 1, 4, 0x7f, 0xff] as [UInt8] {
                var bytes = good
                bytes[index] = value
                for message in RouteMessage.list(bytes, sequence: 1) ?? [] {
                    _ = message.attributes(behind: 8)
                    _ = DeviceAddress(message, of: 7)
                }
            }
        }
    }

    @Test func addressesThatAreNotTheDevicesOwnStay() {
        #expect(DeviceAddress(Self.address(), of: 7) != nil)
        #expect(DeviceAddress(Self.address(), of: 8) == nil)
        #expect(DeviceAddress(Self.address(scope: 253), of: 7) == nil)
        #expect(DeviceAddress(Self.address(flags: 0), of: 7) == nil)
        // The long flags are the true ones.
        #expect(DeviceAddress(Self.address(flags: 0x80, long: 0), of: 7) == nil)
        #expect(DeviceAddress(Self.address(flags: 0, long: 0x280), of: 7) != nil)
        #expect(DeviceAddress(RouteMessage(20, 0, body: [2, 24]), of: 7) == nil)
    }

    @Test func anAddressIsGivenWithoutItsLabelAndState() {
        let request = DeviceAddress(Self.address(flags: 0xc0, long: 0x2c0), of: 7)?.request(for: 9)
        var wanted: [UInt8] = [2, 24, 0, 0, 9, 0, 0, 0]
        wanted += [8, 0, 1, 0, 10, 0, 0, 1, 8, 0, 2, 0, 10, 0, 0, 1, 8, 0, 8, 0, 0, 2, 0, 0]
        #expect(request?.body == wanted && request?.flags == 0x605)
    }
}
