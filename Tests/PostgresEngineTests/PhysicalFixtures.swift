import CCRC32C
import Core
import Crypto
import TestSupport

@testable import PostgresEngine

/// Writes an archive as a server does.
struct TestArchive {
    private(set) var bytes: [UInt8] = []

    mutating func add(
        _ name: String, _ content: [UInt8] = [], type: Character = "0", prefix: String = "", target: String = ""
    ) {
        bytes += Self.header(
            Array(name.utf8), size: content.count, type: type, prefix: Array(prefix.utf8), target: Array(target.utf8))
        bytes += content
        bytes += [UInt8](repeating: 0, count: (512 - content.count % 512) % 512)
    }

    /// With the two blocks of zeros that end an archive.
    var whole: [UInt8] { bytes + [UInt8](repeating: 0, count: 1024) }

    static func header(
        _ name: [UInt8], size: Int, type: Character = "0", prefix: [UInt8] = [], target: [UInt8] = []
    ) -> [UInt8] {
        var block = [UInt8](repeating: 0, count: 512)
        func put(_ bytes: some Collection<UInt8>, at offset: Int) {
            block.replaceSubrange(offset..<offset + bytes.count, with: bytes)
        }
        func octal(_ number: Int, _ digits: Int) -> [UInt8] {
            let text = String(number, radix: 8)
            return Array((String(repeating: "0", count: digits - text.utf8.count) + text + " ").utf8)
        }
        put(name, at: 0)
        put(octal(0o600, 7), at: 100)
        put(octal(0, 7), at: 108)
        put(octal(0, 7), at: 116)
        put(octal(size, 11), at: 124)
        put(octal(0, 11), at: 136)
        put([UInt8](repeating: 0x20, count: 8), at: 148)
        put(String(type).utf8, at: 156)
        put(target, at: 157)
        put(Array("ustar".utf8) + [0] + Array("00".utf8), at: 257)
        put(prefix, at: 345)
        put(octal(block.reduce(0) { $0 + Int($1) }, 7), at: 148)
        return block
    }
}

/// Writes a manifest as a server does.
struct TestManifest {
    var files: [(path: String, content: [UInt8])] = []
    var ranges = ["{ \"Timeline\": 1, \"Start-LSN\": \"0/2000028\", \"End-LSN\": \"0/2000100\" }"]
    var version = "1,"

    var bytes: [UInt8] {
        var text = "{ \"PostgreSQL-Backup-Manifest-Version\": \(version)\n\"Files\": [\n"
        text += files.map { file in
            """
            { "Path": "\(file.path)", "Size": \(file.content.count), "Last-Modified": "2025-01-15 07:00:00 GMT", \
            "Checksum-Algorithm": "CRC32C", "Checksum": "\(Self.checksum(file.content))" }
            """
        }.joined(separator: ",\n")
        text += "\n],\n\"WAL-Ranges\": [\n" + ranges.joined(separator: ",\n") + "\n],\n"
        return Self.sealed(text)
    }

    /// As it lies in the memory of a little-endian server.
    private static func checksum(_ content: [UInt8]) -> String {
        let number = content.withUnsafeBytes { ccrc32c(0, $0.baseAddress, $0.count) }
        return hexText(withUnsafeBytes(of: number.littleEndian) { Array($0) })
    }

    /// `text` with the line that ends a manifest.
    static func sealed(_ text: String) -> [UInt8] {
        let body = Array(text.utf8)
        return body + "\"Manifest-Checksum\": \"\(hexText(Array(SHA256.hash(data: body))))\"}\n".utf8
    }

    func read(chunk: Int = 1 << 20) throws -> BackupManifestReader { try Self.read(bytes, chunk: chunk) }

    static func read(_ bytes: [UInt8], chunk: Int = 1 << 20) throws -> BackupManifestReader {
        var reader = BackupManifestReader()
        for start in stride(from: 0, to: bytes.count, by: chunk) {
            try bytes[start..<min(start + chunk, bytes.count)].withUnsafeBytes { try reader.update($0) }
        }
        try reader.finish()
        return reader
    }
}

/// A segment of the log of one mebibyte whose first page's header is right.
func testSegment(_ number: UInt64, systemID: UInt64 = 7, size: UInt64 = 1 << 20, bigEndian: Bool = false) -> [UInt8] {
    func field<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
        withUnsafeBytes(of: bigEndian ? number.bigEndian : number.littleEndian) { Array($0) }
    }
    let header =
        field(UInt16(0xD110)) + field(UInt16(2)) + field(UInt32(1)) + field(number * size) + field(UInt32(0))
        + field(UInt32(0)) + field(systemID) + field(UInt32(size)) + field(UInt32(8192))
    return header + [UInt8](repeating: 0x5A, count: Int(size) - header.count)
}

/// What a server would answer to BASE_BACKUP, from a script.
final class ScriptedConversation: BackupConversation {
    enum Step: Sendable {
        case rows([[String?]])
        case copy([[UInt8]])
        case failure(PostgresError)
    }

    private let steps: Guarded<[Step]>
    private let messages = Guarded<[[UInt8]]>([])

    init(_ steps: [Step]) { self.steps = Guarded(steps) }

    func nextAnswer() throws -> ReplicationConnection.Answer? {
        let step = steps.withLock { steps in steps.isEmpty ? nil : steps.removeFirst() }
        switch step {
        case nil: return nil
        case .rows(let rows)?: return .rows(rows.map { Row(values: $0) })
        case .copy(let copied)?:
            messages.withLock { $0 = copied }
            return .copyOut
        case .failure(let error)?: throw error
        }
    }

    func message(_ body: (UnsafeRawBufferPointer) throws -> Void) throws -> Bool {
        let message = messages.withLock { messages in messages.isEmpty ? nil : messages.removeFirst() }
        guard let message else { return false }
        try message.withUnsafeBytes { try body($0) }
        return true
    }
}

/// Collects what a base backup consists of.
struct CollectedBackup: BackupOutput {
    private(set) var parts: [(root: String?, bytes: [UInt8], isEnded: Bool)] = []

    mutating func begin(_ root: String?) throws { parts.append((root, [], false)) }
    mutating func write(_ bytes: UnsafeRawBufferPointer) throws { parts[parts.count - 1].bytes += bytes }
    mutating func end() throws { parts[parts.count - 1].isEnded = true }
}
