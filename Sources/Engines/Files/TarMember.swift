import Core

/// A header of 512 bytes.
struct TarBlock {
    let bytes: [UInt8]

    /// The magic and the checksum are right.
    var isValid: Bool {
        guard bytes[257..<263].elementsEqual(Array("ustar".utf8) + [0]), let recorded = number(148, 8) else {
            return false
        }
        var sum: Int64 = 0
        for (index, byte) in bytes.enumerated() {
            sum += (148..<156).contains(index) ? 0x20 : Int64(byte)
        }
        return sum == recorded
    }

    var type: UInt8 { bytes[156] }
    var name: [UInt8] { text(0, 100) }
    var target: [UInt8] { text(157, 100) }
    /// What stands before the name where that is long; this program writes a record instead.
    var prefix: [UInt8] { text(345, 155) }

    func text(_ start: Int, _ room: Int) -> [UInt8] { Array(bytes[start..<start + room].prefix { $0 != 0 }) }

    /// Octal digits, ended by a zero byte or a space.
    func number(_ start: Int, _ room: Int) -> Int64? {
        let digits = bytes[start..<start + room].prefix { $0 != 0 && $0 != 0x20 }
        guard !digits.isEmpty, digits.allSatisfy({ (0x30...0x37).contains($0) }) else { return nil }
        return Int64(String(decoding: digits, as: UTF8.self), radix: 8)
    }
}

enum TarRecords {
    /// The records of an extended header by name; `nil` where they are damaged, or one stands there twice.
    static func parse(_ bytes: [UInt8]) -> [String: [UInt8]]? {
        var fields: [String: [UInt8]] = [:]
        var start = 0
        while start < bytes.count {
            guard let space = bytes[start...].firstIndex(of: 0x20), space - start <= 8,
                let length = Int(String(decoding: bytes[start..<space], as: UTF8.self)),
                length > space - start + 1, length <= bytes.count - start, bytes[start + length - 1] == 0x0A,
                let sign = bytes[space..<start + length].firstIndex(of: UInt8(ascii: "=")),
                let name = String(validating: bytes[space + 1..<sign], as: UTF8.self),
                fields.updateValue(Array(bytes[sign + 1..<start + length - 1]), forKey: name) == nil
            else { return nil }
            start += length
        }
        return fields
    }
}

/// One member: its header and the records before it, checked.
struct TarMember {
    private(set) var entry: FileEntry
    /// Of a further name: that of the file which came before.
    private(set) var first: [UInt8]?
    /// Bytes that follow in the archive.
    private(set) var stored: Int64
    private(set) var hasMap = false
    private let header: TarBlock
    private var fields: [String: [UInt8]]

    init(header: TarBlock, fields: [String: [UInt8]], size: Int64) {
        self.header = header
        self.fields = fields
        stored = size
        entry = FileEntry(
            path: [], kind: .file, mode: 0, owner: 0, group: 0, modified: FileTime(seconds: 0, nanoseconds: 0))
    }

    /// Reads everything; throws where it is not a member of `tree` as this program writes it.
    mutating func resolve(in tree: String) throws(FilesError) {
        guard let kind = kind else {
            let flag = String(decoding: [header.type], as: UTF8.self)
            throw damaged("it has a member of the type \(shown(flag)): a device, or nothing that this program stores")
        }
        try readNumbers()
        entry.kind = kind
        var name = try sparseName() ?? take("path") ?? header.name
        guard header.prefix.isEmpty else { throw damaged("a name is written in two pieces") }
        let target = take("linkpath") ?? header.target
        if kind == .directory, name.last == UInt8(ascii: "/") { name.removeLast() }
        entry.path = try path(name, in: tree)
        if header.type == TarFormat.TypeFlag.hardLink {
            first = try path(target, in: tree)
        } else if kind == .link {
            guard !target.isEmpty, !target.contains(0) else { throw damaged("a symbolic link leads nowhere") }
            entry.target = target
        }
        try readAttributes()
        try readLinks()
        guard kind == .file && first == nil ? true : stored == 0 else {
            throw damaged("\(shown(entry.path)) has bytes although it is no file")
        }
        if !hasMap { entry.size = first == nil ? stored : 0 }
        guard fields.isEmpty else {
            throw damaged("\(shown(entry.path)) has records that nobody knows: \(fields.keys.sorted())")
        }
    }

    private var kind: FileEntry.Kind? {
        switch header.type {
        case TarFormat.TypeFlag.file, TarFormat.TypeFlag.hardLink: .file
        case TarFormat.TypeFlag.symbolicLink: .link
        case TarFormat.TypeFlag.directory: .directory
        case TarFormat.TypeFlag.pipe: .pipe
        default: nil
        }
    }

