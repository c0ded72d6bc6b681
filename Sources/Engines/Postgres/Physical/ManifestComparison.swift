import Core

/// Compares the files of a base backup's archives with what the server's own manifest says that they are.
///
/// The server writes the manifest's lines in the order in which it sends the files, so that both are read side by side;
/// another order is as good, and costs memory.
struct ManifestComparison {
    /// Problems that are told by name; what is beyond is counted.
    private static let mostTold = 8

    /// A root of files and where the reading of its archive's ledger stands.
    private struct Lane {
        var entries: FileLedger.Entries
        var upcoming: FileLedger.Entry?
        /// Files that were passed over because the manifest has not named them yet.
        var strays: [[UInt8]: [UInt8]] = [:]

        init(_ ledger: FileLedger) {
            entries = ledger.entries
            upcoming = entries.next()
        }

        /// Takes the file at `path` out of the lane; `nil` where there is none.
        mutating func take(_ path: [UInt8]) -> [UInt8]? {
            if let stray = strays.removeValue(forKey: path) { return stray }
            while let entry = upcoming {
                upcoming = entries.next()
                if entry.path == path { return entry.mark }
                strays[entry.path] = entry.mark
            }
            return nil
        }

        /// What the manifest has not named, and a file that came twice.
        var left: [[UInt8]] {
            var rest = strays.keys.sorted { $0.lexicographicallyPrecedes($1) }
            if let upcoming { rest.append(upcoming.path) }
            return rest + entries.map(\.path)
        }
    }

    /// What is wrong, each with its file's name; empty where all is as the manifest says. `archives` are by root: `base`,
    /// or a tablespace's number.
    static func problems(manifest: FileLedger, archives: [String: FileLedger]) -> [String] {
        var lanes = archives.mapValues { Lane($0) }
        var told: [String] = []
        var count = 0
        func tell(_ path: [UInt8], _ problem: String) {
            count += 1
            if told.count < mostTold { told.append("\(shown(path: path)) \(problem)") }
        }
        for entry in manifest.entries {
            switch lanes[root(of: entry.path, among: archives)]?.take(entry.path) {
            case nil: tell(entry.path, "is missing")
            case entry.mark?: break
            case _?: tell(entry.path, "has another size or content than the manifest says")
            }
        }
        for lane in lanes.sorted(by: { $0.key < $1.key }) {
            for path in lane.value.left { tell(path, "is not in the manifest") }
        }
        if count > told.count { told.append("and \(count - told.count) more") }
        return told
    }

    /// The archive that the file at `path` is in: `pg_tblspc/16385/…` in that tablespace's.
    private static func root(of path: [UInt8], among archives: [String: FileLedger]) -> String {
        let prefix = ClusterArchive.tablespaceDirectory
        guard path.starts(with: prefix) else { return ClusterArchive.base }
        let number = String(decoding: path[prefix.count...].prefix { $0 != UInt8(ascii: "/") }, as: UTF8.self)
        return archives[number] == nil ? ClusterArchive.base : number
    }
}
