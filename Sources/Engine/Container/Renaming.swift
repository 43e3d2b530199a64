internal import LinuxKernel

/// Giving a container another name: the new one is claimed first, the record says it next, and the old one goes
/// last, so that the container can be found by its record's name at every moment. Until then the new claim is
/// locked, for it counts only once the record bears it; where that fails it is given back.
struct Renaming: ~Copyable {
    let old: String
    private let new: String
    private let id: String
    private let storage: Storage
    /// Held until the record bears the name: until then nothing else says whose it is.
    private var claim: NameClaim

    init(_ record: ContainerRecord, to name: String, storage: Storage) throws(Problem) {
        let what = "cannot rename \(record.name)"
        guard ContainerName.isValid(name) else {
            throw Problem(
                what, "\(name) is no name", hint: "letters, digits, _, . and -, and a letter or digit first")
        }
        guard name != record.name else { throw Problem(what, "it has that name already", hint: "choose another") }
        let claim = try NameClaim(name, id: record.id, storage: storage)
        try explaining("cannot use the name \(name)") { () throws(KernelError) in try claim.write() }
        self.claim = claim
        (old, new) = (record.name, name)
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

    /// Writes the record with the new name, and gives the old one away.
    mutating func carryOut(
        _ record: inout ContainerRecord, in container: borrowing ContainerFolder, holding lock: borrowing ContainerLock
    ) throws(Problem) {
        record.name = new
        do throws(Problem) { try container.write(record, holding: lock, lasting: true) } catch {
            // Not synced is not unwritten: the name that the record bears is the container's.
            if (try? container.written())?.name == new { finish() } else { record.name = old }
            throw error
        }
        finish()
    }

    private mutating func finish() {
        claim.keep()
        // What stays of it counts for nothing: the record does not bear it.
        try? NameClaim.remove(old, of: id, storage: storage)
    }
}
