import Core

/// The files of keys as a tar archive (POSIX ustar, with GNU's entries for long names and large numbers), so that
/// `tar -x` opens the set's part without this program.
enum KeyArchive {
    private static let block = 512

    /// The archive, its memory the caller's to let go. Entries stand as they are given; directories before their files.
    static func write(_ entries: [KeyEntry]) -> SecretBytes {
        let size = entries.reduce(2 * block) { $0 + entrySize($1) }
        // All of it at once: a buffer that grows would leave copies of keys behind.
        var bytes: [UInt8] = []
        bytes.reserveCapacity(size)
        for entry in entries { append(entry, to: &bytes) }
        bytes.append(contentsOf: repeatElement(0, count: 2 * block))
        return SecretBytes(wiping: &bytes)
    }

    private static func name(_ entry: KeyEntry) -> [UInt8] {
        guard entry.content == nil else { return Array("./\(entry.path)".utf8) }
        return Array((entry.path.isEmpty ? "./" : "./\(entry.path)/").utf8)
    }

    private static func padded(_ count: Int) -> Int { (count + block - 1) / block * block }

    private static func entrySize(_ entry: KeyEntry) -> Int {
        let name = name(entry)
        return block + padded(entry.content?.count ?? 0) + (name.count > 100 ? block + padded(name.count + 1) : 0)
    }

    private static func append(_ entry: KeyEntry, to bytes: inout [UInt8]) {
        let name = name(entry)
        if name.count > 100 {
            let long = KeyEntry(path: "", content: nil, mode: 0, owner: 0, group: 0, modified: 0)
            bytes += header(Array("././@LongLink".utf8), long, size: name.count + 1, type: UInt8(ascii: "L"))
            bytes += name
            bytes.append(contentsOf: repeatElement(0, count: padded(name.count + 1) - name.count))
        }
        let type = entry.content == nil ? UInt8(ascii: "5") : UInt8(ascii: "0")
        let size = entry.content?.count ?? 0
        bytes += header(Array(name.prefix(100)), entry, size: size, type: type)
        entry.content?.withBytes { bytes.append(contentsOf: $0) }
        bytes.append(contentsOf: repeatElement(0, count: padded(size) - size))
    }

    private static func header(_ name: [UInt8], _ entry: KeyEntry, size: Int, type: UInt8) -> [UInt8] {
        var header = [UInt8](repeating: 0, count: block)
        func put(_ field: [UInt8], at offset: Int) {
            header.replaceSubrange(offset..<offset + field.count, with: field)
        }
        put(name, at: 0)
        put(number(Int64(entry.mode), width: 8), at: 100)
        put(number(Int64(entry.owner), width: 8), at: 108)
        put(number(Int64(entry.group), width: 8), at: 116)
        put(number(Int64(size), width: 12), at: 124)
        put(number(entry.modified, width: 12), at: 136)
        put(Array(repeating: 0x20, count: 8), at: 148)
        header[156] = type
        put(Array("ustar\u{0}00".utf8), at: 257)
        put(checksum(header), at: 148)
        return header
    }

    private static func checksum(_ header: [UInt8]) -> [UInt8] {
        let sum = header.reduce(0) { $0 + Int($1) }
        return octal(Int64(sum), digits: 6) + [0, 0x20]
    }

    private static func octal(_ value: Int64, digits: Int) -> [UInt8] {
        let text = String(value, radix: 8)
        return Array((String(repeating: "0", count: max(0, digits - text.count)) + text).utf8)
    }

    /// Octal, or GNU's binary form for what does not fit.
    private static func number(_ value: Int64, width: Int) -> [UInt8] {
        if value >= 0, value < 1 << (3 * (width - 1)) { return octal(value, digits: width - 1) + [0] }
        let filler: UInt8 = value < 0 ? 0xFF : 0
        let binary = withUnsafeBytes(of: value.bigEndian) { Array($0) }
        let rest = width - 1 - binary.count
        let kept = rest < 0 ? Array(binary.suffix(width - 1)) : Array(repeating: filler, count: rest) + binary
        return [value < 0 ? 0xFF : 0x80] + kept
    }

    // MARK: Reading

