/// The mount namespace of a container that has none of its own.
///
/// pivot_root(2) would give all who are in it another root: the container's is entered by chroot(2). What is mounted for
/// it has to be taken away again.
public struct SharedMounts: Equatable, Sendable {
    /// Of the namespace; nil: it is the caller's.
    public let path: String?
    /// Of the namespace.
    public let inode: UInt64
    /// The source of the mount that all others of the container's lie on; nil: it has none.
    public let mark: String?

    public init(path: String?, inode: UInt64, mark: String?) {
        (self.path, self.inode, self.mark) = (path, inode, mark)
    }
}
