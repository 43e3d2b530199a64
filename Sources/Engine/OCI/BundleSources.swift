internal import LinuxKernel
internal import Sandbox

/// What the parent opens for a bundle's child.
struct BundleSources: ~Copyable {
    private(set) var numbers: [Slot: Int32] = [:]

    init(_ bundle: BundlePlan) throws(Problem) {
        do {
            for clone in bundle.clones {
                numbers[clone.slot] = try BundleSources.clone(clone).release()
            }
            for space in bundle.joined {
                let opened = try explaining("cannot open the namespace \(space.path)") { () throws(KernelError) in
                    try Descriptor.open(space.path, [.read, .nonblocking])
                }
                numbers[space.slot] = opened.release()
            }
        } catch {
            for number in numbers.values { _ = Descriptor(owning: number) }
            throw error
        }
    }

    private static func clone(_ clone: BundleClone) throws(Problem) -> Descriptor {
        let bind = clone.bind
        let tree = try explaining("cannot use \(clone.path)") { () throws(KernelError) in
            let tree = try Descriptor.open(clone.path, [.pathOnly])
                .cloneMount(recursive: bind.recursive, keepsPeers: bind.keepsPeers)
            if !bind.attributes.isEmpty { try tree.setMountAttributes(bind.attributes, recursive: false) }
            if !bind.recursiveSet.isEmpty || !bind.recursiveClear.isEmpty {
                try tree.setMountAttributes(bind.recursiveSet, clear: bind.recursiveClear, recursive: true)
            }
            if let kind = bind.propagation, kind.value != .isPrivate {
                try tree.setPropagation(kind.value, recursive: kind.recursive)
            }
            return tree
        }
        guard let owners = bind.owners else { return tree }
        let mapping = try MappingNamespace(owners)
        try explaining("cannot map the owners of \(clone.path)", hint: "not every file system can (mount_setattr(2))") {
            () throws(KernelError) in
            try Descriptor.mapOwners(ofMount: tree.number, by: mapping.namespace, recursive: bind.ownersRecursive)
        }
        return tree
    }

    mutating func take(_ descriptor: consuming Descriptor, in slot: Slot) { numbers[slot] = descriptor.release() }

    deinit { for number in numbers.values { _ = Descriptor(owning: number) } }
}
