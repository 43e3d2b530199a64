public import LinuxKernel
public import OCISpec

/// Turns a profile into a program for one capability set on one architecture and kernel.
public enum SeccompCompiler {
    /// What of the surroundings a profile's conditions look at.
    public struct Circumstances: Equatable, Sendable {
        public let capabilities: CapabilitySet
        public let architecture: String
        public let kernel: KernelVersion
        public init(capabilities: CapabilitySet, architecture: String, kernel: KernelVersion) {
            self.capabilities = capabilities
            self.architecture = architecture
            self.kernel = kernel
        }
    }

    public static func compile(_ profile: SeccompProfile, for there: Circumstances) throws(DocumentError)
        -> SeccompProgram
    {
        do {
            guard let builder = SeccompBuilder(defaultAction: code(profile.defaultAction, profile.defaultErrnoRet))
            else {
                throw KernelError("seccomp_init", number: Errno.invalid)
            }
            let others = try architectures(profile, there)
            for token in others { try builder.add(architecture: token) }
            for rule in profile.rules where try applies(rule, there) {
                let action = code(rule.action, rule.errnoRet)
                let conditions = rule.arguments.map(condition)
                for name in rule.names {
                    guard let call = SystemCallNumber(name: name) else {
                        throw DocumentError("\(rule.place).names", "\(name) is not a system call that libseccomp knows")
                    }
                    try add(builder, action, call, conditions, rule)
                }
            }
            return try telling(builder.compile(), of: profile, on: others).byRanges
        } catch let error as DocumentError {
            throw error
        } catch {
            // What is no fault of the profile's has a hint of its own.
            let cause = (error as? KernelError).flatMap { $0.number == Errno.invalid ? nil : $0 }
            throw DocumentError(
                "", "libseccomp refused the profile: \(error)", hint: cause.flatMap(Problem.usualHint))
        }
    }

    /// Where EPERM is the answer to what is not allowed, calls newer than every known name get ENOSYS: a
    /// program takes that for an older kernel and falls back, as it would there. What is known, and
    /// refused, stays refused with EPERM. libseccomp cannot say "above", so the program is extended.
    private static func telling(
        _ program: SeccompProgram, of profile: SeccompProfile, on others: [UInt32]
    ) throws(KernelError) -> SeccompProgram {
        guard profile.defaultAction == .error,
            profile.defaultErrnoRet ?? UInt32(Errno.permission) == UInt32(Errno.permission)
        else { return program }
        // x32 is no architecture to the kernel: its calls are x86_64's, with a bit set.
        let x32: UInt32 = 0x4000_003e
        let all = Set([SeccompBuilder.nativeArchitecture] + others).subtracting([x32]).sorted()
        guard
            let extended = program.answering(
                0x0005_0000 | UInt32(Errno.noSystemCall), from: UInt32(SystemCallNumber.highestKnown + 1),
                below: SystemCallNumber.special(all), on: all)
        else { throw KernelError("seccomp", number: Errno.tooBig) }
        return extended
    }

    /// Several conditions on one argument are alternatives in Docker's format (libseccomp takes one
    /// condition for an argument, and runc splits such a rule in the same way).
    private static func add(
        _ builder: borrowing SeccompBuilder, _ action: UInt32, _ call: SystemCallNumber,
        _ conditions: [SeccompCondition],
        _ rule: SeccompProfile.Rule
    ) throws(KernelError) {
        let arguments = conditions.map(\.argument)
        if Set(arguments).count == arguments.count {
            try builder.add(action: action, call: call, conditions: conditions)
        } else {
            for condition in conditions { try builder.add(action: action, call: call, conditions: [condition]) }
        }
    }

    private static func condition(_ argument: SeccompProfile.Argument) -> SeccompCondition {
        let comparison: SeccompCondition.Comparison =
            switch argument.comparison {
            case .notEqual: .notEqual
            case .less: .less
            case .lessOrEqual: .lessOrEqual
            case .equal: .equal
            case .greaterOrEqual: .greaterOrEqual
            case .greater: .greater
            case .maskedEqual: .maskedEqual
            }
        return SeccompCondition(
            argument: argument.index, comparison: comparison, value: argument.value, second: argument.valueTwo)
    }

    /// SCMP_ACT_* of seccomp_init(3). An errno is EPERM unless the profile says which.
    private static func code(_ action: SeccompProfile.Action, _ errno: UInt32?) -> UInt32 {
        switch action {
        case .kill, .killThread: 0x0000_0000
        case .killProcess: 0x8000_0000
        case .trap: 0x0003_0000
        case .error: 0x0005_0000 | (errno ?? UInt32(Errno.permission))
        case .trace: 0x7ff0_0000 | (errno ?? UInt32(Errno.permission))
        case .log: 0x7ffc_0000
        case .allow: 0x7fff_0000
        case .notify: 0x7fc0_0000
        }
    }

    private static func architectures(_ profile: SeccompProfile, _ there: Circumstances) throws(DocumentError)
        -> [UInt32]
    {
        var tokens: [UInt32] = []
        for entry in profile.architectures {
            let token = try self.token(entry.name)
            if profile.mapsArchitectures {
                guard token == SeccompBuilder.nativeArchitecture else { continue }
                for name in entry.subArchitectures { tokens.append(try self.token(name)) }
            } else {
                tokens.append(token)
            }
        }
        return tokens
    }

    /// "SCMP_ARCH_X86_64" is libseccomp's "x86_64"; all of Docker's names follow this rule.
    private static func token(_ name: String) throws(DocumentError) -> UInt32 {
        guard name.hasPrefix("SCMP_ARCH_"),
            let token = SeccompBuilder.architecture(named: name.dropFirst(10).lowercased())
        else { throw DocumentError("architectures", "\(name) is not known") }
        return token
    }

    static func applies(_ rule: SeccompProfile.Rule, _ there: Circumstances) throws(DocumentError) -> Bool {
        let includes = rule.includes
        let excludes = rule.excludes
        let names = goNames(there.architecture)
        if !includes.architectures.isEmpty && names.isDisjoint(with: includes.architectures) { return false }
        if !names.isDisjoint(with: excludes.architectures) { return false }
        for name in includes.capabilities where try !has(name, there) { return false }
        for name in excludes.capabilities where try has(name, there) { return false }
        if let minimum = includes.minimumKernel, try there.kernel < version(minimum, rule) { return false }
        if let minimum = excludes.minimumKernel, try there.kernel >= version(minimum, rule) { return false }
        return true
    }

    private static func has(_ name: String, _ there: Circumstances) throws(DocumentError) -> Bool {
        guard let capability = CapabilitySet(name: name) else {
            throw DocumentError("syscalls", "\(name) is not a capability")
        }
        return there.capabilities.isSuperset(of: capability)
    }

    private static func version(_ text: String, _ rule: SeccompProfile.Rule) throws(DocumentError) -> KernelVersion {
        guard let version = KernelVersion(text) else {
            throw DocumentError("\(rule.place).includes.minKernel", "\(text) is not a version")
        }
        return version
    }

    /// The names that Docker's conditions use: Go's for the machine and for its smaller sister.
    private static func goNames(_ architecture: String) -> Set<String> {
        switch architecture {
        case "x86_64": ["amd64", "x86_64", "x32", "x86"]
        case "aarch64": ["arm64", "aarch64", "arm"]
        default: [architecture]
        }
    }
}
