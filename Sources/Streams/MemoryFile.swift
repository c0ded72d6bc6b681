import CLinux
package import Core
import Glibc

/// Something secret for a child, as a file that exists in memory only and that no other user can open.
///
/// The child reads it by the name of our own descriptor, `/proc/<pid>/fd/<n>`; it is gone when this is let go, so hold
/// it for as long as the child may read it.
package final class MemoryFile: Sendable {
    package let path: String
    private let descriptor: Int32

    /// `bytes` are copied; the caller wipes its own. Throws where the system gives no such file.
    package init(_ bytes: UnsafeRawBufferPointer, name: String) throws(MemoryFileFailure) {
        descriptor = linux_memory_file(name)
        path = "/proc/\(getpid())/fd/\(descriptor)"
        var rest = bytes
        while descriptor >= 0, !rest.isEmpty {
            let written = write(descriptor, rest.baseAddress, rest.count)
            guard written > 0 else { break }
            rest = UnsafeRawBufferPointer(rebasing: rest[written...])
        }
        guard descriptor >= 0, rest.isEmpty else { throw MemoryFileFailure(name: name, error: errno) }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }
}

/// The system gave no file in memory.
package struct MemoryFileFailure: Failure {
    package var name: String
    package var error: Int32

    package var exitCode: ExitCode { .configuration }
    package var operation: String { "hand a secret to a program" }
    package var object: String { name }
    package var cause: String { "the system gave no memory file for it (error \(error))" }
    package var hint: String { "the kernel must allow memfd_create; look at the container's seccomp profile" }
}
