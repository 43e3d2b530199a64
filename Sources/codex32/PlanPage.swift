internal import Engine
internal import Images
internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// A plan as text for people.
enum PlanPage {
    /// `--dry-run`: prints the plan, and starts nothing.
    static func print(_ configuration: RunConfiguration, _ format: String) throws(Problem) -> Int32 {
        let plan = try Run.plan(configuration)
        StandardStream.output.print(
            format == "json"
                ? document(plan, configuration.image).text(pretty: true) + "\n" : text(plan, configuration.image))
        return 0
    }

    /// With which image of the store it is, where it is one: a script's packages are in one too.
    private static func document(_ plan: LaunchPlan, _ image: ImageReference) -> JSON {
        guard case .object(let members) = plan.document, case .stored(let stored) = image else { return plan.document }
        let place = JSON.members(["reference": .string(stored.name), "digest": .string("\(stored.digest)")])
        return .object(members + [.init("image", place)])
    }

    private static func text(_ plan: LaunchPlan, _ image: ImageReference) -> String {
        var text = "isolation   \(plan.level.rawValue)\n"
        if case .stored(let stored) = image { text += "image       \(stored.name): \(stored.digest)\n" }
        text += "namespaces  \(plan.namespaceNames.joined(separator: " "))\n"
        text += "command     \(plan.arguments.joined(separator: " "))\n"
        for notice in plan.notices { text += "missing     \(notice.item.name): \(notice.why)\n" }
        text += "steps\n"
        for step in plan.stepTexts { text += "  \(step)\n" }
        return text
    }
}
