internal import Engine
internal import LinuxKernel
internal import OCISpec
internal import Sandbox

/// `codex32 system boot`, and the units that run it.
enum SystemBoot {
    /// Starts what is to run always. The status is 125 when one of them could not be started.
    static func run(_ draft: SystemVerb.Draft) throws(Problem) -> Int32 {
        let booted = try CommonOptions.containers(draft).boot { name, notice in
            StandardStream.error.print(
                "codex32: warning: \(name): not in force: \(notice.item.name): \(notice.why.quotedForTerminal)\n")
        }
        if case .json = draft.format {
            let list = booted.map { each -> JSON in
                .members([
                    "id": .string(each.id), "name": .string(each.name), "started": .bool(each.problem == nil),
                    "problem": .text(each.problem.map { "\($0.what): \($0.why)" }),
                ])
            }
            StandardStream.output.print(JSON.array(list).text(pretty: true) + "\n")
        }
        var status: Int32 = 0
        for each in booted {
            if let problem = each.problem {
                StandardStream.error.print("codex32: \(each.name): \(problem)\n")
                status = 125
            } else if case .table = draft.format {
                StandardStream.output.print(each.name + "\n")
            }
        }
        return status
    }

    // MARK: Units

    /// Prints a systemd unit (systemd.service(5)).
    static func unit(_ draft: SystemVerb.Draft) throws(Problem) -> Int32 {
        let program: String
        if let given = draft.program { program = given } else { program = try ownProgram() }
        // A unit has its own quoting, and specifiers: a path that needs neither is all that is taken.
        let plain = program.utf8.allSatisfy {
            (0x30...0x39).contains($0) || (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0)
                || [0x2f, 0x2e, 0x5f, 0x2d, 0x2b].contains($0)
        }
        guard program.hasPrefix("/"), plain else {
            throw Problem(
                "cannot use --program \(program)", "a unit takes an absolute path of letters, digits, /, ., _, - and +",
                hint: "--program /usr/local/bin/codex32")
        }
        StandardStream.output.print(draft.forUser ? userUnit(program) : machineUnit(program))
        return 0
    }

    private static func ownProgram() throws(Problem) -> String {
        try explaining("cannot find codex32's own file", hint: "--program /usr/local/bin/codex32") {
            () throws(KernelError) in try Descriptor.link("/proc/self/exe")
        }
    }

    /// Nothing stops the containers but the signal: their supervisors are the unit's processes, and each of them, when
    /// it gets SIGTERM, stops its program as `codex32 stop` does, and leaves a record that `system boot` starts again.
    private static func service(_ program: String) -> String {
        """
        [Service]
        Type=oneshot
        RemainAfterExit=yes
        ExecStart=\(program) system boot
        # A template may have to be built first.
        TimeoutStartSec=30min
        # The supervisors of the containers stay. SIGTERM has each of them stop its program, with the time that
        # the container's --stop-timeout gives it.
        KillMode=control-group
        KillSignal=SIGTERM
        TimeoutStopSec=90s
        Delegate=yes
        TasksMax=infinity
        """
    }

    private static func machineUnit(_ program: String) -> String {
        """
        # Made by codex32 system unit.
        [Unit]
        Description=codex32 containers that run always
        Documentation=man:codex32(1)
        RequiresMountsFor=/var/lib/codex32
        After=local-fs.target network.target

        \(service(program))

        [Install]
        WantedBy=multi-user.target

        """
    }

    private static func userUnit(_ program: String) -> String {
        """
        # Made by codex32 system unit --user. It runs at boot for users that linger: loginctl enable-linger USER.
        [Unit]
        Description=codex32 containers that run always
        Documentation=man:codex32(1)

        \(service(program))

        [Install]
        WantedBy=default.target

        """
    }
}
