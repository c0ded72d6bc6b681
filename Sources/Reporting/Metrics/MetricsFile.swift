import CLinux
import Core
import Glibc

/// A target's file in the metrics directory: read, changed and replaced by rename, so that node-exporter never reads
/// half of it.
struct MetricsFile {
    /// More than every series there can be takes.
    private static let largest = 1 << 20

    let directory: String
    let name: String

    init(directory: String, target: String) {
        self.directory = directory
        name = Self.name(target: target)
    }

    static func name(target: String) -> String {
        var name = "lifeboat_"
        for byte in target.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
                name.unicodeScalars.append(Unicode.Scalar(byte))
            default: name += "%" + hexText([byte]).uppercased()
            }
        }
        return name + ".prom"
    }

    private var path: String { "\(directory)/\(name)" }
    // Its name must not end in .prom, or node-exporter would read it.
    private var temporary: String { "\(directory)/.\(name).tmp" }

    /// Replaces the file by what `change` makes of its bytes (none where there is no file).
    func update(_ change: ([UInt8]) -> [UInt8]) throws(MetricsError) {
        let folder = try opened("open the metrics directory", directory, O_RDONLY | O_DIRECTORY)
        defer { close(folder) }
        lock(folder)
        try replace(by: change(try read()))
    }

    /// Two runs of a target may end at once (a backup and a verify): one after the other, or a count is lost. A
    /// file system without such locks, or somebody who holds this one for ten seconds, costs no more than that.
    private func lock(_ folder: Int32) {
        for _ in 0..<200 {
            if flock(folder, LOCK_EX | LOCK_NB) == 0 || (errno != EWOULDBLOCK && errno != EINTR) { return }
            poll(nil, 0, 50)
        }
    }

    private func read() throws(MetricsError) -> [UInt8] {
        let file: Int32
        do {
            file = try opened("read the metrics", path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
        } catch {
            if case .system(_, _, ENOENT) = error { return [] }
            throw error
        }
        defer { close(file) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while bytes.count < Self.largest {
            let count = Glibc.read(file, &buffer, buffer.count)
            if count == 0 { break }
            if count < 0 {
                let code = errno
                if code == EINTR { continue }
                throw .system(operation: "read the metrics", path: path, code: code)
            }
            bytes += buffer[..<count]
        }
        return bytes
    }

    private func replace(by bytes: [UInt8]) throws(MetricsError) {
        // Left by a run that was killed; and never write through somebody's link of that name.
        unlink(temporary)
        let file = try opened("write the metrics", temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o644)
        do {
            defer { close(file) }
            try write(bytes, to: file)
            // Whatever the umask is: node-exporter runs as another user.
            try check("write the metrics", temporary) { fchmod(file, 0o644) }
            try check("write the metrics", temporary) { fsync(file) }
            try check("replace the metrics", path) { rename(temporary, path) }
        } catch {
            unlink(temporary)
            throw error
        }
    }

    private func write(_ bytes: [UInt8], to file: Int32) throws(MetricsError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
            if count >= 0 {
                rest = rest.dropFirst(count)
                continue
            }
            let code = errno
            if code != EINTR { throw .system(operation: "write the metrics", path: temporary, code: code) }
        }
    }

    private func opened(
        _ operation: String, _ path: String, _ flags: Int32, mode: UInt32 = 0
    ) throws(MetricsError) -> Int32 {
        try check(operation, path) { linux_open(path, flags | O_CLOEXEC, mode) }
    }

    @discardableResult
    private func check(_ operation: String, _ path: String, _ call: () -> Int32) throws(MetricsError) -> Int32 {
        while true {
            let result = call()
            if result >= 0 { return result }
            let code = errno
            if code != EINTR { throw .system(operation: operation, path: path, code: code) }
        }
    }
}
