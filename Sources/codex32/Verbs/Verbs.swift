internal import LinuxKernel

/// Every verb that people type, in the order in which help shows them. `run` reaches its work without this list.
enum Verbs {
    static var all: [Verb] {
        [RunVerb.verb, CreateVerb.verb] + LifecycleVerbs.all
            + [ExecVerb.verb, TopVerb.verb, HealthVerb.verb, ListVerb.verb, InspectVerb.verb]
            + OutputVerbs.all + FileVerbs.all + [
                StatsVerb.verb, Dashboard.verb, UpdateVerb.verb, PortVerb.verb, PruneVerb.verb, SystemVerb.verb,
                DoctorCommand.verb, VersionCommand.verb, CompletionCommand.verb,
            ]
    }

    static var names: [String] { all.flatMap { [$0.page.name] + $0.aliases } + ["ls", "ps", "man"] }

    static func named(_ name: String) -> Verb? {
        all.first { $0.page.name == name || $0.aliases.contains(name) }
    }
}
