package import Core
import Crypto
import Glibc

/// Brings a new directory or file into the place of the one that stands at a location, in one step.
///
/// The new one is made in a workshop beside: `.<name>.lifeboat-<digits>/tree`, where only its owner gets in. The
/// exchange is one call of the kernel (renameat2(2), `RENAME_EXCHANGE`), after which the workshop holds what was
/// replaced. It stays there, marked, until somebody who knows that a verified set holds the same has it removed
/// (``leftovers()``, ``remove(_:)``).
///
/// All calls block.
package struct DirectoryExchange: Sendable {
    /// Absolute; its last piece is what is exchanged.
    package let location: String
    let parent: String
    let name: String
    private let random: RandomBytes

    package init(of location: String, random: @escaping RandomBytes) {
        self.location = location
        let cut = location.lastIndex(of: "/") ?? location.startIndex
        parent = cut == location.startIndex ? "/" : String(location[..<cut])
        name = String(location[location.index(after: cut)...])
        self.random = random
    }

    /// What stands at the location now; `nil` where nothing does.
    package func standing() throws(FilesError) -> FileIdentity? {
        try naming("look at what stands there", location) { () throws(CallFailure) in
            try FileIdentity.of(location)
        }
    }

    /// Begins: a workshop beside the location, marked, without a tree in it yet. Directories above that are missing are
    /// made below `base`, which exists.
    package func stage(
        requestID: RequestID, setKey: BackupKey, below base: String = "/"
    ) throws(FilesError) -> StagedTree {
        let made = try makeParents(below: base)
        let marker = ExchangeMarker(
            location: location, requestID: requestID.description, setKey: setKey.description)
        let workshop = Workshop(parent: parent, name: workshopPrefix + hexText(random(4)))
        do throws(CallFailure) {
            try workshop.make()
            try workshop.write(marker)
        } catch {
            // What cannot be removed here is cleared by the next restore.
            unlink("\(workshop.path)/\(Workshop.unfinishedMarkerName)")
            rmdir(workshop.path)
            for path in made.reversed() where rmdir(path) != 0 { break }
            throw .system("make a place beside the destination", workshop.path, error.code)
        }
        return StagedTree(exchange: self, workshop: workshop, marker: marker, madeParents: made)
    }

    /// Outermost first.
    private func makeParents(below base: String) throws(FilesError) -> [String] {
        var made: [String] = []
        var path = ""
        for piece in parent.split(separator: "/") {
            path += "/" + piece
            guard path.utf8.count > base.utf8.count else { continue }
            let here = path
            let isNew = try naming("make the directory above", here) { () throws(CallFailure) in
                if try status(of: here) != nil { return false }
                try system { mkdir(here, 0o755) }
                return true
            }
            if isNew { made.append(path) }
        }
        return made
    }

    // MARK: Earlier runs

    /// Something that an earlier run has left beside the location.
    package struct Leftover: Sendable {
        package enum Kind: Equatable, Sendable {
            /// Made by a run that did not come to its exchange, or the marker of one whose work is no longer in
            /// place: it may go.
            case staged
            /// What a restore has replaced. The key names the verified set that holds it, where there is one.
            case replaced(safety: BackupKey?)
        }

        package var kind: Kind
        /// The request of the run that left it.
        package var requestID: String
        /// Where the tree is.
        package var treePath: String { workshop.treePath }
        let workshop: Workshop
        /// Its marker is the proof that what stands at the location was put there by its request.
        let proves: Bool
    }

    /// What earlier runs have left beside the location. Only what is under the name and with the marker that this
    /// program gives; what a person has renamed is the person's.
    package func leftovers() throws(FilesError) -> [Leftover] {
        var found: [Leftover] = []
        let standing = try standing()
        for workshop in try workshops() {
            guard let marker = try workshop.readMarker(), marker.location == location else {
                if try workshop.isUnmarked() {
                    found.append(Leftover(kind: .staged, requestID: "", workshop: workshop, proves: false))
                }
                continue
            }
            let proves = marker.staged != nil && marker.staged == standing
            let tree = try workshop.treeIdentity()
            if let tree, let staged = marker.staged, tree != staged {
                found.append(
                    Leftover(
                        kind: .replaced(safety: marker.safetyKey), requestID: marker.requestID, workshop: workshop,
                        proves: proves))
            } else if !proves {
                found.append(
                    Leftover(kind: .staged, requestID: marker.requestID, workshop: workshop, proves: false))
            }
        }
        return found
    }

    /// Removes what an earlier run has left. For what was replaced the caller has made sure that it may go. A marker
    /// that a replay needs, to find done what stands there, stays.
    package func remove(_ leftover: Leftover) throws(FilesError) {
        if leftover.proves { try leftover.workshop.removeTree() } else { try leftover.workshop.remove() }
    }

    /// Whether what stands there is what this request has put there, from this set.
    package func isDone(requestID: RequestID, setKey: BackupKey) throws(FilesError) -> Bool {
        guard requestID.isReplayable, let standing = try standing() else { return false }
        for workshop in try workshops() {
            if let marker = try workshop.readMarker(), marker.location == location, marker.staged == standing,
                marker.requestID == requestID.description, marker.setKey == setKey.description
            {
                return true
            }
        }
        return false
    }

    private var workshopPrefix: String {
        // A name of 255 bytes has no room for more; a digest keeps long names apart.
        let kept = name.utf8.count <= 200 ? name : hexText(SHA256.hash(data: Array(name.utf8)).prefix(16))
        return ".\(kept).lifeboat-"
    }

    private func workshops() throws(FilesError) -> [Workshop] {
        try naming("look for what earlier runs left over", parent) { () throws(CallFailure) in
            guard let found = try status(of: parent), found.isDirectory else { return [] }
            let names = try DirectoryNames(path: parent)
            let prefix = Array(workshopPrefix.utf8)
            var workshops: [Workshop] = []
            while let name = try names.next() {
                guard name.starts(with: prefix), name.count == prefix.count + 8,
                    let text = String(validating: name, as: UTF8.self),
                    try status(terminated(name), in: names.directory)?.isDirectory == true
                else { continue }
                workshops.append(Workshop(parent: parent, name: text))
            }
            return workshops
        }
    }
}
