internal import LinuxKernel
internal import OCISpec

/// Clears away what a killed `codex32 run` left: its cgroup, its layer, its entry. The program itself
/// is gone by then: it dies with its parent (PR_SET_PDEATHSIG).
enum Sweep {
    /// Seconds after which a half-made entry has no maker any more.
    private static let patience: Int64 = 60

    /// Sweeps.
    ///
    /// - Returns: why something is still there, with its entry, so that it is tried again; nil: nothing is left.
    @discardableResult
    static func run(_ storage: Storage, except own: String) -> Problem? {
        guard let folder = try? Descriptor.open(storage.running, [.read, .folder]), let names = try? folder.entries()
        else { return nil }
        var first: Problem?
        for name in names where name != own {
            if ContainerID.isValid(name) {
                do throws(Problem) { try clear(name, in: folder, storage) } catch { first = first ?? error }
            } else if let status = try? folder.status(of: name),
                Clock.realtime / 1_000_000_000 - status.modified > patience
            {
                try? folder.removeTree(name)
            }
        }
        return first
    }

    private static func clear(_ id: String, in folder: borrowing Descriptor, _ storage: Storage) throws(Problem) {
        guard let entry = try? folder.open(id, [.read, .folder, .noFollow]) else { return }
        guard let file = try? entry.open(RunningEntry.recordName, [.readWrite, .noFollow]) else {
            // The record goes first, so that this one is nearly gone: only an empty folder is removed here.
            try? folder.remove(id, folder: true)
            return
        }
        // Shared, so that those who look meanwhile do not take this one for its owner, and the container for one that
        // runs; the second lock keeps other sweeps away.
        guard file.tryLockShared(), (try? file.takeLock(wait: false)) == true else { return }
        // Not knowing what the run owned, this must not forget it.
        let text = try explaining("cannot clear away what the run \(id) left") { () throws(KernelError) in
            try file.readAll(limit: 1 << 20)
        }
        let record = try? JSONReader.read(text)
        if case .string(let name)? = record?["name"] { clearName(name, storage) }
        do throws(Problem) {
            if case .string(let parent)? = record?["cgroupParent"], !Cgroup.clear(id, in: parent) {
                throw Problem("cannot remove its cgroup", "its processes do not end after SIGKILL")
            }
            try LayerStore(id: id, storage: storage).remove()
            try OwnVolumes(id: id, storage: storage).remove()
        } catch {
            throw Problem(
                "cannot clear away what the run \(id) left", "\(error.what): \(error.why)", hint: error.hint)
        }
        // The entry last: while anything is left, it says whose that is.
        try? folder.removeTree(id)
    }

    private static func clearName(_ name: String, _ storage: Storage) {
        guard ContainerName.isValid(name), let names = try? Descriptor.open(storage.names, [.read, .folder]),
            let file = try? names.open(name, [.write, .noFollow]), (try? file.lock(wait: false)) == true,
            // Looked at with the lock: another may just have made it its own.
            NameClaim.isFree(name, storage: storage)
        else { return }
        try? names.remove(name)
    }
}
