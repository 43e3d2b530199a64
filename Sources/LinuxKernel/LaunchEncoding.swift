internal import CShims
internal import Glibc

/// The C form of a plan.
extension LaunchRoom {
    /// Writes the whole plan, which begins at the room's base.
    ///
    /// - Parameter given: the slots of the descriptors that are passed to the child with the plan, in order.
    mutating func write(
        _ input: LaunchInput, slots numbers: [Int32], given: [Int32], standardSlots: (Int32, Int32, Int32)
    ) {
        let plan = take(1, of: codex_plan.self)
        let steps = take(input.steps.count, of: codex_step.self)
        for (index, step) in input.steps.enumerated() {
            let encoded = encode(step)
            steps?[index] = encoded
        }
        let slots = take(numbers.count, of: Int32.self)
        slots?.update(from: numbers, count: numbers.count)
        let passed = take(given.count, of: Int32.self)
        passed?.update(from: given, count: given.count)
        let candidates = keep(input.candidates)
        let argv = keep(input.arguments)
        let envp = keep(input.environment)
        guard fits, let plan else { return }
        plan.pointee.room_size = size
        plan.pointee.standard = input.standard
        plan.pointee.standard_slot = standardSlots
        plan.pointee.terminal = input.terminal ? 1 : 0
        plan.pointee.steps = UnsafePointer(steps)
        plan.pointee.step_count = input.steps.count
        plan.pointee.slots = slots
        plan.pointee.slot_count = numbers.count
        plan.pointee.given = UnsafePointer(passed)
        plan.pointee.given_count = given.count
        plan.pointee.candidates = UnsafeRawPointer(candidates)?.assumingMemoryBound(to: UnsafePointer<CChar>?.self)
        plan.pointee.argv = UnsafePointer(argv)
        plan.pointee.envp = UnsafePointer(envp)
    }

    private mutating func form(
        _ kind: codex_step_kind, slot: Slot? = nil, source: Slot? = nil, flags: UInt32 = 0, a: UInt64 = 0,
        b: UInt64 = 0, within: Slot? = nil, path: String? = nil, text: String? = nil, bytes: [UInt8]? = nil
    ) -> codex_step {
        var step = codex_step()
        step.kind = kind.rawValue
        step.slot = Int32(slot?.index ?? -1)
        step.source = Int32(source?.index ?? -1)
        step.within = Int32(within?.index ?? -1)
        step.flags = flags
        step.a = a
        step.b = b
        if let path { step.path = keep(path) }
        if let text {
            step.text = keep(text).map { UnsafeRawPointer($0) }
            step.text_length = text.utf8.count
        } else if let bytes {
            step.text = bytes.withUnsafeBytes { keep($0) }
            step.text_length = bytes.count
        }
        return step
    }

    /// The plan's paths are the container's. All mounts that others are made within stand one level
    /// below its root: /proc, /sys, /dev.
    private func below(_ path: String, _ within: Slot?) -> String {
        guard within != nil else { return path }
        // By bytes: Characters are found by the tables of Unicode, and every start has some seventy of these.
        let bytes = path.utf8
        guard let end = bytes.dropFirst().firstIndex(of: UInt8(ascii: "/")) else { return path }
        return String(path[end...])
    }

    private mutating func form(_ tuning: LaunchTuning) -> codex_step {
        let tune = { (room: inout LaunchRoom, which: Int, a: UInt64, bytes: [UInt8]) in
            room.form(CODEX_STEP_TUNE, flags: UInt32(which), a: a, bytes: bytes)
        }
        switch tuning {
        case .affinity(let mask): return tune(&self, CODEX_TUNE_AFFINITY, 0, mask)
        case .scheduler(let attributes): return tune(&self, CODEX_TUNE_SCHEDULER, 0, attributes)
        case .ioPriority(let value): return tune(&self, CODEX_TUNE_IO_PRIORITY, UInt64(value), [])
        case .personality(let value): return tune(&self, CODEX_TUNE_PERSONALITY, UInt64(value), [])
        case .memoryPolicy(let mode, let nodes): return tune(&self, CODEX_TUNE_MEMORY, UInt64(mode), nodes)
        case .domainName(let name): return tune(&self, CODEX_TUNE_DOMAIN_NAME, 0, Array(name.utf8))
        case .timeOffsets(let lines): return tune(&self, CODEX_TUNE_TIME_OFFSETS, 0, Array(lines.utf8))
        case .appArmor(let profile): return tune(&self, CODEX_TUNE_APPARMOR, 0, Array(profile.utf8))
        case .seLinux(let label): return tune(&self, CODEX_TUNE_SELINUX, 0, Array(label.utf8))
        }
    }

