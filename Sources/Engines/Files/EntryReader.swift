import CLinux
import Core
import Glibc

/// Makes an entry of what a walk has found.
struct EntryReader {
    let notes: PictureNotes?

    /// The kind of what can be stored; `nil` for sockets and devices.
    static func kind(_ status: stat) -> FileEntry.Kind? {
        switch status.type {
        case S_IFDIR: .directory
        case S_IFREG: .file
        case S_IFLNK: .link
        case S_IFIFO: .pipe
        default: nil
        }
    }

    /// Everything but a file's bytes. `opened` is the file or directory itself, and `known` its status where it has just
    /// been asked for.
    func entry(
        _ item: TreeWalk.Item, _ kind: FileEntry.Kind, opened: OpenFile?, known: stat? = nil,
        wholePath: @autoclosure () -> [UInt8]
    ) throws(CallFailure) -> FileEntry {
        var status = known ?? item.status
        if known == nil, let opened { status = try opened.status() }
        var entry = FileEntry(
            path: item.path, kind: kind, mode: status.st_mode & 0o7777, owner: status.st_uid, group: status.st_gid,
            modified: FileTime(
                seconds: Int64(status.st_mtim.tv_sec), nanoseconds: Int32(status.st_mtim.tv_nsec)))
        if kind == .file { entry.size = Int64(status.st_size) }
        if kind == .link { entry.target = try target(item) }
        if let opened { entry.attributes = try attributes(of: opened, wholePath: wholePath) }
        return entry
    }

    private func target(_ item: TreeWalk.Item) throws(CallFailure) -> [UInt8] {
        var room = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
        let count = readlinkat(item.parent.number, item.name, &room, room.count)
        guard count >= 0 else { throw CallFailure(code: errno) }
        return room[..<count].map { UInt8(bitPattern: $0) }
    }

    private func attributes(
        of file: OpenFile, wholePath: () -> [UInt8]
    ) throws(CallFailure) -> [FileAttribute] {
        var attributes: [FileAttribute] = []
        var isNoted = false
        for name in try names(of: file) {
            if FileAttribute.isStored(name), String(validating: name, as: UTF8.self) != nil {
                // One that was removed meanwhile is not there any more.
                if let value = try value(of: name, file) {
                    attributes.append(FileAttribute(name: name, value: value))
                }
            } else if !FileAttribute.isMachines(name), !isNoted {
                isNoted = true
                notes?.add(.attribute, wholePath())
            }
        }
        return attributes.sorted { $0.name.lexicographicallyPrecedes($1.name) }
    }

    private func names(of file: OpenFile) throws(CallFailure) -> [[UInt8]] {
        while true {
            let size = linux_list_attributes(file.number, nil, 0)
            if size == 0 { return [] }
            guard size > 0 else {
                let code = errno
                // A file system without attributes.
                if code == ENOTSUP { return [] }
                throw CallFailure(code: code)
            }
            var room = [CChar](repeating: 0, count: Int(size))
            let count = linux_list_attributes(file.number, &room, room.count)
            if count >= 0 {
                return room[..<Int(count)].split(separator: 0).map { $0.map { UInt8(bitPattern: $0) } }
            }
            let code = errno
            // More came meanwhile.
            if code != ERANGE { throw CallFailure(code: code) }
        }
    }

    private func value(of name: [UInt8], _ file: OpenFile) throws(CallFailure) -> [UInt8]? {
        let name = terminated(name)
        while true {
            let size = linux_get_attribute(file.number, name, nil, 0)
            guard size >= 0 else {
                let code = errno
                if code == ENODATA { return nil }
                throw CallFailure(code: code)
            }
            var room = [UInt8](repeating: 0, count: Int(size))
            let count = linux_get_attribute(file.number, name, &room, room.count)
            if count >= 0 { return Array(room[..<Int(count)]) }
            let code = errno
            if code == ENODATA { return nil }
            if code != ERANGE { throw CallFailure(code: code) }
        }
    }
}

/// What of a file's status tells that it was written to meanwhile.
struct FileVersion: Equatable {
    private let size: Int64
    private let modified: FileTime
    private let changed: FileTime

    init(_ status: stat) {
        size = Int64(status.st_size)
        modified = FileTime(
            seconds: Int64(status.st_mtim.tv_sec), nanoseconds: Int32(status.st_mtim.tv_nsec))
        changed = FileTime(
            seconds: Int64(status.st_ctim.tv_sec), nanoseconds: Int32(status.st_ctim.tv_nsec))
    }
}

extension OpenFile {
    /// The pieces of a file that hold data, where it takes less room than its size; one piece for any other.
    func pieces(_ status: stat, most: Int = TarFormat.mostPieces) throws(CallFailure) -> [FilePiece] {
        let size = Int64(status.st_size)
        guard Int64(status.st_blocks) * 512 < size else { return [FilePiece(offset: 0, count: size)] }
        var pieces: [FilePiece] = []
        var offset: Int64 = 0
        while offset < size {
            let start = linux_next_data(number, offset)
            if start < 0 {
                let code = errno
                // No data from here to the end.
                if code == ENXIO { break }
                // A file system that does not know.
                if code == EINVAL { return [FilePiece(offset: 0, count: size)] }
                throw CallFailure(code: code)
            }
            if start >= size { break }
            guard pieces.count < most else {
                pieces.append(FilePiece(offset: start, count: size - start))
                return pieces
            }
            let end = linux_next_hole(number, start)
            guard end > start else { throw CallFailure(code: end < 0 ? errno : EIO) }
            pieces.append(FilePiece(offset: start, count: min(end, size) - start))
            offset = end
        }
        return pieces
    }
}
