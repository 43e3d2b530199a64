/// The declarative root file systems in this folder, as their bytes: the program carries them, so
/// that one file is a whole installation. `Images` reads and builds them.
public enum RootfsTemplates {
    public static let all: [(name: String, text: [UInt8])] = [
        ("host", PackageResources.host_json),
        ("busybox", PackageResources.busybox_json),
        ("python", PackageResources.python_json),
        ("debian", PackageResources.debian_json),
    ]
}
