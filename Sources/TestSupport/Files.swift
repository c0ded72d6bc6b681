import Core
import Glibc

/// The directory of the repository that the tests were built from.
package let repositoryRoot: String = {
    let steps = #filePath.split(separator: "/", omittingEmptySubsequences: false)
    return steps.dropLast("Sources/TestSupport/Files.swift".split(separator: "/").count).joined(separator: "/")
}()

/// Writes a small file for a test, readable by its owner only.
package func writeFile(_ path: String, _ text: String) throws {
    try writeFile(path, Array(text.utf8))
}

package func writeFile(_ path: String, _ bytes: [UInt8]) throws {
    let file = fopen(path, "w")
    guard let file else { throw TestFailure("cannot write \(path): error \(errno)") }
    defer { fclose(file) }
    chmod(path, 0o600)
    guard fwrite(bytes, 1, bytes.count, file) == bytes.count else { throw TestFailure("cannot write \(path)") }
}

/// The bytes of a small file.
package func contentsOfFile(_ path: String) throws -> [UInt8] {
    guard let file = fopen(path, "r") else { throw TestFailure("cannot read \(path): error \(errno)") }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
        let count = fread(&buffer, 1, buffer.count, file)
        if count == 0 { return bytes }
        bytes += buffer[..<count]
    }
}
