import CLinux
import Core
import Glibc

/// Finds what would stop a restore, all of it, before anything is touched.
struct FilesPreflight {
    let source: FilesSource
    let request: RestoreRequest
    let trees: [TreesRestore.PlannedTree]
    private(set) var problems: [String] = []
    private(set) var notes: [String] = []
    /// On the file system that has the least to spare; `nil` where none could be asked.
    private(set) var freeBytes: Int64?
    private var needs: [UInt64: Need] = [:]

    private struct Need {
        var bytes: Int64
        var free: Int64
        var entries: Int64
        var freeEntries: Int64
        var place: String
    }

    init(source: FilesSource, request: RestoreRequest, trees: [TreesRestore.PlannedTree]) {
        self.source = source
        self.request = request
        self.trees = trees
    }

    var neededBytes: Int64 { request.manifest.sourceSize }

    mutating func run() throws(FilesError) {
        try checkBase()
        let mounts = try MountPoints.read()
        for (tree, size) in zip(trees, sizes) { try check(tree, size: size, mounts) }
        checkRoom()
        checkOwners()
        if !source.excludes.isEmpty, trees.contains(where: { $0.standing != nil }) {
            notes.append("what FILES_EXCLUDE leaves out is in no set: it goes aside with the replaced trees")
        }
    }

    /// Bytes of each tree; all of them for each, where the set does not say.
    private var sizes: [Int64] {
        let recorded = (request.manifest.details[TreeSnapshot.Detail.sizes] ?? "").split(separator: ",")
            .compactMap { Int64($0) }
        return recorded.count == trees.count ? recorded : trees.map { _ in neededBytes }
    }

    private mutating func checkBase() throws(FilesError) {
        guard !source.base.isEmpty else { return }
        let found = try naming("look at the destination", source.base) { () throws(CallFailure) in
            var found = stat()
            return stat(source.base, &found) == 0 && found.isDirectory
        }
        if !found { problems.append("the destination \(shown(source.base)) is no directory (make it)") }
    }

    private mutating func check(
        _ tree: TreesRestore.PlannedTree, size: Int64, _ mounts: MountPoints
    ) throws(FilesError) {
        let location = tree.exchange.location
        guard !tree.exchange.name.isEmpty else {
            problems.append("the root directory cannot be exchanged (restore it under another directory)")
            return
        }
        if tree.standing != nil, !source.paths.contains(tree.name) {
            problems.append(
                "\(shown(location)) stands there, but FILES_PATHS does not name \(shown(tree.name)), so that no "
                    + "safety backup would hold it (name it, or move it away)")
        }
        guard let above = existing(tree.exchange.parent) else { return }
        checkMounts(location, mounts, exists: tree.standing != nil)
        if access(above, W_OK | X_OK) != 0 {
            problems.append("\(shown(above)) cannot be written to: \(systemMessage(errno))")
        }
        checkFileSystem(above, size: size, entries: rows(of: tree.name))
    }

    private func rows(of tree: String) -> Int64 {
        request.contents.data.first { $0.name == tree }?.rows ?? 0
    }

    /// The nearest directory above that is there.
    private mutating func existing(_ path: String) -> String? {
        var path = path
        while true {
            var found = stat()
            if stat(path, &found) == 0 {
                if found.isDirectory { return path }
                problems.append("\(shown(path)) is no directory")
                return nil
            }
            guard errno == ENOENT, let cut = path.lastIndex(of: "/") else {
                problems.append("\(shown(path)) cannot be looked at: \(systemMessage(errno))")
                return nil
            }
            path = cut == path.startIndex ? "/" : String(path[..<cut])
        }
    }

    /// A tree that is exchanged takes along what is mounted in it, and one that is mounted itself cannot be exchanged.
    private mutating func checkMounts(_ location: String, _ mounts: MountPoints, exists: Bool) {
        guard exists else { return }
        guard let real = realPath(location) else {
            problems.append("\(shown(location)) cannot be looked at: \(systemMessage(errno))")
            return
        }
        var found = stat()
        if lstat(location, &found) == 0, found.type == S_IFLNK {
            problems.append("\(shown(location)) is a symbolic link to \(shown(real)) (restore to where it leads)")
            return
        }
        if mounts.paths.contains(real) {
            problems.append(
                "\(shown(location)) is a mount point and cannot be exchanged (name the directories below it as "
                    + "paths, or restore to another directory)")
        }
        let inside = mounts.paths.filter { $0.hasPrefix(real + "/") }.sorted()
        if !inside.isEmpty {
            problems.append(
                "mounted inside \(shown(location)): \(inside.prefix(5).map { shown($0) }.joined(separator: ", ")) "
                    + "(unmount, or restore to another directory)")
        }
    }

