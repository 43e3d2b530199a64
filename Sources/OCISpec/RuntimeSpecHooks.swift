/// config.md, "POSIX-platform Hooks".
public struct SpecHooks: Equatable, Sendable {
    public struct Hook: Equatable, Sendable {
        public let path: String
        /// As execv(3) takes them: the first is the program's own name.
        public let arguments: [String]
        public let environment: [String]
        /// Nil: no limit.
        public let seconds: UInt32?

        init(_ object: JSONObject) throws(DocumentError) {
            try object.allow(only: ["path", "args", "env", "timeout"])
            path = try object.filePath("path")
            guard path.hasPrefix("/") else { throw DocumentError("\(object.place).path", "must be an absolute path") }
            let given = try object.texts("args")
            arguments = given.isEmpty ? [path] : given
            environment = try object.texts("env")
            seconds = try object.unsigned("timeout").map { (number) throws(DocumentError) -> UInt32 in
                // A year; a hook without an end leaves it out.
                guard (1...31_536_000).contains(number) else {
                    throw DocumentError("\(object.place).timeout", "must be from 1 to 31536000 seconds")
                }
                return UInt32(number)
            }
        }
    }

    public private(set) var prestart: [Hook] = []
    public private(set) var createRuntime: [Hook] = []
    public private(set) var createContainer: [Hook] = []
    public private(set) var startContainer: [Hook] = []
    public private(set) var poststart: [Hook] = []
    public private(set) var poststop: [Hook] = []

    init() {}

    init(_ object: JSONObject) throws(DocumentError) {
        try object.allow(only: [
            "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
        ])
        prestart = try SpecHooks.list(object, "prestart")
        createRuntime = try SpecHooks.list(object, "createRuntime")
        createContainer = try SpecHooks.list(object, "createContainer")
        startContainer = try SpecHooks.list(object, "startContainer")
        poststart = try SpecHooks.list(object, "poststart")
        poststop = try SpecHooks.list(object, "poststop")
    }

    private static func list(_ object: JSONObject, _ name: String) throws(DocumentError) -> [Hook] {
        let entries = try object.objects(name)
        guard entries.count <= 64 else { throw DocumentError("\(object.place).\(name)", "has more than 64 hooks") }
        var hooks: [Hook] = []
        for entry in entries { hooks.append(try Hook(entry)) }
        return hooks
    }

    /// Whether `create` runs some.
    public var isInCreate: Bool { !(prestart.isEmpty && createRuntime.isEmpty && createContainer.isEmpty) }
    /// Whether some are run when the container is started.
    public var isAtStart: Bool { !(startContainer.isEmpty && poststart.isEmpty) }
}
