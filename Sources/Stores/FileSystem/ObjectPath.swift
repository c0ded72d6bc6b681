/// Where an object lies: its key, checked, as a path under the store's root.
struct ObjectPath: Sendable {
    /// Names of files that are being written. They are not objects, whatever they hold.
    static let temporaryPrefix = ".lifeboat-"
    static let temporarySuffix = ".tmp"
    /// What mkfs makes in the root of a volume, readable for root only.
    static let reservedInRoot = "lost+found"

    let root: String
    let key: String
    /// The directories between the root and the file, outermost first.
    let parents: [String]

    var path: String { "\(root)/\(key)" }
    /// Where the file lies.
    var directory: String { parents.last ?? root }
    /// What has to be made durable for the file to be found again, innermost first.
    var ancestors: [String] { parents.reversed() + [root] }

    init(root: String, key: String) throws(FileStoreError) {
        guard !key.isEmpty else { throw .invalidKey(key: key, problem: "it is empty") }
        var parents: [String] = []
        var path = root
        let pieces = key.split(separator: "/", omittingEmptySubsequences: false)
        for (index, piece) in pieces.enumerated() {
            if let problem = Self.problem(with: piece, isFirst: index == 0) {
                throw .invalidKey(key: key, problem: problem)
            }
            path += "/\(piece)"
            if index < pieces.count - 1 { parents.append(path) }
        }
        self.root = root
        self.key = key
        self.parents = parents
    }

    /// What keeps `piece` from being a file's name here; `nil` where nothing does.
    static func problem(with piece: Substring, isFirst: Bool) -> String? {
        if piece.isEmpty { return "a piece between slashes is empty" }
        // Also covers "." and "..", and what file systems and tools hide in a directory (.snapshot, .nfs000…).
        if piece.utf8.first == UInt8(ascii: ".") { return "a piece begins with a dot" }
        if piece.utf8.contains(0) { return "it contains a NUL byte" }
        if piece.utf8.count > 255 { return "a piece is longer than 255 bytes" }
        if isFirst && piece == reservedInRoot { return "'\(reservedInRoot)' belongs to the file system" }
        return nil
    }

    /// Symbolic links are not followed below the root: a listing would not show what lies behind one.
    func refuseLinks() throws(FileStoreError) {
        for parent in parents {
            let status = try attempt("look at the directory", parent) { () throws(SystemError) in
                try FileStatus.of(parent)
            }
            guard let status else { return }
            if status.kind == .link { throw .foreign(path: parent, what: status.kind.rawValue) }
        }
    }
}
