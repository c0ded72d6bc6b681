import CLinux
import Glibc
import TestSupport
import Testing

struct TestSystemError: Error {
    let call: String
    let code: Int32
}

func writeFile(_ path: String, _ bytes: [UInt8]) throws { try writeFile(Array(path.utf8), bytes) }

/// Writes a file whose name may be any bytes.
func writeFile(_ path: [UInt8], _ bytes: [UInt8]) throws {
    let name = path.map { CChar(bitPattern: $0) } + [0]
    guard let file = fopen(name, "w") else { throw TestSystemError(call: "fopen", code: errno) }
    fwrite(bytes, 1, bytes.count, file)
    fclose(file)
}

func mode(of path: String) -> UInt32 {
    var status = stat()
    lstat(path, &status)
    return status.st_mode & 0o7777
}

/// Sets a file's time of change `hours` back.
func makeOlder(_ path: String, hours: Int) {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    let time = timespec(tv_sec: now.tv_sec - hours * 3600, tv_nsec: 0)
    utimensat(AT_FDCWD, path, [time, time], 0)
}

/// Gives `body` the path of a small file system in memory, and unmounts it afterwards.
func withTmpfs(options: String, _ body: (String) async throws -> Void) async throws {
    try await withScratchDirectory { path in
        guard mount("none", path, "tmpfs", 0, options) == 0 else {
            throw TestSystemError(call: "mount", code: errno)
        }
        defer { umount2(path, Int32(MNT_DETACH)) }
        try await body(path)
    }
}

func canMount() -> Bool {
    guard geteuid() == 0 else { return false }
    var template = Array("/tmp/lifeboat-mount-XXXXXX\0".utf8CString)
    guard mkdtemp(&template) != nil else { return false }
    defer { rmdir(template) }
    guard mount("none", template, "tmpfs", 0, "size=64k") == 0 else { return false }
    return umount(template) == 0
}
