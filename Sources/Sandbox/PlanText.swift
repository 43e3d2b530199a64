internal import LinuxKernel
public import OCISpec

extension LaunchPlan {
    /// The plan as `run --dry-run --format json` prints it: what would be done, in order.
    public var document: JSON {
        .members([
            "schema": .integer(1), "isolation": .string(level.rawValue),
            "namespaces": .list(namespaceNames),
            "uidMap": LaunchPlan.ranges(identity?.uids), "gidMap": LaunchPlan.ranges(identity?.gids),
            "user": .members([
                "uid": .number(user.uid), "gid": .number(user.gid), "groups": .array(user.groups.map { .number($0) }),
            ]),
            "capabilities": .list(capabilities.names), "hostname": .string(hostname),
            "seccomp": seccomp.map {
                .members(["profile": .string($0.profile), "instructions": .number($0.instructions)])
            } ?? .null,
            "profile": learned?.document ?? .null,
            "landlock": .number(landlockABI), "readOnlyRoot": .bool(readOnlyRoot),
            "cgroup": cgroupDocument,
            "sources": .array(
                sources.map {
                    .members([
                        "slot": .number($0.slot.index), "path": .string($0.source.path),
                        "type": .string($0.kind == .tree ? "bind" : StorageKind.disk.rawValue),
                        "options": .list($0.attributes.names),
                    ])
                }),
            "steps": .list(stepTexts), "program": .list(candidates), "arguments": .list(arguments),
            "environment": .list(environment), "notInForce": Receipt.notices(notices),
        ])
    }

    public var namespaceNames: [String] { namespaces.union(unsharesCgroup ? [.cgroup] : []).map(\.file).sorted() }
    public var stepTexts: [String] { steps.map(\.text) }

    private var cgroupDocument: JSON {
        guard let cgroup else { return .null }
        var members: [JSON.Member] = [.init("place", .string(cgroup.place.path))]
        for (_, file, value) in cgroup.limits.files { members.append(.init(file, .string(value))) }
        return .object(members)
    }

    private static func ranges(_ ranges: [IdentityRange]?) -> JSON {
        guard let ranges else { return .null }
        return .array(
            ranges.map {
                .members(["inside": .number($0.inside), "outside": .number($0.outside), "count": .number($0.count)])
            })
    }
}

extension LaunchStep {
    /// The step in a few words, for people and for golden tests.
    var text: String {
        switch self {
        case .becomeRoot(let uid, let gid, _): "become \(uid):\(gid) of the user namespace"
        case .hostname(let name): "hostname \(name)"
        case .loopback: "loopback up"
        case .privateMounts: "mounts private"
        case .unshare: "unshare cgroup namespace"
        case .open(let path, _, _, let slot): "open \(path) as #\(slot.index)"
        case .openDevice(let path, _, let slot): "device \(path) as #\(slot.index)"
        case .cloneTree(let source, _, let slot, _): "clone #\(source.index) as #\(slot.index)"
        case .newFileSystem(let type, let options, let attributes, _, let slot):
            "new \(type) \((attributes.names + options.map(\.text)).joined(separator: ",")) as #\(slot.index)"
        case .mountAttributes(let slot, let set, _, _): "set \(set.names.joined(separator: ",")) on #\(slot.index)"
        case .enterHost(let slot, let path, _): "attach #\(slot.index) over \(path ?? "/")"
        case .useRoot(let slot): slot.map { "root is #\($0.index)" } ?? "root is the host's"
        case .attach(let slot, let path, _, _): "attach #\(slot.index) at \(path)"
        case .mask(let path, _, _, _): "mask \(path)"
        case .readOnly(let path, _): "read-only \(path)"
        case .makeFolder(let path, _): "folder \(path)"
        case .makeLink(let path, let target, _): "link \(path) to \(target)"
        case .furnish(let slot, let fixtures):
            "in #\(slot.index) " + fixtures.split(separator: "\0").joined(separator: " ")
        case .makeFile(let path, _, _): "file \(path)"
        case .write(_, let path, let text): "write \(text) to \(path)"
        case .terminal: "terminal"
        case .pivot: "pivot_root"
        case .changeRoot: "chroot"
        case .resourceLimit(let number, let soft, let hard): "rlimit \(ResourceLimit.name(number)) \(soft):\(hard)"
        case .lowerResourceLimit(let number, let most): "rlimit \(ResourceLimit.name(number)) at most \(most)"
        case .umask(let mask): "umask 0\(String(mask, radix: 8))"
        case .sessionKeyring: "session keyring"
        case .changeFolder(let path, _): "cwd \(path)"
        case .awaitWord: "await codex32"
        case .hold: "hold"
        case .lendRoot: "lendRoot"
        case .landlockCreate(let files, let tcp, let scopes, _):
            "landlock 0x\(String(files, radix: 16)) tcp 0x\(String(tcp, radix: 16)) scopes 0x\(String(scopes, radix: 16))"
        case .landlockPath(_, let path, let rights): "landlock allow 0x\(String(rights, radix: 16)) below \(path)"
        case .landlockEnforce: "landlock enforce"
        case .boundingSet(let set): "bounding set \(set.names.count)"
        case .identity(let uid, let gid, _): "become \(uid):\(gid)"
        case .capabilities(let set, _): "capabilities \(set.names.count)"
        case .noNewPrivileges: "no_new_privs"
        case .closeOthers: "close every other descriptor"
        case .seccomp(let program): "seccomp \(program.instructionCount) instructions"
        case .observe: "observe every call"
        case .seccompToldOf(let program): "seccomp \(program.instructionCount) instructions, told of"
        case .reaper: "init"
        case .join: "setns"
        case .enter, .enterFirst: "clone into the pid namespace"
        case .openTerminals(let path, _): "open the terminals at \(path)"
        case .outlive: "outlive codex32"
        case .awaitStart: "wait for start"
        case .ready: "wait for hooks"
        case .lendNetwork: "wait for network devices"
        case .hook(let hook): "hook \(hook.path)"
        case .capabilitySets(let sets): "capabilities \(sets.effective.names.count)"
        case .preserve(let count): "preserve \(count) descriptors"
        case .tune(let tuning): "set \(tuning.name)"
        case .labelMount(let slot, let label): "label #\(slot.index) \(label)"
        case .propagation(let slot, let kind, _): "propagation of #\(slot.index) \(kind)"
        case .makeNode(let node, _, _): "device \(node.path)"
        case .copyUp(let slot, let path, _, _): "copy \(path) into #\(slot.index)"
        case .execute: "execve"
        }
    }
}
