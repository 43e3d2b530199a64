public import LinuxKernel

/// Templates that were built once and are kept.
public struct TemplateStore: Sendable {
    private let folder: String

    /// - Parameter folder: the storage root; templates are kept in `templates` below it.
    public init(folder: String) { self.folder = folder }

    /// The image of a template, built when it is not there yet.
    public func image(_ template: Template, progress: (String) -> Void) throws(Problem) -> Image {
        let reference = "template:\(template.name)"
        if case .assembled(let root) = template.kind {
            return Image(
                reference: reference, root: .assembled(root.entries()), entrypoint: [],
                command: template.command.isEmpty ? ["/bin/sh"] : template.command, workingFolder: "/")
        }
        let path = try built(template, progress: progress)
        let status = try explaining("cannot use the template \(template.name)") { () throws(KernelError) in
            try Descriptor.status(ofPath: path)
        }
        return Image(
            reference: reference, root: .folder(path: path, status), entrypoint: [], command: template.command,
            workingFolder: "/")
    }

    /// Made under a name of its own and renamed when it is whole: what stands under a template's name
    /// is always complete. One process builds, others wait for it.
    private func built(_ template: Template, progress: (String) -> Void) throws(Problem) -> String {
        let store = "\(folder)/templates"
        let path = "\(store)/\(template.name)"
        let what = "cannot build the template \(template.name)"
        let hint = "codex32 must be able to write there; --root chooses another folder"
        let isBuilt = { () throws(Problem) in
            try explaining(what) { () throws(KernelError) in try Descriptor.exists(path) }
        }
        if try isBuilt() { return path }
        let place = try explaining(what, hint: hint) { () throws(KernelError) in try makeFolders(store) }
        let lock = try explaining(what, hint: hint) { () throws(KernelError) in
            try place.open(".\(template.name).lock", [.write, .create, .noFollow])
        }
        try explaining(what) { () throws(KernelError) in
            if try !lock.lock(wait: false) {
                progress("waiting for another codex32 that builds template:\(template.name)")
                _ = try lock.lock(wait: true)
            }
        }
        if try isBuilt() { return path }
        let temporary = ".\(template.name).partial"
        try place.removeContainerTree(temporary)
        let working = "\(store)/\(temporary)"
        do {
            switch template.kind {
            case .busybox: try BusyboxTemplate.build(into: "\(working)/root", progress: progress)
            case .debian(let suite, let packages):
                try DebianTemplate(
                    name: template.name, suite: suite, packages: packages, working: working,
                    cache: "\(folder)/cache/debian-\(suite)", log: "\(store)/\(template.name).log"
                ).build(progress: progress)
            case .assembled: break
            }
            try explaining(what) { () throws(KernelError) in try place.rename("\(temporary)/root", to: template.name) }
        } catch {
            try? place.removeContainerTree(temporary)
            throw error
        }
        try place.removeContainerTree(temporary)
        progress("built template:\(template.name)")
        return path
    }
}
