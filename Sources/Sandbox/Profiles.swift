/// The levels' own seccomp profiles, as they stand in `Profiles/`.
extension IsolationLevel {
    public var seccompProfile: [UInt8] {
        switch self {
        case .minimal: PackageResources.minimal_json
        case .standard: PackageResources.standard_json
        case .strict: PackageResources.strict_json
        }
    }
}
