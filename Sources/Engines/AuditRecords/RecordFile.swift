import Core
import Glibc
import Streams

/// One file of a trail, open: a rotation that renames it meanwhile changes nothing.
struct RecordFile: Sendable {
    let path: String
    /// The id of its first whole record.
    let first: RecordID
    /// When it was last written to, in nanoseconds.
    let modified: Int64
    private let file: OpenedFile

    /// `nil` where it holds no whole record yet. Blocks.
    static func open(_ path: String, idMember: [UInt8]) throws -> RecordFile? {
        guard let file = try OpenedFile.open(path) else { return nil }
        guard let line = try firstLine(try file.lines(), path) else { return nil }
        do throws(RecordLine.Problem) {
            let id = try line.withUnsafeBytes { bytes in
                Result { () throws(RecordLine.Problem) in try RecordLine.id(in: bytes, member: idMember) }
            }.get()
            return RecordFile(path: path, first: id, modified: file.modified, file: file)
        } catch {
            throw AuditRecordsError.badRecord("\(path), its first record", error.text)
        }
    }

    /// Its bytes up to where it ended when it was opened, unpacked.
    func lines() throws -> any ByteSource { try file.lines() }

    private static func firstLine(_ source: any ByteSource, _ path: String) throws -> [UInt8]? {
        var line: [UInt8] = []
        while let chunk = try source.next() {
            let bytes = chunk.bytes
            if let end = bytes.firstIndex(of: UInt8(ascii: "\n")) { return line + Array(bytes[..<end]) }
            line.append(contentsOf: bytes)
            guard line.count <= RecordLine.largest else {
                throw AuditRecordsError.badRecord(path, "its first record has no end")
            }
        }
        return nil
    }
}

/// A descriptor, closed when it is let go.
private final class OpenedFile: Sendable {
    let path: String
    let number: Int32
    let size: Int64
    let modified: Int64

    private init(path: String, number: Int32, status: stat) {
        self.path = path
        self.number = number
        size = Int64(status.st_size)
        modified = Int64(status.st_mtim.tv_sec) * 1_000_000_000 + Int64(status.st_mtim.tv_nsec)
    }

    deinit { close(number) }

    /// `nil` where it is gone again. Throws for what is no file.
    static func open(_ path: String) throws -> OpenedFile? {
        let number = Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)
        guard number >= 0 else {
            if errno == ENOENT { return nil }
            throw AuditRecordsError.unreadable(path, errno)
        }
        var status = stat()
        guard fstat(number, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            close(number)
            throw AuditRecordsError.configuration(
                "AUDIT_SOURCE", "\(path) is not a file", hint: "let the pattern match the trail's files alone")
        }
        return OpenedFile(path: path, number: number, status: status)
    }

    func lines() throws -> any ByteSource {
        let plain = FileBytes(self)
        guard path.hasSuffix(".gz") else { return plain }
        return UnpackedBytes(plain, path: path)
    }
}

private final class FileBytes: ByteSource {
    private let file: OpenedFile
    private let offset = Guarded<Int64>(0)

    init(_ file: OpenedFile) { self.file = file }

    func next() throws -> Chunk? {
        let offset = offset.value
        guard offset >= 0 else { throw CancellationError() }
        guard offset < file.size else { return nil }
        let chunk = Chunk()
        let count = try chunk.append { room in
            let wanted = Int(min(Int64(room.count), file.size - offset))
            while true {
                let count = pread(file.number, room.baseAddress, wanted, off_t(offset))
                if count >= 0 { return count }
                if errno != EINTR { throw AuditRecordsError.unreadable(file.path, errno) }
            }
        }
        guard count > 0 else { throw AuditRecordsError.truncated(file.path) }
        self.offset.withLock { if $0 >= 0 { $0 = offset + Int64(count) } }
        return chunk
    }

    func cancel() { offset.withLock { $0 = -1 } }
}

/// One thread pulls it; `cancel` only reaches the base.
private final class UnpackedBytes: ByteSource, @unchecked Sendable {
    private let base: FileBytes
    private let path: String
    private var unpacking: (decompressor: any Decompressor, chunk: Chunk?, offset: Int)?
    private var isAtEnd = false

    init(_ base: FileBytes, path: String) {
        self.base = base
        self.path = path
    }

    func next() throws -> Chunk? {
        do {
            return try unpack()
        } catch let error as CompressionError {
            throw AuditRecordsError.badRecord(path, "it does not unpack: \(error.cause)")
        }
    }

    private func unpack() throws -> Chunk? {
        guard !isAtEnd else { return nil }
        let output = Chunk()
        var (decompressor, input, offset) =
            try unpacking ?? (Compression(algorithm: .gzip, level: 6).makeDecompressor(), nil, 0)
        while output.remaining > 0 {
            if let chunk = input {
                var rest = UnsafeRawBufferPointer(rebasing: chunk.bytes[offset...])
                let before = rest.count
                try decompressor.step(&rest, into: output)
                offset += before - rest.count
                // A full chunk may mean that more is held inside: what was put in stays until there is none.
                if output.remaining > 0 { (input, offset) = (nil, 0) }
            } else if let chunk = try base.next() {
                input = chunk
            } else {
                try decompressor.finish()
                isAtEnd = true
                break
            }
        }
        unpacking = (decompressor, input, offset)
        return output.count > 0 ? output : nil
    }

    func cancel() { base.cancel() }
}

extension AuditRecordsError {
    static func unreadable(_ path: String, _ code: Int32) -> AuditRecordsError {
        AuditRecordsError(
            .unreadable, "read the audit records", object: path,
            cause: "\(String(cString: strerror(code))) (error \(code))",
            hint: "check AUDIT_SOURCE and that the user lifeboat runs as may read the files")
    }

    static func truncated(_ path: String) -> AuditRecordsError {
        AuditRecordsError(
            .unreadable, "read the audit records", object: path, cause: "it was truncated while it was read",
            hint: "run again; rotate by renaming (logrotate's 'create'), for 'copytruncate' can lose records")
    }
}
