import Core

/// The form of a tar archive: POSIX.1-2001 (`pax`), as GNU tar and bsdtar write and read it.
enum TarFormat {
    static let block = 512
    /// Records of one extended header. An extended attribute has 64 KiB at most; a file with more than a mebibyte of
    /// them is refused when it is stored.
    static let largestRecords = 1 << 20
    /// Pieces of a sparse file. What follows the last is one piece, holes and all.
    static let mostPieces = 1 << 16
    /// Files of a tree that are remembered because they have further names. What is beyond is stored with each name.
    static let mostLinkedFiles = 1 << 15

    static let treeComment = "lifeboat tree "
    static let linksComment = "lifeboat links "

    enum TypeFlag {
        static let file = UInt8(ascii: "0")
        static let hardLink = UInt8(ascii: "1")
        static let symbolicLink = UInt8(ascii: "2")
        static let directory = UInt8(ascii: "5")
        static let pipe = UInt8(ascii: "6")
        static let records = UInt8(ascii: "x")
        static let globalRecords = UInt8(ascii: "g")
    }

    /// What a tree's entries are called in the archive: without the slash in front, so that it opens anywhere.
    static func memberName(_ path: [UInt8], of tree: String) -> [UInt8] {
        let prefix = Array(tree.utf8.dropFirst())
        if path == FileEntry.root { return prefix.isEmpty ? FileEntry.root : prefix }
        return prefix.isEmpty ? path : prefix + [UInt8(ascii: "/")] + path
    }

    /// The way back; `nil` for a name that is not in `tree`.
    static func path(ofMember name: [UInt8], in tree: String) -> [UInt8]? {
        let prefix = Array(tree.utf8.dropFirst())
        if prefix.isEmpty { return name }
        if name == prefix { return FileEntry.root }
        guard name.starts(with: prefix), name.count > prefix.count + 1, name[prefix.count] == UInt8(ascii: "/")
        else { return nil }
        return Array(name[(prefix.count + 1)...])
    }

    static func padding(after size: Int64) -> Int { Int((Int64(block) - size % Int64(block)) % Int64(block)) }
}

/// Writes the headers of an archive.
struct TarHeaderWriter {
    let tree: String

    /// Says which tree the following members are of, in a form that other readers pass over.
    var beginning: [UInt8] {
        Self.extended(
            [Self.record("comment", Array((TarFormat.treeComment + tree).utf8))], TarFormat.TypeFlag.globalRecords)
    }

    static let end = [UInt8](repeating: 0, count: 2 * TarFormat.block)

    /// The header of `entry`. For a file with holes `pieces` are those that are stored, and `map` what stands before
    /// them.
    func header(_ entry: FileEntry, map: [UInt8]? = nil, stored: Int64 = 0) throws(TarHeaderTooLarge) -> [UInt8] {
        var records = Records()
        var name = TarFormat.memberName(entry.path, of: tree)
        if entry.kind == .directory { name.append(UInt8(ascii: "/")) }
        if map != nil {
            records.add("GNU.sparse.major", "1")
            records.add("GNU.sparse.minor", "0")
            records.add("GNU.sparse.name", name)
            records.add("GNU.sparse.realsize", String(entry.size))
            // A reader that does not know sparse files shall not take what it extracts for the file.
            name = Array("GNUSparseFile.0/\(entry.path.suffix(64).count)".utf8)
        }
        if entry.links > 1 { records.add("comment", TarFormat.linksComment + String(entry.links)) }
        let flag =
            switch entry.kind {
            case .directory: TarFormat.TypeFlag.directory
            case .file: TarFormat.TypeFlag.file
            case .link: TarFormat.TypeFlag.symbolicLink
            case .pipe: TarFormat.TypeFlag.pipe
            }
        for attribute in entry.attributes { try records.add(attribute) }
        return try Self.member(
            name, flag, entry, size: entry.kind == .file ? (map.map { Int64($0.count) + stored } ?? entry.size) : 0,
            target: entry.target, records)
    }

    /// A further name of the file stored as `first`.
    func hardLink(_ entry: FileEntry, to first: [UInt8]) throws(TarHeaderTooLarge) -> [UInt8] {
        try Self.member(
            TarFormat.memberName(entry.path, of: tree), TarFormat.TypeFlag.hardLink, entry, size: 0,
            target: TarFormat.memberName(first, of: tree), Records())
    }

    private static func member(
        _ name: [UInt8], _ flag: UInt8, _ entry: FileEntry, size: Int64, target: [UInt8], _ further: Records
    ) throws(TarHeaderTooLarge) -> [UInt8] {
        var records = further
        if name.count > 100 || !isPlain(name) { records.add("path", name) }
        if target.count > 100 || !isPlain(target) { records.add("linkpath", target) }
        if size > largestNumber { records.add("size", String(size)) }
        if Int64(entry.owner) > largestID { records.add("uid", String(entry.owner)) }
        if Int64(entry.group) > largestID { records.add("gid", String(entry.group)) }
        let time = entry.modified
        if time.nanoseconds != 0 || time.seconds < 0 || time.seconds > largestNumber {
            records.add("mtime", TarTime.text(time))
        }
        let header = ustar(
            name: name, flag, mode: entry.mode, owner: entry.owner, group: entry.group, size: size,
            seconds: time.seconds, target: target)
        guard !records.all.isEmpty else { return header }
        guard records.size <= TarFormat.largestRecords else { throw TarHeaderTooLarge() }
        return extended(records.all, TarFormat.TypeFlag.records) + header
    }

    private static func isPlain(_ name: [UInt8]) -> Bool { name.allSatisfy { (0x20..<0x7F).contains($0) } }

