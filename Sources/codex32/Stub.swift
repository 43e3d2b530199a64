internal import LinuxKernel
enum DoctorCommand { static func run(_ words: [String]) throws(Problem) -> Int32 { 0 } }
enum CompletionCommand { static func run(_ words: [String]) throws(Problem) -> Int32 { 0 } }
enum ManPage { static let text = "" }
