internal import LinuxKernel

/// Giving a container another name: the new one is claimed first, the record says it next, and the old one goes
/// last, so that the container can be found by its record's name at every moment.
struct Renaming: ~Copyable {
    let old: String
    private let id: String
    private let storage: Storage

    init(_ record: ContainerRecord, to name: String, storage: Storage) throws(Problem) {
        guard ContainerName.isValid(name) else {
            throw Problem(
                "cannot rename \(record.name)", "\(name) is no name",
                hint: "letters, digits, _, . and -, and a letter or digit first")
        }
        var claim = try NameClaim(name, id: record.id, storage: storage)
        try explaining("cannot use the name \(name)") { () throws(KernelError) in try claim.write() }
        old = record.name
        id = record.id
        self.storage = storage
    }

    /// - Parameter name: what the caller knew the container by; nil: its id.
    static func check(_ record: ContainerRecord, isCalled name: String?) throws(Problem) {
        guard let name, name != record.name else { return }
        throw Problem(
            "no container \(name)", "it was renamed to \(record.name) meanwhile",
            hint: "codex32 rename \(record.name) NAME")
    }

    /// Gives the old name away.
    borrowing func finish() { NameClaim.remove(old, of: id, storage: storage) }
}
