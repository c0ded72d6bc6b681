import CLinux
import Core
import Glibc
import TestSupport
import Testing

@testable import PostgresEngine

@Suite("A cluster's programs")
struct ServerProcessTests {
    /// Shows that a program gets its three streams and no other descriptor, not even one that nobody marked, and can
    /// leave no core.
    @Test("inherit nothing")
    func inheritance() async throws {
        let descriptor = linux_open("/dev/null", O_RDONLY, 0)
        defer { close(descriptor) }
        let (ending, lines) = try await ServerProcess.run(
            ServerProcess.Command(
                executable: "/bin/sh", arguments: ["-c", "test -e /proc/self/fd/\(descriptor); echo $?; ulimit -c"],
                directory: "/", label: "sh"))
        #expect(ending == .exited(0))
        #expect(lines == ["1", "0"])
    }
}
