internal import LinuxKernel

/// A system call that names a file, and what it is to that file's mount.
struct PathCall: Sendable {
    enum Effect: Sendable {
        case look, write
        /// As the flags in this argument say (open(2)).
        case open(Int)
        /// As the first word of the structure that this argument points to says (openat2(2)).
        case openHow(Int)
        /// As the mode in this argument asks (access(2)).
        case access(Int)
        /// The path of a socket, in a `struct sockaddr_un` (unix(7)).
        case socket(writes: Bool)
    }

    /// Which argument is the folder's descriptor that a relative path begins at; nil: the working folder.
    let folder: Int?
    /// Which argument points to the path; nil: the call is about the descriptor itself.
    let path: Int?
    let effect: Effect

    private init(_ folder: Int?, _ path: Int?, _ effect: Effect) {
        (self.folder, self.path, self.effect) = (folder, path, effect)
    }

    /// By the number that this architecture has for a call; those that it lacks are left out.
    static let all: [Int32: [PathCall]] = {
        var all: [Int32: [PathCall]] = [:]
        let add = { (names: [String], calls: [PathCall]) in
            for name in names {
                guard let known = SystemCallNumber(name: name), known.number >= 0 else { continue }
                all[known.number] = calls
            }
        }
        add(["open"], [PathCall(nil, 0, .open(1))])
        add(["creat"], [PathCall(nil, 0, .write)])
        add(["openat"], [PathCall(0, 1, .open(2))])
        add(["openat2"], [PathCall(0, 1, .openHow(2))])
        add(["access"], [PathCall(nil, 0, .access(1))])
        add(["faccessat", "faccessat2"], [PathCall(0, 1, .access(2))])
        add(
            [
                "stat", "lstat", "readlink", "chdir", "chroot", "statfs", "getxattr", "lgetxattr", "listxattr",
                "llistxattr", "execve",
            ], [PathCall(nil, 0, .look)])
        add(
            ["newfstatat", "readlinkat", "statx", "execveat", "name_to_handle_at", "getxattrat", "listxattrat"],
            [PathCall(0, 1, .look)])
        add(["inotify_add_watch"], [PathCall(nil, 1, .look)])
        add(
            [
                "mkdir", "rmdir", "unlink", "mknod", "chmod", "chown", "lchown", "truncate", "utime", "utimes",
                "setxattr", "lsetxattr", "removexattr", "lremovexattr",
            ], [PathCall(nil, 0, .write)])
        add(
            [
                "mkdirat", "unlinkat", "mknodat", "fchmodat", "fchmodat2", "fchownat", "utimensat", "futimesat",
                "setxattrat", "removexattrat",
            ], [PathCall(0, 1, .write)])
        add(["rename", "link"], [PathCall(nil, 0, .write), PathCall(nil, 1, .write)])
        add(["renameat", "renameat2", "linkat"], [PathCall(0, 1, .write), PathCall(2, 3, .write)])
        add(["symlink"], [PathCall(nil, 1, .write)])
        add(["symlinkat"], [PathCall(1, 2, .write)])
        // What was opened to be read can be changed by these all the same.
        add(["fchmod", "fchown", "fsetxattr", "fremovexattr"], [PathCall(0, nil, .write)])
        add(["fchdir"], [PathCall(0, nil, .look)])
        add(["bind"], [PathCall(nil, 1, .socket(writes: true))])
        add(["connect"], [PathCall(nil, 1, .socket(writes: false))])
        return all
    }()

    /// Through these a file can be reached without a path that is seen: what a program with them does to its volumes
    /// is not known.
    static let unseen: Set<Int32> = Set(
        ["io_uring_setup", "open_by_handle_at"].compactMap { SystemCallNumber(name: $0)?.number }.filter { $0 >= 0 })

    /// Whether a call changes what it is made on.
    func writes(_ call: ObservedCall) -> Bool {
        switch effect {
        case .look: return false
        case .write: return true
        case .socket(let writes): return writes
        case .open(let argument): return PathCall.opensToWrite(call.data.arguments[argument])
        case .openHow(let argument):
            let bytes = ObservedProcess.bytes(call.pid, at: call.data.arguments[argument], count: 8)
            // What could not be read may be anything.
            guard bytes.count == 8 else { return true }
            return PathCall.opensToWrite(bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) })
        case .access(let argument): return call.data.arguments[argument] & 2 != 0  // W_OK
        }
    }

    /// O_WRONLY, O_RDWR, O_CREAT and O_TRUNC, which every architecture of ours has at the same bits.
    private static func opensToWrite(_ flags: UInt64) -> Bool { flags & (0o3 | 0o100 | 0o1000) != 0 }

    /// The path as it stands in the program's memory; nil: the call is about the descriptor; empty: it cannot be read.
    func text(_ call: ObservedCall) -> String? {
        guard let path else { return nil }
        let address = call.data.arguments[path]
        guard case .socket = effect else {
            // A null pointer beside a descriptor: the descriptor itself (utimensat(2)).
            if address == 0 { return nil }
            let text = ObservedProcess.text(call.pid, at: address) ?? ""
            return text.isEmpty && folder != nil ? nil : text
        }
        // struct sockaddr_un: the family, which is 1, and up to 108 bytes that begin with 0 for an abstract name.
        let length = Int(min(call.data.arguments[2], 110))
        let bytes = ObservedProcess.bytes(call.pid, at: address, count: length)
        guard bytes.count > 2, bytes[0] == 1, bytes[1] == 0 else { return "" }
        return String(decoding: bytes[2...].prefix { $0 != 0 }, as: UTF8.self)
    }
}
