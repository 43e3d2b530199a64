internal import CShims
internal import Glibc

/// Waiting for several descriptors at once (epoll(7)).
public struct EventQueue: ~Copyable {
    private let epoll: Descriptor

    /// What became possible.
    public struct Event: Sendable {
        public let token: UInt64
        public let readable: Bool
        public let writable: Bool
        /// The other end is closed, or the descriptor failed.
        public let hungUp: Bool
    }

    public init() throws(KernelError) {
        epoll = Descriptor(owning: try KernelError.check(codex_epoll_create(), "epoll_create1"))
    }

    /// Returns false for a descriptor that is always ready (a regular file), which epoll refuses.
    @discardableResult
    public borrowing func add(_ number: Int32, token: UInt64, write: Bool = false) throws(KernelError) -> Bool {
        let result = codex_epoll_add(epoll.number, number, write ? 4 : 1, token)
        if result == -EPERM { return false }
        try KernelError.check(result, "epoll_ctl")
        return true
    }

    /// Says anew what is waited for on a descriptor; neither: only its end.
    public borrowing func change(_ number: Int32, token: UInt64, read: Bool, write: Bool) {
        _ = codex_epoll_change(epoll.number, number, (read ? 1 : 0) | (write ? 4 : 0), token)
    }

    public borrowing func remove(_ number: Int32) { _ = codex_epoll_remove(epoll.number, number) }

    /// Waits; `milliseconds` -1 is without end. An interrupted wait returns nothing.
    public borrowing func wait(milliseconds: Int32 = -1) throws(KernelError) -> Events {
        var events = Events()
        events.count = Int(
            try KernelError.check(
                codex_epoll_wait(epoll.number, &events.tokens, &events.flags, 16, milliseconds), "epoll_wait"))
        return events
    }

    /// What became possible at once. Not an array of ``Event``, for which Swift's runtime would first make a class.
    public struct Events: Sequence, IteratorProtocol {
        fileprivate var tokens = [UInt64](repeating: 0, count: 16)
        fileprivate var flags = [UInt32](repeating: 0, count: 16)
        public fileprivate(set) var count = 0
        private var at = 0

        fileprivate init() {}

        public var isEmpty: Bool { count == 0 }

        public mutating func next() -> Event? {
            guard at < count else { return nil }
            defer { at += 1 }
            return Event(
                token: tokens[at], readable: flags[at] & 1 != 0, writable: flags[at] & 4 != 0,
                hungUp: flags[at] & 0x18 != 0)
        }
    }
}

/// A timer as a descriptor (timerfd_create(2), CLOCK_MONOTONIC).
public struct Timer: ~Copyable {
    public let descriptor: Descriptor

    public init() throws(KernelError) {
        descriptor = Descriptor(owning: try KernelError.check(codex_timer_create(), "timerfd_create"))
    }

    /// Fires once after so many nanoseconds; 0 stops it.
    public borrowing func set(nanoseconds: Int64) throws(KernelError) {
        try KernelError.check(codex_timer_set(descriptor.number, nanoseconds), "timerfd_settime")
    }
}

/// Signals as a descriptor (signalfd(2)): from its creation on they no longer interrupt.
public struct SignalQueue: ~Copyable {
    public let descriptor: Descriptor

    public init(_ signals: [Int32]) throws(KernelError) {
        let mask = SignalQueue.mask(signals)
        descriptor = Descriptor(owning: try KernelError.check(codex_signal_descriptor(mask), "signalfd"))
    }

    /// From here on they no longer interrupt: they wait for a queue.
    public static func hold(_ signals: [Int32]) throws(KernelError) {
        try KernelError.check(codex_signal_hold(mask(signals)), "rt_sigprocmask")
    }

    /// They interrupt again; one that came meanwhile does at once.
    public static func release(_ signals: [Int32]) throws(KernelError) {
        try KernelError.check(codex_signal_release(mask(signals)), "rt_sigprocmask")
    }

    private static func mask(_ signals: [Int32]) -> UInt64 { signals.reduce(0) { $0 | 1 << UInt64($1 - 1) } }

    /// The next pending signal, or nil.
    public borrowing func next() -> Int32? {
        let number = codex_signal_read(descriptor.number)
        return number > 0 ? number : nil
    }
}

public enum Clock {
    /// Nanoseconds of CLOCK_MONOTONIC.
    public static var monotonic: Int64 { codex_clock_monotonic() }
    /// Nanoseconds since 1970 (CLOCK_REALTIME).
    public static var realtime: Int64 { codex_clock_realtime() }
}

extension Clock {
    public static func sleep(milliseconds: Int) { usleep(UInt32(milliseconds) * 1000) }
}
