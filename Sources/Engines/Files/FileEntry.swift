import CSHA256
import Core
import Glibc

/// What is stored of one file, directory, symbolic link or pipe, apart from its bytes.
struct FileEntry: Equatable, Sendable {
    enum Kind: String, Sendable {
        case directory, file
        /// A symbolic link.
        case link
        case pipe
    }

    /// Below its tree: `a/b`, or `.` for the tree itself.
    var path: [UInt8]
    var kind: Kind
    /// The twelve bits of chmod(2).
    var mode: UInt32
    var owner: UInt32
    var group: UInt32
    var modified: FileTime
    /// Of a file, in bytes.
    var size: Int64 = 0
    /// Where a symbolic link leads.
    var target: [UInt8] = []
    /// Extended attributes and ACLs, as the kernel gives them, sorted by name.
    var attributes: [FileAttribute] = []
    /// How many names the file has, where it is the first of several that is met in its tree.
    var links = 1

    static let root: [UInt8] = [UInt8(ascii: ".")]

    var isRoot: Bool { path == Self.root }
}

/// When a file was last changed, as stat(2) has it.
struct FileTime: Equatable, Sendable {
    var seconds: Int64
    /// 0 to 999,999,999, after `seconds` also where those are negative.
    var nanoseconds: Int32

    /// `1736924400.000000000`.
    var text: String {
        let digits = String(nanoseconds)
        return "\(seconds)." + String(repeating: "0", count: 9 - digits.count) + digits
    }
}

/// An extended attribute of a file.
struct FileAttribute: Equatable, Sendable {
    var name: [UInt8]
    var value: [UInt8]

    static let accessList = Array("system.posix_acl_access".utf8)
    static let defaultList = Array("system.posix_acl_default".utf8)
    static let capability = Array("security.capability".utf8)

    /// An ACL.
    var isList: Bool { name == Self.accessList || name == Self.defaultList }

    /// Whether attributes of this name are stored. Labels that a machine's own policy gives (`security.selinux`,
    /// `security.ima`) belong to the machine.
    static func isStored(_ name: [UInt8]) -> Bool {
        name.starts(with: "user.".utf8) || name.starts(with: "trusted.".utf8) || name == accessList
            || name == defaultList || name == capability
    }

    /// Given by the system to every file, and by it again to a restored one.
    static func isMachines(_ name: [UInt8]) -> Bool {
        ["security.selinux", "security.ima", "security.evm", "security.SMACK64"].contains {
            name.elementsEqual($0.utf8)
        }
    }
}

// MARK: The canonical line

extension FileEntry {
    /// The line of the listing (RFC 8785), without its line break: what the tree's sum is over. `docs/contents.md`
    /// states it. `digest` is that of a file's bytes.
    func line(digest: [UInt8]?) -> [UInt8] {
        var line = LineWriter()
        if !attributes.isEmpty { line.add("attributes", text: hexText(attributesDigest)) }
        line.add("gid", number: Int64(group))
        let octal = String(mode, radix: 8)
        line.add("mode", text: String(repeating: "0", count: max(0, 4 - octal.count)) + octal)
        line.add("mtime", text: modified.text)
        line.add("path", bytes: path)
        if let digest { line.add("sha256", text: hexText(digest)) }
        if kind == .file { line.add("size", number: size) }
        if kind == .link { line.add("target", bytes: target) }
        line.add("type", text: kind.rawValue)
        line.add("uid", number: Int64(owner))
        return line.finish()
    }

    /// SHA-256 over each attribute: its name, a zero byte, the length of its value in decimal, a zero byte, its value.
    private var attributesDigest: [UInt8] {
        var digest = FileDigest()
        for attribute in attributes {
            digest.update(attribute.name + [0] + Array(String(attribute.value.count).utf8) + [0] + attribute.value)
        }
        return digest.finish()
    }
}

/// Writes the members of one JSON object in the order they are given, which is that of their names.
private struct LineWriter {
    private var line: [UInt8] = [UInt8(ascii: "{")]

    mutating func add(_ name: String, number: Int64) {
        begin(name)
        line += JSON.exact(number).canonicalBytes
    }

    /// For text without anything to escape.
    mutating func add(_ name: String, text: String) {
        begin(name)
        line.append(UInt8(ascii: "\""))
        line += text.utf8
        line.append(UInt8(ascii: "\""))
    }

    /// As text where they are UTF-8, else under the name with `Hex` in hexadecimal.
    mutating func add(_ name: String, bytes: [UInt8]) {
        if let text = String(validating: bytes, as: UTF8.self) {
            begin(name)
            line += JSON.string(text).canonicalBytes
        } else {
            add(name + "Hex", text: hexText(bytes))
        }
    }

    consuming func finish() -> [UInt8] { line + [UInt8(ascii: "}")] }

    private mutating func begin(_ name: String) {
        if line.count > 1 { line.append(UInt8(ascii: ",")) }
        line.append(UInt8(ascii: "\""))
        line += name.utf8
        line += "\":".utf8
    }
}

/// SHA-256 in steps, without an allocation for each file.
struct FileDigest {
    private var state = csha256()

    init() { csha256_init(&state) }

    mutating func update(_ bytes: UnsafeRawBufferPointer) {
        guard let base = bytes.baseAddress else { return }
        csha256_update(&state, base, bytes.count)
    }

    mutating func update(_ bytes: [UInt8]) { bytes.withUnsafeBytes { update($0) } }

    /// Of a hole in a sparse file. `beat` is called for every few megabytes.
    mutating func update(zeros count: Int64, beat: () throws -> Void) rethrows {
        var rest = count
        while rest > 0 {
            try beat()
            for _ in 0..<16 where rest > 0 {
                let step = min(rest, Int64(Self.zeros.count))
                Self.zeros.withUnsafeBytes { update(UnsafeRawBufferPointer(rebasing: $0[..<Int(step)])) }
                rest -= step
            }
        }
    }

    consuming func finish() -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: 32)
        csha256_final(&state, &digest)
        return digest
    }

    static func sum(of line: [UInt8]) -> RowSum {
        var digest = FileDigest()
        digest.update(line)
        var sum = RowSum()
        digest.finish().withUnsafeBytes { sum.add(digest: $0) }
        return sum
    }

    private static let zeros = [UInt8](repeating: 0, count: 256 << 10)
}
