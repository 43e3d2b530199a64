internal import OCISpec
internal import Sandbox

/// What becomes of a program whose supervisor has died (killed, out of memory), where the machine goes on.
public enum OrphanPolicy: String, CaseIterable, Sendable {
    /// It ends with its supervisor: nothing runs that nobody looks after. Its restart policy then says what follows.
    case end
    /// It runs on, and the next command that meets the container starts another supervisor for it.
    case adopt
}

extension OrphanPolicy {
    /// What a verdict says of a program that was to be adopted.
    static let unseen = "it ended while it had no supervisor: nobody saw how"
    static let ended = "its supervisor was gone, and it was ended before another had adopted it"
    static let member = "orphan"

    /// As a record has it; older ones know of none.
    init(_ top: JSONObject, _ run: RunConfiguration) throws(DocumentError) {
        let place = "\(top.place).\(OrphanPolicy.member)"
        guard let text = try top.string(OrphanPolicy.member) else {
            self = .end
            return
        }
        guard let policy = OrphanPolicy(rawValue: text) else { throw DocumentError(place, "\(text) is no policy") }
        guard policy == .end || !run.request.terminal && !run.interactive else {
            throw DocumentError(place, "a terminal or an input ends with its supervisor")
        }
        guard policy == .end || !run.request.explains else {
            throw DocumentError(place, "what the program is refused is answered for by its supervisor alone")
        }
        self = policy
    }
}

extension ContainerRecord {
    /// Whether its program is to be taken over where its supervisor died.
    var isAdoptable: Bool { configuration[OrphanPolicy.member] == .string(OrphanPolicy.adopt.rawValue) }
}
