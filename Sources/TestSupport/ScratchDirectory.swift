import Glibc

/// Gives `body` the path of a new empty directory and removes it with everything in it afterwards. `mode` lets
/// another user in where a server runs as one.
package func withScratchDirectory<Result>(
    mode: UInt32 = 0o700, _ body: (String) async throws -> Result
) async throws -> Result {
    let parent = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
    var template = Array("\(parent)/lifeboat-test-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw ScratchDirectoryError(errno: errno, parent: parent) }
    let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    chmod(path, mode)
    defer { removeTree(path) }
    return try await body(path)
}

package struct ScratchDirectoryError: Error {
    package let errno: Int32
    package let parent: String
}

/// Removes a file, or a directory with everything below it. What cannot be removed stays.
package func removeTree(_ path: String) {
    var status = stat()
    guard lstat(path, &status) == 0 else { return }
    guard status.st_mode & S_IFMT == S_IFDIR else {
        unlink(path)
        return
    }
    if let directory = opendir(path) {
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != "." && name != ".." { names.append(name) }
        }
        closedir(directory)
        for name in names { removeTree("\(path)/\(name)") }
    }
    rmdir(path)
}
