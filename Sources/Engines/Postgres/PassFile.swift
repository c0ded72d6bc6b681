import Core
import Streams

/// The password for a child, in libpq's form. Hold it for as long as the child may log in.
final class PassFile: Sendable {
    var path: String { file.path }
    private let file: MemoryFile

    /// `nil` where the endpoint has no password. The children are given no other server to log in to, so one line fits
    /// them all, whatever the database is called.
    init?(for endpoint: PostgresEndpoint) throws {
        guard let password = endpoint.password, !password.isEmpty else { return nil }
        var line = Array("*:*:*:*:".utf8)
        defer { line.withUnsafeMutableBytes { wipe($0) } }
        try password.withRevealed { text throws(PostgresError) in
            // Room for all of it at once: growing would leave copies behind.
            line.reserveCapacity(line.count + 2 * text.utf8.count + 1)
            for byte in text.utf8 {
                guard byte != UInt8(ascii: "\n"), byte != UInt8(ascii: "\r"), byte != 0 else {
                    throw .configuration(
                        "POSTGRES_PASSWORD", "it holds a line break, which no password file can",
                        hint: "take the line break off, or give the role another password")
                }
                if byte == UInt8(ascii: ":") || byte == UInt8(ascii: "\\") { line.append(UInt8(ascii: "\\")) }
                line.append(byte)
            }
        }
        line.append(UInt8(ascii: "\n"))
        file = try line.withUnsafeBytes { try MemoryFile($0, name: "pgpass") }
    }
}
