import CLinux
import Core
import Glibc

/// The password for a child, as a file that exists in memory only and that no other user can open.
///
/// libpq reads it by the name of our own descriptor, `/proc/<pid>/fd/<n>`; it is gone when this is let go, so hold it
/// for as long as the child may log in.
final class PassFile: Sendable {
    let path: String
    private let descriptor: Int32

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
        descriptor = linux_memory_file("pgpass")
        path = "/proc/\(getpid())/fd/\(descriptor)"
        guard descriptor >= 0, write(descriptor, line, line.count) == line.count else {
            throw PostgresError.configuration(
                "POSTGRES_PASSWORD", "the system gave no memory file for it (error \(errno))",
                hint: "the kernel must allow memfd_create; look at the container's seccomp profile")
        }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }
}