    /// What is wrong with an archive.
    struct Problem: Error {
        var text: String
    }

    /// Reads what ``write(_:)`` wrote, and refuses everything else: other kinds of entries, names that lead elsewhere,
    /// a name twice.
    static func read(_ archive: SecretBytes) throws(Problem) -> [KeyEntry] {
        try archive.withBytes { bytes throws(Problem) in
            var entries: [KeyEntry] = []
            var names: Set<String> = []
            var offset = 0
            while let entry = try next(bytes, &offset) {
                guard names.insert(entry.path).inserted else { throw Problem(text: "it holds a file twice") }
                entries.append(entry)
                guard entries.count <= KeyDirectory.mostEntries * 2 else {
                    throw Problem(text: "it holds too many files")
                }
            }
            guard bytes[offset...].allSatisfy({ $0 == 0 }) else {
                throw Problem(text: "something follows the end of the archive")
            }
            return entries
        }
    }

    private static func next(_ bytes: UnsafeRawBufferPointer, _ offset: inout Int) throws(Problem) -> KeyEntry? {
        var longName: [UInt8]?
        while true {
            guard offset + 2 * block <= bytes.count else { throw Problem(text: "the archive has no end") }
            let header = Array(bytes[offset..<offset + block])
            if header.allSatisfy({ $0 == 0 }) { return nil }
            var blank = header
            blank.replaceSubrange(148..<156, with: repeatElement(0x20, count: 8))
            guard Array(header[148..<156]) == checksum(blank) else { throw Problem(text: "an entry is damaged") }
            guard let size = value(header[124..<136]), size >= 0, size <= Int64(KeyDirectory.largestSet),
                offset + block + padded(Int(size)) + 2 * block <= bytes.count
            else { throw Problem(text: "an entry is longer than the archive") }
            let content = UnsafeRawBufferPointer(rebasing: bytes[(offset + block)..<(offset + block + Int(size))])
            offset += block + padded(Int(size))
            switch header[156] {
            case UInt8(ascii: "L") where longName == nil && content.last == 0: longName = content.dropLast()
            case UInt8(ascii: "0"), UInt8(ascii: "5"):
                let isFile = header[156] == UInt8(ascii: "0")
                let path = try path(longName ?? Array(header[..<100].prefix { $0 != 0 }), isFile: isFile)
                guard isFile || size == 0, let mode = value(header[100..<108]), let owner = value(header[108..<116]),
                    let group = value(header[116..<124]), let modified = value(header[136..<148]),
                    let owner = UInt32(exactly: owner), let group = UInt32(exactly: group)
                else { throw Problem(text: "an entry is damaged") }
                return KeyEntry(
                    path: path, content: isFile ? SecretBytes(content) : nil, mode: UInt32(mode & 0o7777),
                    owner: owner, group: group, modified: modified)
            default: throw Problem(text: "it holds something else than files and directories")
            }
        }
    }

    /// Below the directory that is restored, whatever the archive says.
    private static func path(_ name: [UInt8], isFile: Bool) throws(Problem) -> String {
        guard let text = String(validating: name, as: UTF8.self), text.hasPrefix("./"),
            !text.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }), isFile != text.hasSuffix("/")
        else { throw Problem(text: "an entry's name is none that keys have") }
        let pieces = text.dropFirst(2).split(separator: "/", omittingEmptySubsequences: false)
        let names = isFile ? pieces[...] : pieces.dropLast()
        guard names.allSatisfy({ !$0.isEmpty && $0 != "." && $0 != ".." }) else {
            throw Problem(text: "an entry's name leads elsewhere")
        }
        return names.joined(separator: "/")
    }

    private static func value(_ field: ArraySlice<UInt8>) -> Int64? {
        guard let first = field.first else { return nil }
        if first & 0x80 != 0 {
            let start: Int64 = first == 0xFF ? -1 : Int64(first & 0x7F)
            return field.dropFirst().reduce(start) { $0 << 8 | Int64($1) }
        }
        let digits = field.prefix { $0 != 0 && $0 != 0x20 }
        guard !digits.isEmpty else { return nil }
        return Int64(String(decoding: digits, as: UTF8.self), radix: 8)
    }
}
