import LinuxKernel
import Testing

@Suite("Text")
struct TextTests {
    @Test(arguments: [0, 1, 7, 8, 9, 15, 16, 255, 0o1777, 0xdead_beef, UInt64.max])
    func digits(_ number: UInt64) {
        #expect(number.hexadecimal == String(number, radix: 16))
        #expect(number.octal == String(number, radix: 8))
    }
}
