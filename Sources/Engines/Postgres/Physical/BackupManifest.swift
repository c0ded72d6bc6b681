import Core
import Crypto

/// Reads a server's `backup_manifest` ("Backup Manifest Format" in its manual) as it streams by, line by line as the
/// server writes it, so that one of any length costs no memory but the ledger. Its own checksum is checked.
struct BackupManifestReader: Sendable {
    private enum State {
        case version, members, files, betweenLists, ranges, checksum
    }

    private static let longestLine = 1 << 16

    private(set) var ledger = FileLedger()
    /// The stretches of the log that are needed to start from the backup.
    private(set) var ranges: [WALRange] = []
    /// Written by servers from version 17 on.
    private(set) var systemID: String?

    private var state = State.version
    private var line: [UInt8] = []
    // The last line that is complete. It is read only when another follows, for the very last one is not part of what
    // the checksum is of.
    private var pending: [UInt8]?
    private var digest = SHA256()

    mutating func update(_ bytes: UnsafeRawBufferPointer) throws(PhysicalProblem) {
        var start = 0
        while let newline = dumpIndex(of: UInt8(ascii: "\n"), in: bytes, from: start) {
            try append(UnsafeRawBufferPointer(rebasing: bytes[start...newline]))
            try endLine()
            start = newline + 1
        }
        try append(UnsafeRawBufferPointer(rebasing: bytes[start...]))
    }

    private mutating func append(_ bytes: UnsafeRawBufferPointer) throws(PhysicalProblem) {
        guard line.count + bytes.count <= Self.longestLine else { throw damaged("a line is too long") }
        line.append(contentsOf: bytes)
    }

    private mutating func endLine() throws(PhysicalProblem) {
        if let pending {
            pending.withUnsafeBytes { digest.update(bufferPointer: $0) }
            try read(pending)
        }
        pending = line
        line.removeAll(keepingCapacity: true)
    }

    /// The end of the manifest. Throws where it is not complete, or not what its checksum says.
    mutating func finish() throws(PhysicalProblem) {
        guard line.isEmpty, case .checksum = state, let pending else { throw damaged("it ends too early") }
        var fields = try members(of: [UInt8(ascii: "{")] + pending)
        guard let text = string(&fields, "Manifest-Checksum"), fields.isEmpty else { throw unknownLine }
        guard bytes(hexText: text.lowercased()) == Array(digest.finalize()) else {
            throw damaged("it is not what its own checksum says")
        }
    }

    // MARK: Lines

    private mutating func read(_ line: [UInt8]) throws(PhysicalProblem) {
        let text = line.prefix { $0 != UInt8(ascii: "\n") }
        switch state {
        case .version:
            var fields = try members(of: Self.withoutComma(text) + [UInt8(ascii: "}")])
            guard case .integer(let version)? = fields.removeValue(forKey: "PostgreSQL-Backup-Manifest-Version"),
                fields.isEmpty
            else { throw unknownLine }
            guard (1...2).contains(version) else { throw damaged("it is of version \(version), which nobody knows") }
            state = .members
        case .members:
            if text.elementsEqual("\"Files\": [".utf8) {
                state = .files
            } else {
                systemID = try readSystemID(text)
            }
        case .files:
            if Self.isEndOfList(text) { state = .betweenLists } else { try readFile(text) }
        case .betweenLists:
            guard text.elementsEqual("\"WAL-Ranges\": [".utf8) else { throw unknownLine }
            state = .ranges
        case .ranges:
            if Self.isEndOfList(text) { state = .checksum } else { try readRange(text) }
        case .checksum: throw unknownLine
        }
    }

    private static func withoutComma(_ text: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        text.last == UInt8(ascii: ",") ? text.dropLast() : text
    }

    private static func isEndOfList(_ text: ArraySlice<UInt8>) -> Bool { text.elementsEqual("],".utf8) }

    /// The number is larger than those that JSON readers agree on.
    private func readSystemID(_ text: ArraySlice<UInt8>) throws(PhysicalProblem) -> String {
        let name = Array("\"System-Identifier\": ".utf8)
        let digits = Self.withoutComma(text).dropFirst(name.count)
        guard text.starts(with: name), !digits.isEmpty, let number = UInt64(String(decoding: digits, as: UTF8.self))
        else { throw unknownLine }
        return String(number)
    }

    private mutating func readFile(_ text: ArraySlice<UInt8>) throws(PhysicalProblem) {
        var fields = try members(of: Self.withoutComma(text))
        let path: [UInt8]?
        if let encoded = string(&fields, "Encoded-Path") {
            path = bytes(hexText: encoded.lowercased())
        } else {
            path = string(&fields, "Path").map { Array($0.utf8) }
        }
        guard let path, !path.isEmpty, path.count <= FileLedger.longestPath,
            case .integer(let size)? = fields.removeValue(forKey: "Size"), size >= 0,
            string(&fields, "Last-Modified") != nil
        else { throw unknownLine }
        guard string(&fields, "Checksum-Algorithm") == "CRC32C",
            let checksum = string(&fields, "Checksum").flatMap({ bytes(hexText: $0.lowercased()) }),
            checksum.count == MemoryLayout<UInt32>.size
        else { throw damaged("it has no CRC-32C of the file \(shown(path: path))") }
        guard fields.isEmpty else { throw unknownLine }
        // The server writes the number as it lies in its memory; the processors that its files can be restored on have
        // the lowest byte first.
        ledger.add(path: path, size: size, crc32c: checksum.reversed().reduce(0) { $0 << 8 | UInt32($1) })
    }

    private mutating func readRange(_ text: ArraySlice<UInt8>) throws(PhysicalProblem) {
        var fields = try members(of: Self.withoutComma(text))
        guard case .integer(let number)? = fields.removeValue(forKey: "Timeline"),
            let timeline = UInt32(exactly: number), timeline > 0,
            let begin = string(&fields, "Start-LSN").flatMap({ LSN($0) }),
            let end = string(&fields, "End-LSN").flatMap({ LSN($0) }), begin <= end, fields.isEmpty
        else { throw unknownLine }
        ranges.append(WALRange(timeline: timeline, begin: begin, end: end))
    }

    private func members(of text: some Sequence<UInt8>) throws(PhysicalProblem) -> [String: JSON] {
        let json: JSON
        do {
            json = try JSON(parsing: text)
        } catch {
            throw unknownLine
        }
        guard case .object(let members) = json else { throw unknownLine }
        return members
    }

    private func string(_ fields: inout [String: JSON], _ name: String) -> String? {
        guard case .string(let text)? = fields[name] else { return nil }
        fields[name] = nil
        return text
    }

    private var unknownLine: PhysicalProblem { damaged("it has a line that nobody knows") }

    private func damaged(_ problem: String) -> PhysicalProblem {
        PhysicalProblem(ClusterArchive.manifest, problem)
    }
}
