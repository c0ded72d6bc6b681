import CLinux
import Core
import Glibc

/// A keyring directory of our own for gpg: mode 0700, gone when this is let go, and with it the agent that gpg may have
/// started for it, which ends by itself without its directory.
final class OpenPGPHome: Sendable {
    let path: String
    /// It lies in memory, so private keys may.
    let isInMemory: Bool

    private static let operation = "make a keyring directory"
    /// Bytes of the largest keyring that is copied.
    private static let largestFile = 64 << 20

    /// In the first of `directories` that it can be made in.
    init(in directories: [String]) throws(OpenPGPError) {
        var problem = "no place is known"
        for directory in directories {
            var template = Array("\(directory)/lifeboat-gpg-XXXXXX".utf8CString)
            guard mkdtemp(&template) != nil else {
                problem = "\(directory): \(String(cString: strerror(errno)))"
                continue
            }
            path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
            isInMemory = linux_is_in_memory(path) == 1
            return
        }
        throw OpenPGPError(.noScratch(problem), Self.operation)
    }

    deinit { remove(path) }

    /// Copies what a keyring directory keeps: public keys, and private keys where there are any.
    func copy(from home: String) throws(OpenPGPError) {
        let database = "\(home)/public-keys.d/pubring.db"
        guard access(database, F_OK) != 0 else { throw OpenPGPError(.keyboxDaemon(home), Self.operation) }
        var copied = 0
        for name in ["pubring.kbx", "pubring.gpg"] where access("\(home)/\(name)", F_OK) == 0 {
            try copyFile("\(home)/\(name)", to: "\(path)/\(name)", in: home)
            copied += 1
        }
        guard copied > 0 else {
            let why = errno == EACCES ? "permission denied" : "it has no pubring.kbx"
            throw OpenPGPError(.keyringUnreadable(path: home, why: why), Self.operation)
        }
        let keys = "private-keys-v1.d"
        let names = Self.names(in: "\(home)/\(keys)").filter { $0.hasSuffix(".key") }
        guard !names.isEmpty else { return }
        guard isInMemory else { throw OpenPGPError(.noMemory, Self.operation) }
        guard mkdir("\(path)/\(keys)", 0o700) == 0 else {
            throw OpenPGPError(.noScratch(String(cString: strerror(errno))), Self.operation)
        }
        for name in names { try copyFile("\(home)/\(keys)/\(name)", to: "\(path)/\(keys)/\(name)", in: home) }
    }

    /// Writes a small file of settings.
    func write(_ name: String, _ text: String) throws(OpenPGPError) {
        try Self.write("\(path)/\(name)", Array(text.utf8))
    }

    private func copyFile(_ from: String, to: String, in home: String) throws(OpenPGPError) {
        guard let file = fopen(from, "re") else {
            let why = String(cString: strerror(errno))
            throw OpenPGPError(.keyringUnreadable(path: home, why: why), Self.operation)
        }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        defer {
            bytes.withUnsafeMutableBytes { wipe($0) }
            buffer.withUnsafeMutableBytes { wipe($0) }
        }
        var status = stat()
        guard fstat(fileno(file), &status) == 0, status.st_size <= Self.largestFile else {
            throw OpenPGPError(.keyringUnreadable(path: home, why: "it is too large"), Self.operation)
        }
        // Room for all of it: growing would leave copies of a private key behind.
        bytes.reserveCapacity(Int(status.st_size) + buffer.count)
        while true {
            let count = fread(&buffer, 1, buffer.count, file)
            if count == 0 { break }
            bytes += buffer[..<count]
            guard bytes.count <= Self.largestFile else { break }
        }
        guard ferror(file) == 0 else {
            throw OpenPGPError(.keyringUnreadable(path: home, why: "it cannot be read to its end"), Self.operation)
        }
        try Self.write(to, bytes)
    }

    private static func write(_ path: String, _ bytes: [UInt8]) throws(OpenPGPError) {
        let descriptor = creat(path, 0o600)
        var rest = bytes[...]
        while descriptor >= 0, !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            guard count > 0 else { break }
            rest = rest.dropFirst(count)
        }
        let problem = errno
        if descriptor >= 0 { close(descriptor) }
        guard descriptor >= 0, rest.isEmpty else {
            throw OpenPGPError(.noScratch(String(cString: strerror(problem))), operation)
        }
    }

    static func names(in directory: String) -> [String] {
        guard let stream = opendir(directory) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }

    /// What cannot be removed stays: it is in memory, and goes with the pod.
    private func remove(_ path: String) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            unlink(path)
            return
        }
        for name in Self.names(in: path) { remove("\(path)/\(name)") }
        rmdir(path)
    }
}