    private mutating func take(_ name: String) -> [UInt8]? { fields.removeValue(forKey: name) }

    private mutating func takeNumber(_ name: String) throws(FilesError) -> Int64? {
        guard let value = take(name) else { return nil }
        guard value.count <= 18, value.allSatisfy({ (0x30...0x39).contains($0) }),
            let number = Int64(String(decoding: value, as: UTF8.self))
        else { throw damaged("the record '\(name)' is no number") }
        return number
    }

    private mutating func readNumbers() throws(FilesError) {
        guard let mode = header.number(100, 8), mode <= 0o7777, let owner = header.number(108, 8),
            let group = header.number(116, 8), let seconds = header.number(136, 12)
        else { throw damaged("a header has a field that is no number") }
        let (longOwner, longGroup) = (try takeNumber("uid"), try takeNumber("gid"))
        guard let owner = UInt32(exactly: longOwner ?? owner), let group = UInt32(exactly: longGroup ?? group) else {
            throw damaged("an owner is no number of 32 bits")
        }
        entry.mode = UInt32(mode)
        entry.owner = owner
        entry.group = group
        entry.modified = FileTime(seconds: seconds, nanoseconds: 0)
        if let text = take("mtime") {
            guard let time = TarTime.time(String(decoding: text, as: UTF8.self)) else {
                throw damaged("a time is no number")
            }
            entry.modified = time
        }
        if let size = try takeNumber("size") { stored = size }
    }

    private mutating func sparseName() throws(FilesError) -> [UInt8]? {
        guard let major = take("GNU.sparse.major") else { return nil }
        let minor = take("GNU.sparse.minor")
        guard header.type == TarFormat.TypeFlag.file, major == [UInt8(ascii: "1")], minor == [UInt8(ascii: "0")],
            let size = try takeNumber("GNU.sparse.realsize"), let name = take("GNU.sparse.name")
        else { throw damaged("a file with holes is written in another form") }
        hasMap = true
        entry.size = size
        return name
    }

    private mutating func readAttributes() throws(FilesError) {
        var attributes: [FileAttribute] = []
        for (name, value) in fields {
            if name == "SCHILY.acl.access" || name == "SCHILY.acl.default" {
                guard let list = AccessList.value(value) else { throw damaged("an ACL cannot be read") }
                let isAccess = name == "SCHILY.acl.access"
                attributes.append(
                    FileAttribute(
                        name: isAccess ? FileAttribute.accessList : FileAttribute.defaultList, value: list))
            } else if name.hasPrefix("SCHILY.xattr.") {
                let plain = String(name.dropFirst("SCHILY.xattr.".count))
                    .replacing("%3D", with: "=").replacing("%25", with: "%")
                let attribute = FileAttribute(name: Array(plain.utf8), value: value)
                guard FileAttribute.isStored(attribute.name) else {
                    throw damaged("it has the attribute \(shown(plain))")
                }
                attributes.append(attribute)
            } else {
                continue
            }
            fields[name] = nil
        }
        guard attributes.isEmpty || entry.kind == .file || entry.kind == .directory else {
            throw damaged("\(shown(entry.path)) has attributes that its kind cannot have")
        }
        entry.attributes = attributes.sorted { $0.name.lexicographicallyPrecedes($1.name) }
    }

    private mutating func readLinks() throws(FilesError) {
        guard let comment = take("comment") else { return }
        let prefix = Array(TarFormat.linksComment.utf8)
        guard entry.kind == .file, first == nil, comment.starts(with: prefix),
            let links = Int(String(decoding: comment[prefix.count...], as: UTF8.self)), links > 1
        else { throw damaged("\(shown(entry.path)) has a comment that nobody knows") }
        entry.links = links
    }

    /// A member's name as a path below its tree: no empty piece, no `.` and no `..`.
    private func path(_ name: [UInt8], in tree: String) throws(FilesError) -> [UInt8] {
        guard !name.contains(0), let path = TarFormat.path(ofMember: name, in: tree) else {
            throw damaged("\(shown(name)) is not below its tree \(shown(tree))")
        }
        if path == FileEntry.root { return path }
        for piece in path.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        where piece.isEmpty || piece.elementsEqual(".".utf8) || piece.elementsEqual("..".utf8) {
            throw damaged("\(shown(name)) is no plain path below its tree")
        }
        return path
    }

    private func damaged(_ problem: String) -> FilesError {
        .damagedPart(FileTrees.PartName.archive, problem)
    }
}
