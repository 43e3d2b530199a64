internal import Images
public import LinuxKernel
public import OCISpec
internal import Sandbox

/// A configuration as the record keeps it. Host paths are kept as paths: what they are is looked at
/// again at each start.
extension ContainerConfiguration {
    var document: JSON {
        var members = run.members
        members += [
            .init("restart", .string(restart.text)),
            .init(
                "log",
                .members([
                    "format": .string(log.format.rawValue), "fileSize": .number(log.fileSize),
                    "files": .number(log.files),
                ])),
            .init("removesItself", .bool(removesItself)), .init("orphan", .string(orphan.rawValue)),
        ]
        if let (path, target) = run.workspace {
            members.append(.init("workspace", .members(["source": .string(path), "target": .string(target)])))
        }
        if let limit = run.request.storageLimit {
            members.append(.init("storageLimit", .number(limit)))
            members.append(.init("storageKind", .string(run.request.storageKind.rawValue)))
        }
        if run.request.explains { members.append(.init("explain", .bool(true))) }
        if let health {
            members.append(
                .init(
                    "health",
                    .members([
                        "command": .list(health.command), "interval": .number(health.interval),
                        "timeout": .number(health.timeout), "startPeriod": .number(health.startPeriod),
                        "retries": .number(health.retries),
                    ])))
        }
        return .object(members)
    }
}

extension RunConfiguration {
    fileprivate var members: [JSON.Member] {
        [
            .init("image", .string(image.text)), .init("imageDigest", image.digestDocument),
            .init("imageScript", .bool(image.isScriptOverImage)),
            .init("arguments", .list(arguments)), .init("entrypoint", entrypoint.map { .list($0) } ?? .null),
            .init("isolation", .string(request.level.rawValue)),
            .init("waived", .list(request.waived.map(\.name).sorted())),
            .init("required", .list(request.required.map(\.name).sorted())),
            .init("hostname", .string(request.hostname)), .init("network", .text(request.network?.rawValue)),
            .init("userNamespace", .string(request.userNamespace.rawValue)), .init("user", request.user.document),
            .init("environment", .list(request.environment)), .init("workingFolder", .text(workingFolder)),
            .init("readOnly", readOnly.map { .bool($0) } ?? .null), .init("limits", request.limits.document),
            .init("resourceLimits", .array(request.resourceLimits.map(\.document))),
            .init("sysctls", .object(request.sysctls.map { .init($0.name, .string($0.value)) })),
            .init("addedCapabilities", .number(request.addedCapabilities.rawValue)),
            .init("droppedCapabilities", .number(request.droppedCapabilities.rawValue)),
            .init("seccompProfile", request.seccompProfile.map(RunConfiguration.profile) ?? .null),
            .init("learned", request.learned?.document ?? .null),
            .init("volumes", .array(request.volumes.map(\.document))), .init("ownVolumes", .list(ownVolumes)),
            .init("temporary", .array(request.temporary.map(\.document))), .init("shmSize", .number(request.shmSize)),
            .init(
                "devices",
                .array(request.devices.map { .members(["path": .string($0.path), "target": .string($0.target)]) })),
            .init("terminal", .bool(request.terminal)), .init("interactive", .bool(interactive)),
            .init("reaper", .bool(request.reaper)), .init("wallTime", .number(wallTime)),
            .init("cpuTime", .number(cpuTime)), .init("outputLimit", .number(outputLimit)),
            .init("stopSignal", .number(stopSignal)), .init("stopTimeout", .number(stopTimeout)),
        ]
    }

    private static func profile(_ profile: (name: String, bytes: [UInt8])) -> JSON {
        .members(["name": .string(profile.name), "text": .string(String(decoding: profile.bytes, as: UTF8.self))])
    }
}

extension UserIdentity {
    fileprivate var document: JSON {
        .members([
            "uid": .number(uid), "gid": .number(gid), "groups": .array(groups.map { .number($0) }),
            "home": .string(home), "chosen": .bool(chosen),
        ])
    }
}

extension CgroupLimits {
    public var document: JSON {
        .members([
            "memoryMax": .number(memoryMax), "swapMax": .number(swapMax), "cpuQuota": .number(cpuQuota),
            "cpuWeight": .number(cpuWeight), "pidsMax": .number(pidsMax), "cpus": .text(cpus),
            "ioWeight": .number(ioWeight),
            "io": .object(
                io.sorted { $0.key < $1.key }.map { device, limits in
                    .init(
                        device,
                        .object(limits.sorted { $0.key < $1.key }.map { .init($0.key, .number($0.value)) }))
                }),
        ])
    }
}

extension ResourceLimit {
    fileprivate var document: JSON {
        .members(["name": .string(ResourceLimit.name(resource)), "soft": .number(soft), "hard": .number(hard)])
    }
}

extension Volume {
    fileprivate var document: JSON {
        .members([
            "source": .string(source.path), "target": .string(target), "readOnly": .bool(readOnly),
            "noExecute": .bool(noExecute), "mapOwners": mapOwners.map { .bool($0) } ?? .null,
        ])
    }
}

extension TemporaryMount {
    fileprivate var document: JSON {
        .members([
            "target": .string(target), "size": .number(size), "mode": .number(mode), "executable": .bool(executable),
            "readOnly": .bool(readOnly),
        ])
    }
}
