internal import Engine
internal import LinuxKernel
internal import OCISpec

/// `oci events`: what a container uses, one object a line, until it has ended; with `--stats` once.
struct RuntimeEvents: Sendable {
    var once = false
    /// Nanoseconds.
    var interval: Int64 = 5_000_000_000

    static let options: [Option<RuntimeVerb.Draft>] = [
        .flag("--stats", help: "once, instead of again and again") { $0.events.once = true },
        .option("--interval", value: "TIME", help: "how often, as in 5s") { draft, text throws(Problem) in
            draft.events.interval = try Value.duration(text, option: "--interval")
        },
    ]

    func print(_ runtime: BundleRuntime, _ id: String) throws(Problem) {
        var isFirst = true
        while true {
            do throws(Problem) {
                StandardStream.output.print(try runtime.stats(id).text() + "\n")
            } catch {
                // That it ended is no failure of one who watches it.
                if isFirst || error.why != "container not running" { throw error }
                return
            }
            if once { return }
            try StandardStream.output.checkFollowed()
            isFirst = false
            Clock.sleep(milliseconds: Int(interval / 1_000_000))
        }
    }
}
