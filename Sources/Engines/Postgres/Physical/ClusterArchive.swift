/// The archives that a base backup consists of, and their names.
enum ClusterArchive {
    /// The data directory's.
    static let base = "base"
    static let suffix = ".tar"
    static let manifest = "backup_manifest"
    /// Where a tablespace's files are in the data directory.
    static let tablespaceDirectory = Array("pg_tblspc/".utf8)
    static let logDirectory = Array("pg_wal/".utf8)

    /// `base.tar`, `16385.tar`.
    static func part(of root: String) -> String { root + suffix }

    /// `base`, or the number of a tablespace; `nil` for what is no archive's name.
    static func root(ofPart part: String) -> String? {
        guard part.hasSuffix(suffix) else { return nil }
        let root = String(part.dropLast(suffix.count))
        return root == base || UInt32(root).map { String($0) == root } == true ? root : nil
    }

    /// What stands in front of its members' names in the manifest.
    static func prefix(of root: String) -> [UInt8] {
        root == base ? [] : tablespaceDirectory + root.utf8 + [UInt8(ascii: "/")]
    }
}
