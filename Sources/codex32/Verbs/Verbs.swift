internal import LinuxKernel

/// Every verb that people type, in the order in which help shows them. `run` and `exec` reach their work without it.
enum Verbs {
    /// A verb's names, its own first, and how to come by it: a verb's page is made of its whole option table, and
    /// the one that was asked for need not wait for those of all others.
    struct Entry: Sendable {
        let names: [String]
        let verb: @Sendable () -> Verb

        init(_ names: String..., verb: @escaping @Sendable () -> Verb) {
            self.names = names
            self.verb = verb
        }
    }

    static var entries: [Entry] {
        [
            Entry("run") { RunVerb.verb },
            Entry("learn") { LearnVerb.verb },
            Entry("create") { CreateVerb.verb },
            Entry("start") { LifecycleVerbs.start },
            Entry("stop") { LifecycleVerbs.stop },
            Entry("kill") { LifecycleVerbs.kill },
            Entry("restart") { LifecycleVerbs.restart },
            Entry("pause") { LifecycleVerbs.pause },
            Entry("unpause") { LifecycleVerbs.unpause },
            Entry("wait") { LifecycleVerbs.wait },
            Entry("rename") { LifecycleVerbs.rename },
            Entry("remove", "rm") { LifecycleVerbs.remove },
            Entry("exec") { ExecVerb.verb },
            Entry("top") { TopVerb.verb },
            Entry("health") { HealthVerb.verb },
            Entry("list", "ls", "ps") { ListVerb.verb },
            Entry("inspect") { InspectVerb.verb },
            Entry("logs") { OutputVerbs.logs },
            Entry("attach") { OutputVerbs.attach },
            Entry("events") { OutputVerbs.events },
            Entry("cp") { FileVerbs.cp },
            Entry("diff") { FileVerbs.diff },
            Entry("export") { FileVerbs.export },
            Entry("import") { FileVerbs.importImage },
            Entry("commit") { FileVerbs.commit },
            Entry("stats") { StatsVerb.verb },
            Entry("dashboard") { Dashboard.verb },
            Entry("update") { UpdateVerb.verb },
            Entry("port") { PortVerb.verb },
            Entry("prune") { PruneVerb.verb },
            Entry("image") { ImageVerb.verb },
            Entry("workspace") { WorkspaceVerb.verb },
            Entry("login") { LoginVerb.login },
            Entry("logout") { LoginVerb.logout },
            Entry("system") { SystemVerb.verb },
            Entry("oci") { RuntimeVerb.verb },
            Entry("doctor") { DoctorCommand.verb },
            Entry("selftest") { SelftestVerb.verb },
            Entry("version") { VersionCommand.verb },
            Entry("completion") { CompletionCommand.verb },
        ]
    }

    static var all: [(verb: Verb, aliases: [String])] {
        entries.map { ($0.verb(), Array($0.names.dropFirst())) }
    }

    static var names: [String] { entries.flatMap(\.names) + ["man"] }

    static func named(_ name: String) -> Verb? { entries.first { $0.names.contains(name) }?.verb() }
}
