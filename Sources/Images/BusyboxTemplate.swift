internal import LinuxKernel

/// A root file system of one static program.
enum BusyboxTemplate {
    private static let folders = ["bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr", "var"]

    static func build(into path: String, progress: (String) -> Void) throws(Problem) {
        let what = "cannot build the template busybox"
        guard let program = HostProgram.find("busybox") else {
            throw Problem(what, "busybox is not installed", hint: "apt-get install busybox-static")
        }
        progress("building template:busybox from \(program)")
        try explaining(what) { () throws(KernelError) in
            let bytes = try Descriptor.open(program, [.read]).readAll(limit: 16 << 20)
            let root = try makeFolders(path)
            try root.setMode(0o755)
            for name in folders {
                try root.makeFolder(name)
                try root.open(name, [.read, .folder]).setMode(name == "tmp" ? 0o1777 : 0o755)
            }
            let bin = try root.open("bin", [.read, .folder])
            let copy = try bin.open("busybox", [.write, .create, .exclusive])
            try copy.write(bytes: bytes)
            try copy.setMode(0o755)
            let etc = try root.open("etc", [.read, .folder])
            let files = [
                ("passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
                ("group", "root:x:0:\nnogroup:x:65534:\n"),
            ]
            for (name, text) in files {
                let file = try etc.open(name, [.write, .create, .exclusive])
                try file.write(text)
                try file.setMode(0o644)
            }
            for applet in try applets(of: program) where applet != "busybox" {
                try bin.makeLink(applet, to: "busybox")
            }
        }
    }

    /// What this busybox can be called. Through a pipe, which holds the few kilobytes whole: a full disk
    /// would cut the list short, and a template without half of its programs would be kept for good.
    private static func applets(of program: String) throws(KernelError) -> [String] {
        let pipe = try Descriptor.pipe()
        let list = Descriptor(owning: pipe.read)
        let output = Descriptor(owning: pipe.write)
        let status = try HostProgram.run(program, ["busybox", "--list"], output: output.number)
        _ = consume output  // only then does the list end
        let names = String(decoding: try list.readAll(limit: 65536), as: UTF8.self).split(separator: "\n")
        guard status == 0, names.contains("sh") else {
            throw KernelError("busybox --list", program, number: Errno.io)
        }
        return names.map(String.init).filter { !$0.contains("/") }
    }
}
