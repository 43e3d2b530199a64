public import LinuxKernel
internal import OCISpec
public import Sandbox

/// What happens when the machine has come up again: order, and a start of what is to run always.
extension Containers {
    /// One container that was to be started.
    public struct BootedContainer: Sendable {
        public let id: String
        public let name: String
        /// Nil: it runs.
        public let problem: Problem?
    }

    /// Starts that are under way at once: each is a process of its own that waits for the disk more than it computes.
    private static let width = 8

    /// Puts the store in order, and starts the containers whose policy is `always`, or `unless-stopped` where nobody
    /// stopped them. One that was never started, or runs, is left alone. The oldest is started first.
    ///
    /// - Throws: what kept it from looking at the store; one that cannot be started is in the list.
    public func boot(warn: @escaping (String, Notice) -> Void) throws(Problem) -> [BootedContainer] {
        _ = try recover()
        var waiting: [ContainerRecord] = []
        for entry in try all() {
            guard case .container(let record) = entry, record.state.kind == .exited, record.startsAtBoot else {
                continue
            }
            waiting.append(record)
        }
        var results: [BootedContainer] = []
        var under: [(record: ContainerRecord, report: Reporting)] = []
        for record in waiting {
            if under.count == Containers.width {
                let oldest = under.removeFirst()
                results.append(Containers.finish(oldest.record, oldest.report, warn))
            }
            do throws(Problem) {
                under.append((record, Reporting(try beginStart(try store.open(id: record.id), waitsForClient: false))))
            } catch {
                results.append(BootedContainer(id: record.id, name: record.name, problem: error))
            }
        }
        for each in under { results.append(Containers.finish(each.record, each.report, warn)) }
        return results
    }

    private static func finish(
        _ record: ContainerRecord, _ reporting: Reporting, _ warn: @escaping (String, Notice) -> Void
    ) -> BootedContainer {
        var problem: Problem?
        let tell = warner { notice in warn(record.name, notice) }
        do throws(Problem) { try reporting.report.wait(warn: tell) } catch { problem = error }
        return BootedContainer(id: record.id, name: record.name, problem: problem)
    }

    /// A start whose report has not been heard to its end.
    private final class Reporting {
        var report: StartReport
        init(_ report: consuming StartReport) { self.report = report }
    }
}

extension ContainerRecord {
    fileprivate var startsAtBoot: Bool {
        switch restartPolicy {
        case .always: true
        case .unlessStopped: !wasStopped
        default: false
        }
    }
}
