internal import CShims
internal import Glibc

/// The memory that a plan is written into for the child: one piece, which both see.
///
/// It is filled from its beginning to its end and never read here. What no longer fits is only counted, so
/// that a second, larger room takes it.
struct LaunchRoom: ~Copyable {
    static let usual = Int(CODEX_LAUNCH_ROOM)

    private let base: UnsafeMutableRawPointer
    let size: Int
    /// How much the plan takes, whether it fits or not.
    private(set) var used = 0

    init(size: Int) throws(KernelError) {
        guard let base = codex_launch_room(size) else { throw KernelError("mmap", number: ENOMEM) }
        self.base = base
        self.size = size
    }

    /// One that is there already, of the usual size.
    init(taking base: UnsafeMutableRawPointer) {
        self.base = base
        size = LaunchRoom.usual
    }

    deinit { codex_launch_leave_room(base, size) }

    /// Where the plan is: it comes first.
    var plan: UnsafePointer<codex_plan> { UnsafePointer(base.assumingMemoryBound(to: codex_plan.self)) }

    /// The last byte is the child's.
    var fits: Bool { used < size }

    /// See `codex_early_hurry`.
    func hurry() { codex_early_hurry(base) }

    /// The next bytes, zeroed; nil: they are not there.
    mutating func take(_ count: Int) -> UnsafeMutableRawPointer? {
        let start = used
        used += (count + 7) & ~7
        return fits ? base + start : nil
    }

    mutating func take<Value: BitwiseCopyable>(_ count: Int, of type: Value.Type) -> UnsafeMutablePointer<Value>? {
        take(count * MemoryLayout<Value>.stride)?.bindMemory(to: type, capacity: count)
    }

    mutating func keep(_ text: String) -> UnsafePointer<CChar>? {
        var text = text
        return text.withUTF8 { bytes in
            guard let copy = take(bytes.count + 1) else { return nil }
            if let base = bytes.baseAddress { memcpy(copy, base, bytes.count) }
            return UnsafePointer(copy.assumingMemoryBound(to: CChar.self))
        }
    }

    mutating func keep(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawPointer? {
        guard let copy = take(bytes.count) else { return nil }
        if let base = bytes.baseAddress { memcpy(copy, base, bytes.count) }
        return UnsafeRawPointer(copy)
    }

    /// An array of C strings, ended by NULL.
    mutating func keep(_ strings: [String]) -> UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? {
        let list = take(strings.count + 1, of: UnsafeMutablePointer<CChar>?.self)
        for (index, text) in strings.enumerated() {
            let copy = keep(text)
            list?[index] = UnsafeMutablePointer(mutating: copy)
        }
        return list
    }
}
