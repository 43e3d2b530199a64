internal import CShims

extension Descriptor {
    /// Removes a name and all that is below it, by descriptor: a link is removed, never followed. Modes that
    /// keep the owner out do not matter, nor does the depth. What is not there is no error.
    public borrowing func removeTree(_ name: String) throws(KernelError) {
        try KernelError.check(codex_remove_tree(number, name), "unlink", name)
    }

    /// The same, of a name that need not be UTF-8.
    public borrowing func removeTree(_ name: FileName) throws(KernelError) {
        let folder = number
        try KernelError.check(name.withCString { codex_remove_tree(folder, $0) }, "unlink", name.description)
    }

    /// Removes what a container wrote. With subordinate ids that is nobody's that this user could remove
    /// from: then it is removed by a process that is root of a user namespace with the same ids.
    public borrowing func removeContainerTree(_ name: String) throws(Problem) {
        let refused: KernelError
        do { return try removeTree(name) } catch { refused = error }
        guard refused.number == Errno.denied || refused.number == Errno.permission,
            let map = IdentityMap.subordinate()
        else { throw Problem("cannot remove \(name)", refused) }
        let place = try MappingNamespace(map)
        _ = try explaining("cannot remove \(name)") { () throws(KernelError) in
            try KernelError.check(codex_remove_tree_in(place.namespace.number, number, name), "unlink", name)
        }
    }
}
