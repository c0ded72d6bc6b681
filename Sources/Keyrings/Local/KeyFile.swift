package import Core
import Glibc

/// Reading a key that lies in a file, for this keyring and for those beside it. Nothing that was read is left in
/// memory once its ``SecretBytes`` is let go.
package enum KeyFile {
    /// The key namespace of every key that is held in a file. In a message it is the wrapped key's provider id.
    package static let namespace = "lifeboat"

    /// The key's name: the base name of its file without its (last) extension. `/keys/clinic.key` gives `clinic`.
    package static func name(ofPath path: String) throws(KeyFileError) -> String {
        let base = path.split(separator: "/").last ?? ""
        var name = base
        if let dot = base.lastIndex(of: "."), dot != base.startIndex { name = base[..<dot] }
        guard !name.isEmpty, name.utf8.count <= 255, path.utf8.last != UInt8(ascii: "/") else {
            throw KeyFileError(.noName, path: path)
        }
        return String(name)
    }

    /// The whole content, at most `limit` bytes.
    package static func read(_ path: String, limit: Int) throws(KeyFileError) -> SecretBytes {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY)
        guard descriptor >= 0 else { throw KeyFileError(.unreadable(errno: errno), path: path) }
        defer { close(descriptor) }
        // One byte more than is allowed shows that there are too many.
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: limit + 1, alignment: 1)
        defer {
            wipe(buffer)
            buffer.deallocate()
        }
        var count = 0
        while count < buffer.count {
            let amount = Glibc.read(descriptor, buffer.baseAddress.map { $0 + count }, buffer.count - count)
            if amount < 0, errno == EINTR { continue }
            guard amount >= 0 else { throw KeyFileError(.unreadable(errno: errno), path: path) }
            guard amount > 0 else { break }
            count += amount
        }
        guard count <= limit else { throw KeyFileError(.tooLong(limit: limit), path: path) }
        return SecretBytes(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
    }
}

/// A key file that gives no key. Names the file and never what is in it.
package struct KeyFileError: Failure, Equatable {
    package enum Problem: Equatable, Sendable {
        case unreadable(errno: Int32)
        case tooLong(limit: Int)
        case noName
        /// Not the 32 bytes of an AES key as hex or base64.
        case notAKey
    }

    package let problem: Problem
    package let path: String

    package init(_ problem: Problem, path: String) {
        self.problem = problem
        self.path = path
    }

    package var exitCode: ExitCode { .keys }
    package var operation: String { "read the key file" }
    package var object: String { path }

    package var cause: String {
        switch problem {
        case .unreadable(let number): "\(String(cString: strerror(number))) (error \(number))"
        case .tooLong(let limit): "it is longer than the \(limit) bytes that a key can have"
        case .noName: "it has no file name that could name the key"
        case .notAKey: "it does not hold 32 bytes as hexadecimal or base64 text"
        }
    }

    package var hint: String {
        switch problem {
        case .unreadable: "check the path and that the user lifeboat runs as may read it"
        case .tooLong: "make sure that this is the key file and not another"
        case .noName: "give the path of a file, such as /keys/clinic.key"
        case .notAKey: "make one with 'openssl rand -hex 32', or make sure that this is the key file and not another"
        }
    }
}
