public import LinuxKernel

/// What the layer with a script's packages is known by: every byte that decides what is in it.
public enum RequirementsKey {
    /// Changes when what is done with the same input does.
    private static let form = 1
    /// Names in a folder of packages: more are not looked at.
    private static let mostNames = 10_000

    /// - Parameters:
    ///   - base: what the packages stand on, by what is in it.
    ///   - version: codex32's own.
    /// - Returns: 64 digits.
    /// - Throws: a folder of packages that cannot be read.
    public static func make(
        _ file: RequirementsFile, _ settings: PipSettings, base: Digest, version: String
    ) throws(Problem) -> String {
        let what = "cannot use \(file.path)"
        let sum = try explaining(what) { () throws(KernelError) in try SHA256() }
        // Each with its length in front: where one ends and the next begins is said, and not guessed.
        let add = { (text: String) in
            sum.update(Array("\(text.utf8.count) ".utf8))
            sum.update(Array(text.utf8))
        }
        add("codex32 requirements \(form)")
        add(version)
        add("\(Platform.machine)")
        add("\(base)")
        for line in settings.lines { add(line) }
        for path in settings.links {
            add(path)
            let names = try explaining("cannot look into pip's find-links \(path)") { () throws(KernelError) in
                try listing(path)
            }
            guard names.count <= mostNames else {
                throw Problem(
                    what, "pip's find-links \(path) has more than \(mostNames) names",
                    hint: "name a smaller folder, or serve them as an index")
            }
            names.forEach(add)
        }
        add(file.text)
        return sum.finish()
    }

    /// Which files there are: their bytes would be read by every start, and change with these.
    private static func listing(_ path: String) throws(KernelError) -> [String] {
        let folder = try Descriptor.open(path, [.read, .folder])
        var lines: [String] = []
        for name in try folder.names().prefix(mostNames + 1) {
            guard let node = try? folder.node(name) else { continue }
            lines.append("\(name) \(node.size) \(node.modified.seconds).\(node.modified.nanoseconds)")
        }
        return lines.sorted()
    }
}