    // MARK: Blocks

    private static let largestNumber: Int64 = 0o77777777777
    private static let largestID: Int64 = 0o7777777

    private static func ustar(
        name: [UInt8], _ flag: UInt8, mode: UInt32, owner: UInt32, group: UInt32, size: Int64, seconds: Int64,
        target: [UInt8]
    ) -> [UInt8] {
        var block: [UInt8] = []
        block.reserveCapacity(TarFormat.block)
        append(name, room: 100, to: &block)
        append(octal: Int64(mode), room: 8, to: &block)
        append(octal: min(Int64(owner), largestID), room: 8, to: &block)
        append(octal: min(Int64(group), largestID), room: 8, to: &block)
        append(octal: min(size, largestNumber), room: 12, to: &block)
        append(octal: min(max(seconds, 0), largestNumber), room: 12, to: &block)
        block += [UInt8](repeating: UInt8(ascii: " "), count: 8)
        block.append(flag)
        append(target, room: 100, to: &block)
        block += "ustar".utf8
        block += [0, UInt8(ascii: "0"), UInt8(ascii: "0")]
        block += [UInt8](repeating: 0, count: TarFormat.block - block.count)
        let checksum = block.reduce(0) { $0 + Int64($1) }
        var digits: [UInt8] = []
        append(octal: checksum, room: 7, to: &digits)
        block.replaceSubrange(148..<155, with: digits)
        return block
    }

    private static func append(_ text: [UInt8], room: Int, to block: inout [UInt8]) {
        block += text.prefix(room)
        block += [UInt8](repeating: 0, count: max(0, room - text.count))
    }

    /// Padded with zeros, ended by a zero byte.
    private static func append(octal number: Int64, room: Int, to block: inout [UInt8]) {
        let digits = String(number, radix: 8)
        block += [UInt8](repeating: UInt8(ascii: "0"), count: max(0, room - 1 - digits.utf8.count))
        block += digits.utf8
        block.append(0)
    }

    private static func extended(_ records: [[UInt8]], _ flag: UInt8) -> [UInt8] {
        let body = Array(records.joined())
        let header = ustar(
            name: Array("PaxHeaders/lifeboat".utf8), flag, mode: 0o644, owner: 0, group: 0, size: Int64(body.count),
            seconds: 0, target: [])
        return header + body + [UInt8](repeating: 0, count: TarFormat.padding(after: Int64(body.count)))
    }

    /// `27 path=a/b` and a line break: the number counts itself.
    fileprivate static func record(_ name: String, _ value: [UInt8]) -> [UInt8] {
        let rest = name.utf8.count + value.count + 3
        var length = rest + 1
        while String(length).utf8.count + rest != length { length = String(length).utf8.count + rest }
        return Array("\(length) \(name)=".utf8) + value + [UInt8(ascii: "\n")]
    }
}

/// A file has more extended attributes than an archive can hold.
struct TarHeaderTooLarge: Error {}

private struct Records {
    private(set) var all: [[UInt8]] = []
    private(set) var size = 0

    mutating func add(_ name: String, _ value: String) { add(name, Array(value.utf8)) }

    mutating func add(_ name: String, _ value: [UInt8]) {
        let record = TarHeaderWriter.record(name, value)
        all.append(record)
        size += record.count
    }

    mutating func add(_ attribute: FileAttribute) throws(TarHeaderTooLarge) {
        guard attribute.isList else {
            // As GNU tar and star escape the sign that ends a name.
            let name = String(decoding: attribute.name, as: UTF8.self)
                .replacing("%", with: "%25").replacing("=", with: "%3D")
            return add("SCHILY.xattr." + name, attribute.value)
        }
        guard let text = AccessList.text(attribute.value) else { throw TarHeaderTooLarge() }
        add(attribute.name == FileAttribute.accessList ? "SCHILY.acl.access" : "SCHILY.acl.default", text)
    }
}

/// A time as decimal text: `-0.5` is half a second before 1970.
enum TarTime {
    static func text(_ time: FileTime) -> String {
        guard time.seconds < 0, time.nanoseconds > 0 else { return trimmed(time.text) }
        let whole = -(time.seconds + 1)
        let mirrored = FileTime(seconds: whole, nanoseconds: 1_000_000_000 - time.nanoseconds)
        return "-" + trimmed(mirrored.text)
    }

    private static func trimmed(_ text: String) -> String {
        var text = text
        while text.hasSuffix("0") { text.removeLast() }
        if text.hasSuffix(".") { text.removeLast() }
        return text
    }

    static func time(_ text: String) -> FileTime? {
        let isNegative = text.hasPrefix("-")
        guard text.utf8.dropFirst(isNegative ? 1 : 0).first.map({ (0x30...0x39).contains($0) }) == true else {
            return nil
        }
        let pieces = text.dropFirst(isNegative ? 1 : 0).split(separator: ".", omittingEmptySubsequences: false)
        guard (1...2).contains(pieces.count), let seconds = Int64(pieces[0]), seconds >= 0 else { return nil }
        var nanoseconds: Int32 = 0
        if pieces.count == 2 {
            let digits = pieces[1]
            guard (1...9).contains(digits.utf8.count), digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
                let value = Int32(digits + String(repeating: "0", count: 9 - digits.utf8.count))
            else { return nil }
            nanoseconds = value
        }
        guard isNegative else { return FileTime(seconds: seconds, nanoseconds: nanoseconds) }
        return nanoseconds == 0
            ? FileTime(seconds: -seconds, nanoseconds: 0)
            : FileTime(seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds)
    }
}
