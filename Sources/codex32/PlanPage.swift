internal import Engine
internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// A plan as text for people.
enum PlanPage {
    /// `--dry-run`: prints the plan, and starts nothing.
    static func print(_ configuration: RunConfiguration, _ format: String) throws(Problem) -> Int32 {
        let plan = try Run.plan(configuration)
        StandardStream.output.print(format == "json" ? plan.document.text(pretty: true) + "\n" : text(plan))
        return 0
    }

    private static func text(_ plan: LaunchPlan) -> String {
        var text = "isolation   \(plan.level.rawValue)\n"
        text += "namespaces  \(plan.namespaceNames.joined(separator: " "))\n"
        text += "command     \(plan.arguments.joined(separator: " "))\n"
        for notice in plan.notices { text += "missing     \(notice.item.name): \(notice.why)\n" }
        text += "steps\n"
        for step in plan.stepTexts { text += "  \(step)\n" }
        return text
    }
}
