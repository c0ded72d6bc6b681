import Core
import Glibc

/// A private directory with a short path: for sockets, and for the few settings of a server.
final class SocketDirectory: Sendable {
    /// The longest path that a socket may have, with its final zero byte, is 108 bytes.
    private static let longest = 107 - "/.s.PGSQL.65535".utf8.count

    let path: String
    let owner: ClusterOwner?

    init(in parent: String, owner: ClusterOwner?) throws(PostgresError) {
        var template = Array("\(parent)/lifeboat-XXXXXX".utf8CString)
        guard template.count <= Self.longest else {
            throw .configuration(
                parent, "its path is too long for a socket in it",
                hint: "use a temporary directory with a shorter path")
        }
        guard mkdtemp(&template) != nil else {
            throw .directory("make a directory for sockets", parent, error: errno)
        }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        self.owner = owner
        try ClusterDirectory.give(path, to: owner)
    }

    /// Removes it. It is in a temporary directory: what cannot be removed there is no reason to fail.
    deinit { _ = Result { try ClusterDirectory.remove(path) } }

    func write(_ text: String, to file: String) throws(PostgresError) {
        try ClusterDirectory.write(Array(text.utf8), to: file, mode: 0o600, owner: owner)
    }
}
