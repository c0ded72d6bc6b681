/// The directories and files that a target consists of.
///
/// Settings: `FILES_PATHS`, `FILES_EXCLUDE`, `FILES_ONE_FILE_SYSTEM`, `FILES_ALLOW_EMPTY`; a destination
/// `file:///dir` is the same source with another ``base``.
package struct FilesSource: Equatable, Sendable {
    /// Absolute, without `.`, `..` or a slash at the end; none lies in another. A set calls its trees by these names,
    /// wherever they stand.
    package let paths: [String]
    /// What is left out, with everything below it. A pattern that begins with a slash is compared with the whole path,
    /// where `*` stops at a slash; any other has no slash and is compared with each name. `*`, `?` and `[a-z]` mean
    /// what they mean to a shell (fnmatch(3)).
    package let excludes: [String]
    /// Directories that are on another file system than their path's are stored without what is in them.
    package let oneFileSystem: Bool
    /// A directory with nothing in it may be stored. Without this it is taken for a volume that is not mounted.
    package let allowsEmpty: Bool
    /// The directory that the paths are looked for under, and restored to; empty for where they are named.
    package let base: String

    /// Throws ``FilesError`` with exit code 4 for what no source can be.
    package init(
        paths: [String], excludes: [String] = [], oneFileSystem: Bool = false, allowsEmpty: Bool = false,
        base: String = ""
    ) throws(FilesError) {
        guard !paths.isEmpty else {
            throw .configuration("FILES_PATHS", "it names no path", hint: "name at least one directory or file")
        }
        var normal: [String] = []
        for path in paths { normal.append(try Self.normal(path, setting: "FILES_PATHS")) }
        for (index, path) in normal.enumerated() {
            for other in normal[..<index] where path == other || path.isBelow(other) || other.isBelow(path) {
                throw .configuration(
                    "FILES_PATHS", "\(shown(path)) and \(shown(other)) hold the same files",
                    hint: "name only the outer one, and leave out with FILES_EXCLUDE what is not wanted")
            }
        }
        self.paths = normal
        for pattern in excludes { try Self.check(pattern) }
        self.excludes = excludes
        self.oneFileSystem = oneFileSystem
        self.allowsEmpty = allowsEmpty
        let base = base.isEmpty ? "" : try Self.normal(base, setting: "the destination")
        self.base = base == "/" ? "" : base
    }

    /// The same paths under another directory: a restore's destination.
    package func under(_ base: String) throws(FilesError) -> FilesSource {
        try FilesSource(
            paths: paths, excludes: excludes, oneFileSystem: oneFileSystem, allowsEmpty: allowsEmpty, base: base)
    }

    /// Where the tree called `path` stands.
    func location(of path: String) -> String {
        if base.isEmpty { return path }
        return path == "/" ? base : base + path
    }

    /// For people: `the files of /etc/clinic, /srv/scans under /restored`.
    var label: String {
        let named = paths.prefix(3).map { shown($0) }.joined(separator: ", ")
        let more = paths.count > 3 ? " and \(paths.count - 3) more" : ""
        return "the files of \(named)\(more)" + (base.isEmpty ? "" : " under \(shown(base))")
    }

    private static func normal(_ path: String, setting: String) throws(FilesError) -> String {
        let pieces = path.split(separator: "/")
        guard path.hasPrefix("/"), !path.utf8.contains(0), !pieces.contains("."), !pieces.contains("..") else {
            throw .configuration(
                setting, "\(shown(path)) is not an absolute path without '.' and '..'",
                hint: "write the whole path, from the root")
        }
        return "/" + pieces.joined(separator: "/")
    }

    private static func check(_ pattern: String) throws(FilesError) {
        let isUsable =
            !pattern.isEmpty && !pattern.utf8.contains(0) && pattern != "/"
            && (pattern.hasPrefix("/") ? !pattern.hasSuffix("/") : !pattern.contains("/"))
        guard isUsable else {
            throw .configuration(
                "FILES_EXCLUDE", "\(shown(pattern)) is no pattern",
                hint: "begin it with a slash to mean a whole path ('/srv/scans/cache'), or write a name without any "
                    + "slash ('*.tmp')")
        }
    }
}

extension String {
    fileprivate func isBelow(_ other: String) -> Bool { hasPrefix(other == "/" ? "/" : other + "/") }
}
