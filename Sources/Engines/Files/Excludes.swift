import Glibc

/// The patterns of what is left out.
struct Excludes: Sendable {
    private let names: [String]
    private let paths: [String]

    init(_ patterns: [String]) {
        names = patterns.filter { !$0.hasPrefix("/") }
        paths = patterns.filter { $0.hasPrefix("/") }
    }

    /// Whether what is called `name`, at `path` below `tree`, is left out.
    func match(name: [UInt8], path: [UInt8], in tree: String) -> Bool {
        if !names.isEmpty {
            let name = terminated(name)
            // A period at the beginning is a character like any other, as in `*.tmp` for `.x.tmp`.
            if names.contains(where: { fnmatch($0, name, 0) == 0 }) { return true }
        }
        guard !paths.isEmpty else { return false }
        let whole = terminated((tree == "/" ? [] : Array(tree.utf8)) + [UInt8(ascii: "/")] + path)
        return paths.contains { fnmatch($0, whole, FNM_PATHNAME) == 0 }
    }
}