    private func realPath(_ path: String) -> String? {
        guard let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    // <linux/magic.h>: NFS, SMB and CIFS, 9p.
    private static let withoutExchange: Set<Int64> = [0x6969, 0x517b, 0xfe53_4d42, 0xff53_4d42, 0x0102_1997]

    private mutating func checkFileSystem(_ path: String, size: Int64, entries: Int64) {
        var status = stat()
        var room = statvfs()
        guard stat(path, &status) == 0, statvfs(path, &room) == 0 else {
            problems.append("the file system of \(shown(path)) cannot be looked at: \(systemMessage(errno))")
            return
        }
        if room.f_flag & UInt(ST_RDONLY) != 0 { problems.append("\(shown(path)) is on a read-only file system") }
        do throws(CallFailure) {
            let kind = linux_file_system_kind(try OpenFile(path, O_RDONLY | O_DIRECTORY).number)
            if Self.withoutExchange.contains(kind) {
                problems.append(
                    "\(shown(path)) is on a network file system that cannot exchange two directories in one step "
                        + "(restore to a local directory)")
            }
        } catch {
            problems.append("\(shown(path)) cannot be opened: \(systemMessage(error.code))")
        }
        let free = Int64(clamping: UInt64(room.f_bavail) * UInt64(room.f_frsize))
        var need =
            needs[UInt64(status.st_dev)]
            ?? Need(
                bytes: 0, free: free, entries: 0,
                // A file system that makes room for entries as it goes says 0.
                freeEntries: room.f_files == 0 ? .max : Int64(clamping: room.f_favail), place: path)
        need.bytes += size
        need.entries += entries
        needs[UInt64(status.st_dev)] = need
    }

    private mutating func checkRoom() {
        freeBytes = needs.values.map { $0.free - $0.bytes }.min().map { $0 + neededBytes }
        guard !request.acknowledgeDisk else { return }
        for need in needs.values.sorted(by: { $0.place < $1.place }) {
            if need.free < need.bytes {
                problems.append(
                    "the disk of \(shown(need.place)) has \(need.free) bytes free, and the restore needs "
                        + "\(need.bytes) (make room, or set acknowledgeDisk)")
            }
            if need.freeEntries < need.entries {
                problems.append(
                    "the file system of \(shown(need.place)) has room for \(need.freeEntries) more files, and the "
                        + "restore needs \(need.entries) (make room, or set acknowledgeDisk)")
            }
        }
    }

    /// Only root may give files away.
    private mutating func checkOwners() {
        guard geteuid() != 0, let owners = request.manifest.details[TreeSnapshot.Detail.owners] else { return }
        var groups = [gid_t](repeating: 0, count: 1024)
        let count = getgroups(Int32(groups.count), &groups)
        let own = Set(groups.prefix(Int(max(count, 0))) + [getegid()])
        let foreign = owners.split(separator: ",").filter { owner in
            let pair = owner.split(separator: ":").compactMap { UInt32($0) }
            return pair.count != 2 || pair[0] != geteuid() || !own.contains(pair[1])
        }
        if !foreign.isEmpty {
            problems.append(
                "files of other owners (\(foreign.prefix(5).joined(separator: ", "))) can only be restored by root")
        }
    }
}

/// Where file systems are mounted, as this process sees it.
struct MountPoints {
    private static let largest = 4 << 20

    let paths: Set<String>

    static func read() throws(FilesError) -> MountPoints {
        let path = "/proc/self/mountinfo"
        return try naming("see what is mounted", path) { () throws(CallFailure) in
            let file = try OpenFile(path, O_RDONLY)
            var text: [UInt8] = []
            var piece = [UInt8](repeating: 0, count: 64 << 10)
            while text.count < largest {
                let count = Glibc.read(file.number, &piece, piece.count)
                guard count >= 0 else { throw CallFailure(code: errno) }
                if count == 0 { break }
                text += piece[..<count]
            }
            return MountPoints(mountInfo: text)
        }
    }

    /// From lines as proc(5) describes them: the fifth field is the path, with spaces and the like in octal.
    init(mountInfo: [UInt8]) {
        var paths: Set<String> = []
        for line in mountInfo.split(separator: UInt8(ascii: "\n")) {
            let fields = line.split(separator: UInt8(ascii: " "))
            if fields.count > 4 { paths.insert(Self.unescaped(fields[4])) }
        }
        self.paths = paths
    }

    private static func unescaped(_ field: ArraySlice<UInt8>) -> String {
        var bytes: [UInt8] = []
        var rest = field
        while let byte = rest.popFirst() {
            let digits = rest.prefix(3)
            if byte == UInt8(ascii: "\\"), digits.count == 3,
                let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 8)
            {
                bytes.append(value)
                rest = rest.dropFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
