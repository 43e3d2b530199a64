internal import AttackPrograms

/// The corpus's own side of codex32: what a run of ``Trial`` executes inside and outside.
public enum AttackProgram {
    public static let verb = "attack-program"

    /// Does what this process's words say (`attack_programs.h`), and returns the exit status.
    public static func main() -> Int32 { codex_attack_main(CommandLine.argc, CommandLine.unsafeArgv) }
}
