internal import LinuxKernel
internal import Sandbox

/// What the parent opens for a bundle's child.
struct BundleSources: ~Copyable {
    private(set) var numbers = SlotNumbers()
    /// Namespaces that the child is born in.
    private var birthplaces: [(number: Int32, kind: Namespace)] = []

    init(_ bundle: BundlePlan) throws(Problem) {
        do {
            for clone in bundle.clones {
                numbers[clone.slot] = try BundleSources.clone(clone).release()
            }
            for space in bundle.joined {
                let opened = try BundleSources.open(space.path, space.kind)
                numbers[space.slot] = opened.release()
            }
            for space in bundle.birthplaces {
                birthplaces.append((try BundleSources.open(space.path, space.kind).release(), space.kind))
            }
        } catch {
            for space in birthplaces { _ = Descriptor(owning: space.number) }
            for (_, number) in numbers { _ = Descriptor(owning: number) }
            throw error
        }
    }

    /// Whatever else is at the path is no namespace of that kind, and setns(2) would say so later without its name.
    private static func open(_ path: String, _ kind: Namespace) throws(Problem) -> Descriptor {
        try explaining("cannot open the \(kind.file) namespace \(path)") { () throws(KernelError) in
            try Descriptor.open(path, [.read, .nonblocking])
        }
    }

    private static func clone(_ clone: BundleClone) throws(Problem) -> Descriptor {
        let bind = clone.bind
        let tree = try explaining("cannot use \(clone.path)") { () throws(KernelError) in
            let tree = try Descriptor.open(clone.path, [.pathOnly])
                .cloneMount(recursive: bind.recursive, keepsPeers: bind.keepsPeers)
            if !bind.attributes.isEmpty {
                try tree.setMountAttributes(bind.attributes, clear: bind.cleared, recursive: false)
            }
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

    /// Does something whose child is born in those namespaces.
    borrowing func born<R: ~Copyable>(_ body: () throws(KernelError) -> R) throws(KernelError) -> R {
        birthplaces.isEmpty ? try body() : try Machine.lending(birthplaces, body)
    }

    deinit {
        for space in birthplaces { _ = Descriptor(owning: space.number) }
        for (_, number) in numbers { _ = Descriptor(owning: number) }
    }
}
