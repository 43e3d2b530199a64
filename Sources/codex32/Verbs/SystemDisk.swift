internal import Engine
internal import LinuxKernel
internal import OCISpec

/// `codex32 system df`.
enum SystemDisk {
    static func run(_ draft: SystemVerb.Draft) throws(Problem) -> Int32 {
        let usage = try DiskUsage(try CommonOptions.containers(draft))
        switch draft.format {
        case .table: StandardStream.output.print(table(usage))
        case .json: StandardStream.output.print(JSON.array(usage.entries.map(\.document)).text(pretty: true) + "\n")
        case .template(let template):
            for entry in usage.entries { StandardStream.output.print(try template.text(entry.fields) + "\n") }
        }
        return 0
    }

    private static func table(_ usage: DiskUsage) -> String {
        Table.text(
            ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"],
            usage.entries.map { entry in
                [entry.kind.rawValue, "\(entry.total)", "\(entry.active)", entry.sizeText, entry.reclaimableText]
            })
    }
}

extension DiskUsage.Entry {
    /// "+": some of it could not be read, and there is more.
    fileprivate var sizeText: String { Quantity.bytes(size.bytes) + (size.isComplete ? "" : "+") }

    fileprivate var reclaimableText: String {
        let share = size.bytes == 0 ? 0 : Double(reclaimable) * 100 / Double(size.bytes)
        return "\(Quantity.bytes(reclaimable)) (\(Quantity.decimal(share, digits: 0))%)"
    }

    fileprivate var document: JSON {
        .members([
            "type": .string(kind.rawValue), "total": .number(total), "active": .number(active),
            "bytes": .number(size.bytes), "reclaimableBytes": .number(reclaimable), "files": .number(size.files),
            "complete": .bool(size.isComplete),
        ])
    }

    /// With Docker's names for the columns.
    fileprivate var fields: JSON {
        guard case .object(let members) = document else { return document }
        return .object(
            members + [
                .init("totalCount", .number(total)), .init("size", .string(sizeText)),
                .init("reclaimable", .string(reclaimableText)),
            ])
    }
}
