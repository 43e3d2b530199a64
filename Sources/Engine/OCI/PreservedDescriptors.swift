public import LinuxKernel

/// The descriptors of the caller's, from 3 on, that a container's program inherits.
///
/// Socket activation (sd_listen_fds(3)) gives the first ones, `--preserve-fds` those behind them, as runc has it.
public struct PreservedDescriptors: Sendable {
    public let count: Int
    /// LISTEN_FDS and LISTEN_PID for the program, which is pid 1 of its namespace.
    public let environment: [String]

    /// Must be made before this process opens anything: a number that the caller left out would be ours.
    ///
    /// - Parameters:
    ///   - asked: of `--preserve-fds`.
    ///   - activated: whether what systemd passed is passed on too.
    /// - Throws: a number that is not open.
    public init(asked: Int, activated: Bool) throws(Problem) {
        var listening = 0
        if activated, let text = Machine.environment("LISTEN_FDS"),
            Machine.environment("LISTEN_PID") == String(Machine.pid)
        {
            guard let number = Int(text), (0...65536).contains(number) else {
                throw Problem("cannot pass descriptors on", "LISTEN_FDS is \(text)", hint: "sd_listen_fds(3)")
            }
            listening = number
        }
        for number in 0..<listening + asked where !Descriptor.isOpen(Int32(3 + number)) {
            throw Problem(
                "cannot pass descriptors on", "descriptor \(3 + number) is not open",
                hint: "--preserve-fds N passes 3 to N+2 on, behind those of LISTEN_FDS")
        }
        count = listening + asked
        environment = listening > 0 ? ["LISTEN_FDS=\(listening)", "LISTEN_PID=1"] : []
    }
}
