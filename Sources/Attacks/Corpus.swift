internal import AttackPrograms

/// Every attack, in the order in which the matrix shows them.
public enum Corpus {
    public static let all: [Attack] =
        namespaces + files + descriptors + machine + kernel + processes + network + doors + images + leaks + exhaustion
        + races + surface + stores + bundles

    public static func named(_ name: String) -> Attack? { all.first { $0.name == name } }

    /// The programs that are there to be run, some of them only by others.
    public static var programs: [String] {
        var names: [String] = []
        while let name = codex_attack_name(Int32(names.count)) { names.append(String(cString: name)) }
        return names
    }
}
