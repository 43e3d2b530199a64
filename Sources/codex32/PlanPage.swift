internal import Sandbox

/// A plan as text for people.
enum PlanPage {
    static func text(_ plan: LaunchPlan) -> String {
        var text = "isolation   \(plan.level.rawValue)\n"
        text += "namespaces  \(plan.namespaceNames.joined(separator: " "))\n"
        text += "command     \(plan.arguments.joined(separator: " "))\n"
        for notice in plan.notices { text += "missing     \(notice.item.rawValue): \(notice.why)\n" }
        text += "steps\n"
        for step in plan.stepTexts { text += "  \(step)\n" }
        return text
    }
}
