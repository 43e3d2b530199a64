internal import CShims

/// Being told that something changed in folders (inotify(7)): files written, made, exchanged or closed.
public struct FolderWatch: ~Copyable {
    private let watch: Descriptor

    /// Watches one folder.
    /// - Throws: also where the user's watches are used up (`fs.inotify.max_user_instances`).
    public init(_ folder: borrowing Descriptor) throws(KernelError) {
        let made = Descriptor(owning: try KernelError.check(codex_watch_create(), "inotify_init1"))
        try KernelError.check(codex_watch_add(made.number, folder.number), "inotify_add_watch")
        watch = made
    }

    /// Watches one more.
    public borrowing func add(_ folder: borrowing Descriptor) throws(KernelError) {
        try KernelError.check(codex_watch_add(watch.number, folder.number), "inotify_add_watch")
    }

    /// Waits until something has changed since the last call, or the time is over.
    public borrowing func wait(milliseconds: Int) {
        if watch.waitReadable(milliseconds: milliseconds) { codex_watch_clear(watch.number) }
    }
}

extension Descriptor {
    /// Asks for more room in a pipe. The kernel's own limits decide (pipe(7), "pipe-max-size"): where it refuses,
    /// the pipe stays as it is.
    public borrowing func growPipe(to bytes: Int32) { _ = codex_pipe_grow(number, bytes) }
}

extension Machine {
    /// Gives memory that was freed back to the kernel.
    public static func trimHeap() { codex_heap_trim() }
}