    private static var recursive: UInt32 { 0x8000 }  // AT_RECURSIVE

    private mutating func encode(_ step: LaunchStep) -> codex_step {
        switch step {
        case .becomeRoot(let uid, let gid, let drop):
            return form(CODEX_STEP_BECOME_ROOT, flags: drop ? 1 : 0, a: UInt64(uid), b: UInt64(gid))
        case .hostname(let name): return form(CODEX_STEP_HOSTNAME, text: name)
        case .loopback: return form(CODEX_STEP_LOOPBACK)
        case .privateMounts: return form(CODEX_STEP_PRIVATE_MOUNTS)
        case .unshare(let flags): return form(CODEX_STEP_UNSHARE, flags: UInt32(flags))
        case .open(let path, let device, let inode, let slot):
            return form(CODEX_STEP_OPEN, slot: slot, a: device, b: inode, path: path)
        case .openDevice(let path, let number, let slot):
            return form(CODEX_STEP_OPEN_DEVICE, slot: slot, a: number, path: path)
        case .cloneTree(let source, let recursive, let slot, let slave):
            return form(
                CODEX_STEP_CLONE_TREE, slot: slot, source: source, flags: recursive ? Self.recursive : 0,
                a: slave ? 1 : 0)
        case .newFileSystem(let type, let options, let attributes, let working, let slot):
            var bytes: [UInt8] = []
            for option in options {
                bytes.append(contentsOf: option.key.utf8)
                bytes.append(0)
                bytes.append(contentsOf: option.value.utf8)
                bytes.append(0)
            }
            return form(
                CODEX_STEP_NEW_FS, slot: slot, source: working, a: attributes.rawValue, path: type, bytes: bytes)
        case .mountAttributes(let source, let set, let clear, let recursive):
            return form(
                CODEX_STEP_MOUNT_ATTR, source: source, flags: recursive ? Self.recursive : 0, a: set.rawValue,
                b: clear.rawValue)
        case .enterHost(let source, let path, let place):
            return form(CODEX_STEP_ENTER_HOST, source: source, within: place, path: path)
        case .useRoot(let source): return form(CODEX_STEP_USE_ROOT, source: source)
        case .attach(let source, let path, let target, let within):
            return form(
                CODEX_STEP_ATTACH, source: source, flags: target.flags, within: within, path: below(path, within))
        case .mask(let path, let null, let empty, let within):
            return form(
                CODEX_STEP_MASK, source: null, a: UInt64(empty.index), within: within, path: below(path, within))
        case .readOnly(let path, let within):
            return form(CODEX_STEP_READ_ONLY, within: within, path: below(path, within))
        case .makeFolder(let path, let mode): return form(CODEX_STEP_MAKE_FOLDER, a: UInt64(mode), path: path)
        case .makeLink(let path, let points, let within):
            return form(CODEX_STEP_MAKE_LINK, within: within, path: below(path, within), text: points)
        case .furnish(let folder, let fixtures):
            return form(CODEX_STEP_FURNISH, source: folder, text: fixtures)
        case .makeFile(let path, let mode, let contents):
            return form(CODEX_STEP_MAKE_FILE, a: UInt64(mode), path: path, text: contents)
        case .write(let folder, let path, let text):
            return form(CODEX_STEP_WRITE, source: folder, path: path, text: text)
        case .terminal(let devpts, let console, let uid, let gid):
            return form(
                CODEX_STEP_TERMINAL, source: devpts, a: UInt64(uid), b: UInt64(gid), within: console,
                path: console.map { below("/dev/console", $0) })
        case .pivot: return form(CODEX_STEP_PIVOT)
        case .changeRoot: return form(CODEX_STEP_CHROOT)
        case .labelMount(let source, let label):
            return form(CODEX_STEP_LABEL_MOUNT, source: source, bytes: Array(label.utf8) + [0])
        case .resourceLimit(let number, let soft, let hard):
            return form(CODEX_STEP_RLIMIT, flags: UInt32(number), a: soft, b: hard)
        case .lowerResourceLimit(let number, let most):
            return form(CODEX_STEP_RLIMIT, flags: UInt32(number) | UInt32(CODEX_RLIMIT_LOWER), a: most, b: most)
        case .umask(let mask): return form(CODEX_STEP_UMASK, a: UInt64(mask))
        case .sessionKeyring: return form(CODEX_STEP_SESSION_KEYRING)
        case .changeFolder(let path, let make): return form(CODEX_STEP_CHDIR, flags: make ? 1 : 0, path: path)
        case .awaitWord: return form(CODEX_STEP_AWAIT_WORD)
        case .hold: return form(CODEX_STEP_HOLD)
        case .lendRoot: return form(CODEX_STEP_LEND_ROOT)
        case .landlockCreate(let files, let tcp, let scopes, let slot):
            return form(CODEX_STEP_LANDLOCK_CREATE, slot: slot, flags: scopes, a: files, b: tcp)
        case .landlockPath(let rules, let path, let rights):
            return form(CODEX_STEP_LANDLOCK_PATH, source: rules, a: rights, path: path)
        case .landlockEnforce(let rules): return form(CODEX_STEP_LANDLOCK_ENFORCE, source: rules)
        case .boundingSet(let set): return form(CODEX_STEP_BOUNDING_SET, a: set.rawValue)
        case .identity(let uid, let gid, let groups):
            let bytes = (groups ?? []).withUnsafeBytes { Array($0) }
            return form(
                CODEX_STEP_IDENTITY, flags: groups == nil ? 0 : UInt32(CODEX_IDENTITY_GROUPS), a: UInt64(uid),
                b: UInt64(gid), bytes: bytes)
        case .capabilities(let permitted, let inheritable):
            return form(CODEX_STEP_CAPABILITIES, a: permitted.rawValue, b: inheritable.rawValue)
        case .noNewPrivileges: return form(CODEX_STEP_NO_NEW_PRIVS)
        case .closeOthers: return form(CODEX_STEP_CLOSE_OTHERS)
        case .seccomp(let program): return form(CODEX_STEP_SECCOMP, bytes: program.bytes)
        case .seccompToldOf(let program):
            // SECCOMP_FILTER_FLAG_NEW_LISTENER. A filter that is as long as the other can be loaded too.
            return form(CODEX_STEP_SECCOMP, flags: 8, bytes: (program.notifying ?? program).bytes)
        case .observe(let filter): return form(CODEX_STEP_OBSERVE, a: filter.token, bytes: filter.program.bytes)
        case .reaper: return form(CODEX_STEP_INIT)
        case .join(let process, let namespaces):
            return form(
                CODEX_STEP_JOIN, source: process, flags: UInt32(namespaces.reduce(0) { $0 | $1.cloneFlag }))
        case .enter: return form(CODEX_STEP_ENTER)
        case .enterFirst: return form(CODEX_STEP_ENTER, flags: 1)
        case .openTerminals(let path, let slot): return form(CODEX_STEP_OPEN_DEVPTS, slot: slot, path: path)
        case .outlive: return form(CODEX_STEP_OUTLIVE)
        case .awaitStart(let pipe, let outcome): return form(CODEX_STEP_AWAIT, slot: outcome, source: pipe)
        case .ready: return form(CODEX_STEP_READY)
        case .lendNetwork: return form(CODEX_STEP_LEND_NETWORK)
        case .hook(let hook):
            let (argv, envp) = (keep(hook.arguments), keep(hook.environment))
            let address = { (list: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?) in
                UInt64(UInt(bitPattern: list))
            }
            let tail = [UInt8](repeating: 0x20, count: Int(CODEX_HOOK_TAIL))
            return form(
                CODEX_STEP_HOOK, flags: hook.seconds, a: address(argv), b: address(envp), path: hook.path,
                bytes: Array(hook.stateBeforePid.utf8) + tail)
        case .capabilitySets(let sets): return form(CODEX_STEP_CAPABILITY_SETS, bytes: sets.bytes)
        case .preserve(let count): return form(CODEX_STEP_PRESERVE, a: UInt64(count))
        case .tune(let tuning): return form(tuning)
        case .propagation(let source, let kind, let recursive):
            return form(CODEX_STEP_PROPAGATION, source: source, flags: recursive ? 1 : 0, a: kind.rawValue)
        case .makeNode(let node, let mustExist, let within):
            return form(
                CODEX_STEP_MAKE_NODE, slot: mustExist ? Slot(0) : nil, flags: node.kind.bits | node.mode,
                a: node.number, b: UInt64(node.uid) | UInt64(node.gid) << 32, within: within,
                path: below(node.path, within))
        case .copyUp(let source, let path, let keepsMode, let within):
            return form(
                CODEX_STEP_COPY_UP, source: source, flags: keepsMode ? 1 : 0, within: within,
                path: below(path, within))
        case .execute: return form(CODEX_STEP_EXEC)
        }
    }
}
