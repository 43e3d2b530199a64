internal import LinuxKernel

/// A lock on the folder of all containers that costs its holders nothing: whoever makes a container or takes one
/// away shares it with all the others who do. Recovery takes it alone, for a moment and without waiting; what it
/// finds half made or half removed then is nobody's, however young it is, and no clock has to be asked.
struct StoreLock: ~Copyable {
    let containers: Descriptor

    /// Shares the lock until this value ends. Waits while recovery clears up.
    init(sharing containers: consuming Descriptor) throws(KernelError) {
        try containers.lockShared()
        self.containers = containers
    }

    /// Takes the lock alone; nil: somebody is at work.
    init?(alone containers: consuming Descriptor) {
        guard (try? containers.lock(wait: false)) == true else { return nil }
        self.containers = containers
    }
}
