internal import LinuxKernel
internal import OCISpec

/// The files that `--result-file` and `--receipt` name: their folders are opened before anything
/// starts, so that a wrong path is told then and not after the work.
struct ResultFiles: ~Copyable {
    private let result: Destination?
    private let receipt: Destination?

    private struct Destination: ~Copyable {
        let folder: Descriptor
        let name: String

        init?(_ path: String?, option: String) throws(Problem) {
            guard let path else { return nil }
            let slash = path.lastIndex(of: "/")
            let name = slash.map { String(path[path.index(after: $0)...]) } ?? path
            guard !name.isEmpty, name != ".", name != ".." else {
                throw Problem("cannot write \(option) \(path)", "it names a folder", hint: "name a file")
            }
            let place = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
            let opened = try explaining("cannot write \(option) \(path)", hint: "its folder must exist and be writable")
            {
                () throws(KernelError) in
                let folder = try Descriptor.open(place, [.read, .folder])
                if let kind = try? folder.status(of: name).kind, kind == .folder {
                    throw KernelError("open", path, number: Errno.isFolder)
                }
                // Shows now, and not after the run, that the folder takes files.
                try folder.tryPut(name)
                return folder
            }
            self.name = name
            folder = opened
        }

        borrowing func write(_ json: JSON) throws(Problem) {
            try explaining("cannot write \(name)", hint: "free some space there, or name a file elsewhere") {
                () throws(KernelError) in
                try folder.put(name, with: json.text(pretty: true) + "\n", mode: 0o644, durable: false)
            }
        }
    }

    init(_ configuration: RunConfiguration) throws(Problem) {
        let result = try Destination(configuration.resultFile, option: "--result-file")
        let receipt = try Destination(configuration.receiptFile, option: "--receipt")
        self.result = result
        self.receipt = receipt
    }

    borrowing func write(verdict: JSON) throws(Problem) {
        switch result {
        case .some(let destination): try destination.write(verdict)
        case .none: break
        }
    }

    borrowing func write(receipt json: JSON) throws(Problem) {
        switch receipt {
        case .some(let destination): try destination.write(json)
        case .none: break
        }
    }
}
