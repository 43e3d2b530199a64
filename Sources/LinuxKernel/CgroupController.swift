/// The controllers of cgroup v2 that codex32 has a use for (cgroup-v2.rst, "Controllers").
public enum CgroupController: UInt8, CaseIterable, Sendable {
    case cpu, cpuset, io, memory, pids

    /// As `cgroup.controllers` has it.
    public var name: String {
        switch self {
        case .cpu: "cpu"
        case .cpuset: "cpuset"
        case .io: "io"
        case .memory: "memory"
        case .pids: "pids"
        }
    }
}

extension CaseSet<CgroupController> {
    /// Those that a file such as `cgroup.controllers` names; others are passed over.
    public init(words text: String) {
        self.init()
        for word in text.utf8.split(whereSeparator: { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\n") }) {
            for controller in CaseSet.all where word.elementsEqual(controller.name.utf8) { insert(controller) }
        }
    }

    /// By name, in the alphabet's order, which is that of the cases.
    public var names: String {
        var text = ""
        for controller in self { text += text.isEmpty ? controller.name : " " + controller.name }
        return text
    }
}
