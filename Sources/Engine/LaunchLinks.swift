internal import LinuxKernel

/// What ELOOP means: it is the kernel's one word for links that lead in a circle, for links where none are followed,
/// and ours for one that leads nowhere (`codex_path_target`).
extension LaunchFailure {
    /// Why a step failed with it, and what to do; nil: the step follows no path.
    static func links(_ step: LaunchStep) -> Problem? {
        switch step {
        case .attach(_, let path, .systemFolder, _):
            Problem(
                step.purpose, "the image's \(path) is not a plain folder",
                hint: "make it one: a link there could lead anywhere")
        case .attach(_, _, .folder, _), .attach(_, _, .file, _), .attach(_, _, .ifPresent, _), .copyUp:
            Problem(
                step.purpose, "a link stands there that leads nowhere, or in a circle",
                hint: "mount at a folder of the image")
        case .mask, .readOnly, .write, .attach, .makeNode, .makeLink:
            Problem(
                step.purpose, "a symbolic link is on its way, and none is followed there",
                hint: "name the place that it leads to: a link could be exchanged, or lead anywhere")
        case .changeFolder(let path, _):
            Problem(
                step.purpose, "its symbolic links lead in a circle, or out of procfs",
                hint: "look at \(path) in the image; another folder can be chosen")
        default: nil
        }
    }

    static let circle = "its symbolic links lead in a circle"
    static let circleHint = "look at the program's path, and at that of its interpreter, in the image"
}
