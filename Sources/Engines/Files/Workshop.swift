import CLinux
import Core
import Glibc

/// The directory beside a location in which a tree is made, and which holds what it replaced afterwards.
struct Workshop: Sendable {
    let parent: String
    let name: String

    static let treeName = "tree"
    private static let markerName = "marker.json"
    static let unfinishedMarkerName = "marker.json.new"

    var path: String { parent == "/" ? "/" + name : "\(parent)/\(name)" }
    var treePath: String { "\(path)/\(Self.treeName)" }
    private var markerPath: String { "\(path)/\(Self.markerName)" }

    /// Makes the directory, for its owner alone. A default ACL of the directory above would be handed down to whatever
    /// is made here.
    func make() throws(CallFailure) {
        try system { mkdir(path, S_IRWXU) }
        let directory = try OpenFile(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
        for name in [FileAttribute.defaultList, FileAttribute.accessList] {
            let name = terminated(name)
            do {
                try system { linux_remove_attribute(directory.number, name) }
            } catch {
                if error.code != ENODATA && error.code != ENOTSUP { throw error }
            }
        }
        try system { fchmod(directory.number, S_IRWXU) }
    }

    /// Puts the marker there durably, in the place of an earlier one.
    func write(_ marker: ExchangeMarker) throws(CallFailure) {
        let unfinished = "\(path)/\(Self.unfinishedMarkerName)"
        let file = try OpenFile(unfinished, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode: 0o600)
        try file.write(marker.json.canonicalBytes)
        try file.sync()
        try system { rename(unfinished, markerPath) }
        try OpenFile(path, O_RDONLY | O_DIRECTORY).sync()
    }

    /// `nil` where there is none, or none of ours.
    func readMarker() throws(FilesError) -> ExchangeMarker? {
        try naming("read the marker of an earlier run", markerPath) { () throws(CallFailure) in
            guard let found = try status(of: markerPath), found.type == S_IFREG,
                found.st_size <= ExchangeMarker.largest
            else { return nil }
            let file = try OpenFile(markerPath, O_RDONLY | O_NOFOLLOW)
            return ExchangeMarker(parsing: try file.bytes(count: Int(found.st_size)))
        }
    }

    /// Killed between making it and marking it: nothing in it but what a marker begins as.
    func isUnmarked() throws(FilesError) -> Bool {
        try naming("look into what an earlier run left over", path) { () throws(CallFailure) in
            let names = try DirectoryNames(path: path)
            while let name = try names.next() {
                if !name.elementsEqual(Self.unfinishedMarkerName.utf8) { return false }
            }
            return true
        }
    }

    func treeIdentity() throws(FilesError) -> FileIdentity? {
        try naming("look into what an earlier run left over", treePath) { () throws(CallFailure) in
            try FileIdentity.of(treePath)
        }
    }

    /// Removes it with all that is in it: the tree first and the marker last, so that a removal which was cut short is
    /// gone on with by the next run.
    func remove() throws(FilesError) {
        try removeTree()
        let above = try naming("remove what is left over", path) { () throws(CallFailure) in
            try OpenFile(parent, O_RDONLY | O_DIRECTORY)
        }
        try TreeRemoval(name: name, directory: above, path: path).run()
    }

    /// Removes the tree and leaves the marker.
    func removeTree() throws(FilesError) {
        let own = try naming("remove what is left over", path) { () throws(CallFailure) -> OpenFile? in
            try status(of: path) == nil ? nil : try OpenFile(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
        }
        if let own { try TreeRemoval(name: Self.treeName, directory: own, path: treePath).run() }
    }
}
