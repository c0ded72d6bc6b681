import CLinux
import Core
import Glibc

/// Goes through a tree, each directory before what is in it. Holds the names of a part of one directory a level, never
/// the whole tree, and never follows a symbolic link below the tree's own path.
final class TreeWalk {
    /// Directories within each other. Each costs an open descriptor.
    static let deepest = 256

    struct Item {
        /// Below the tree; `.` for the tree itself.
        var path: [UInt8]
        var name: [CChar]
        /// Where it is.
        var parent: OpenFile
        var status: stat
        /// The directory itself, until the next item is asked for.
        var opened: OpenFile?
    }

    /// What a walk leaves out, and whom it tells.
    struct Selection {
        /// Absolute patterns are compared with this and what follows.
        var tree: String
        var excludes = Excludes([])
        var oneFileSystem = false
        /// Where there are any, what is gone when its turn comes is noted; else it is an error.
        var notes: PictureNotes?
    }

    private struct Level {
        var path: [UInt8]
        var names: DirectoryNames
        var device: dev_t
    }

    let location: String
    private let selection: Selection
    private let root: OpenFile
    private let rootName: [CChar]
    private let device: dev_t
    private var levels: [Level] = []
    private var hasBegun = false

    /// `nil` where nothing stands at `location`.
    init?(_ location: String, _ selection: Selection) throws(FilesError) {
        self.location = location
        self.selection = selection
        let cut = location.lastIndex(of: "/") ?? location.startIndex
        let parent = cut == location.startIndex ? "/" : String(location[..<cut])
        let name = String(location[location.index(after: cut)...])
        rootName = terminated((name.isEmpty ? "." : name).utf8)
        do throws(CallFailure) {
            guard try status(of: parent) != nil else { return nil }
            root = try OpenFile(parent, O_RDONLY | O_DIRECTORY)
            guard let found = try status(rootName, in: root) else { return nil }
            device = found.st_dev
        } catch {
            throw .system("look at the files", location, error.code)
        }
    }

    /// The next item; `nil` after the last.
    func next() throws(FilesError) -> Item? {
        guard hasBegun else {
            hasBegun = true
            return try item(FileEntry.root, rootName, in: root, aboveDevice: device)
        }
        while let level = levels.last {
            let name: [UInt8]?
            do throws(CallFailure) {
                name = try level.names.next()
            } catch {
                throw .system("read the directory", wholePath(level.path), error.code)
            }
            guard let name else {
                levels.removeLast()
                continue
            }
            let path = level.path == FileEntry.root ? name : level.path + [UInt8(ascii: "/")] + name
            guard !selection.excludes.match(name: name, path: path, in: selection.tree) else { continue }
            if let item = try item(path, terminated(name), in: level.names.directory, aboveDevice: level.device) {
                return item
            }
        }
        return nil
    }

    private func item(
        _ path: [UInt8], _ name: [CChar], in parent: OpenFile, aboveDevice: dev_t
    ) throws(FilesError) -> Item? {
        do throws(CallFailure) {
            guard let found = try status(name, in: parent) else { throw CallFailure(code: ENOENT) }
            var item = Item(path: path, name: name, parent: parent, status: found)
            return found.isDirectory ? try enter(&item, aboveDevice: aboveDevice) : item
        } catch {
            if error.code == ENOENT, let notes = selection.notes, path != FileEntry.root {
                notes.add(.vanished, wholePath(path))
                return nil
            }
            throw .system("read the files", wholePath(path), error.code)
        }
    }

    /// Opens a directory, whose content comes next; `nil` where it is none that anybody stores.
    private func enter(_ item: inout Item, aboveDevice: dev_t) throws(CallFailure) -> Item? {
        guard levels.count < Self.deepest else { throw CallFailure(code: ENAMETOOLONG) }
        let names = try DirectoryNames(item.name, in: item.parent)
        item.status = try names.directory.status()
        item.opened = names.directory
        let device = item.status.st_dev
        if device != aboveDevice {
            if KernelFileSystem.holds(names.directory) {
                selection.notes?.add(.kernelFileSystem, wholePath(item.path))
                return nil
            }
            if selection.oneFileSystem {
                selection.notes?.add(.otherFileSystem, wholePath(item.path))
                names.skip()
            }
        }
        levels.append(Level(path: item.path, names: names, device: device))
        return item
    }

    /// For errors and notes.
    func wholePath(_ path: [UInt8]) -> [UInt8] {
        let tree = Array(location.utf8)
        if path == FileEntry.root { return tree }
        return (location == "/" ? [] : tree) + [UInt8(ascii: "/")] + path
    }
}

/// File systems that show the kernel's own state and store nothing.
enum KernelFileSystem {
    // <linux/magic.h>: proc, sysfs, devpts, cgroup, cgroup2, debugfs, tracefs, securityfs, bpf, mqueue, configfs,
    // pstore, efivarfs, selinuxfs, hugetlbfs, binfmt_misc, nsfs.
    private static let kinds: Set<Int64> = [
        0x9fa0, 0x6265_6572, 0x1cd1, 0x27_e0eb, 0x6367_7270, 0x6462_6720, 0x7472_6163, 0x7363_6673, 0xcafe_4a11,
        0x1980_0202, 0x6265_6570, 0x6165_676c, 0xde5e_81e4, 0xf97c_ff8c, 0x9584_58f6, 0x4249_4e4d, 0x6e73_6673,
    ]

    static func holds(_ directory: OpenFile) -> Bool { kinds.contains(linux_file_system_kind(directory.number)) }
}
