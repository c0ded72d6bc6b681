package import Core
import Glibc
import Streams

/// Brings sets of PostgreSQL to life to prove them: a server of the set's own major version, in a directory of its own
/// below the site's, on a private socket. Nothing of it is left afterwards; what a killed run has left is removed by the
/// next.
package struct PostgresScratch: ScratchPlace {
    private let site: RecoverySite
    private let onLeftover: @Sendable (any Error) -> Void

    /// `site.directory` is where the scratch directories are made (`SCRATCH_DIRECTORY`); it has to be there.
    /// `onLeftover` is told why one could not be removed: the data lies there until the next run tries again.
    package init(_ site: RecoverySite, onLeftover: @escaping @Sendable (any Error) -> Void) {
        self.site = site
        self.onLeftover = onLeftover
    }

    package var label: String { "a PostgreSQL server of its own below \(site.directory)" }

    package func open(for manifest: Manifest, meter: ProgressMeter) async throws -> any Scratch {
        let isPhysical = PhysicalBase.isPhysical(manifest)
        let major = manifest.details[PostgresCluster.Detail.major].flatMap { Int($0) }
        let number = manifest.details[LogicalSnapshot.Detail.serverVersionNumber].flatMap { Int($0) }
        guard let major = isPhysical ? major : number.map({ ServerFacts.major(of: $0) }) else {
            throw PostgresError.configuration(
                "the set \(manifest.key)", "it does not say which version of PostgreSQL it is of",
                hint: "scratch servers are for sets of PostgreSQL")
        }
        let tools = try await ServerTools.find(major: major, in: site.tools)
        let room = try await onThread("scratch") { [site, onLeftover] in
            try ScratchRoom(in: site.directory, random: site.random, onLeftover: onLeftover)
        }
        do {
            if isPhysical { return PhysicalScratch(site: site.at(room.cluster.path), tools: tools, room: room) }
            return try await LogicalScratch.start(site: site, tools: tools, room: room, meter: meter)
        } catch {
            await uncancelled { await room.remove() }
            throw error
        }
    }
}

/// A directory for one scratch server. It is this run's for as long as this is held.
final class ScratchRoom: Sendable {
    private static let prefix = "lifeboat-scratch-"
    /// Random bytes of a name.
    private static let nameSize = 8

    /// Not there yet: whoever restores into it makes it.
    let cluster: ClusterDirectory
    let owner: ClusterOwner?
    private let room: ClusterDirectory
    private let lock: Guarded<ClusterLock?>
    private let onLeftover: @Sendable (any Error) -> Void

    /// Removes what killed runs have left there first.
    init(in parent: String, random: RandomBytes, onLeftover: @escaping @Sendable (any Error) -> Void) throws {
        let above = ClusterDirectory(path: parent)
        var problems: [String] = []
        let owner = try above.owner(problems: &problems)
        // One that may not be looked into is a problem of its own already.
        if problems.isEmpty, try above.standing() == .absent { problems.append("it does not exist") }
        guard problems.isEmpty else {
            throw PostgresError.configuration(
                parent, problems.joined(separator: "; "),
                hint: "set SCRATCH_DIRECTORY to a directory of the user that the server is to run as")
        }
        try Self.removeLeftovers(in: parent, of: owner)
        room = ClusterDirectory(path: "\(parent)/\(Self.prefix)\(hexText(random(Self.nameSize)))")
        cluster = ClusterDirectory(path: "\(room.path)/cluster")
        self.owner = owner
        self.onLeftover = onLeftover
        lock = Guarded(try room.lock(owner: owner))
    }

    private static func removeLeftovers(in parent: String, of owner: ClusterOwner?) throws {
        for name in try ClusterDirectory.names(in: parent) where isOurs(name, in: parent, owner) {
            let left = ClusterDirectory(path: "\(parent)/\(name)")
            do {
                let lock = try left.lock(owner: nil)
                try withExtendedLifetime(lock) { try ClusterDirectory.remove(left.path) }
            } catch let error as PostgresError where error.exitCode == .locked {
                // Another run is at work there.
            }
        }
    }

    /// A directory of a name that only we give, of the server's user or of our own; a link of such a name leads to what
    /// is somebody else's, and others may write to a volume, too.
    private static func isOurs(_ name: String, in parent: String, _ owner: ClusterOwner?) -> Bool {
        var facts = stat()
        return name.hasPrefix(prefix) && bytes(hexText: String(name.dropFirst(prefix.utf8.count)))?.count == nameSize
            && lstat("\(parent)/\(name)", &facts) == 0 && facts.st_mode & S_IFMT == S_IFDIR
            && [geteuid(), owner?.user ?? geteuid()].contains(facts.st_uid)
    }

    /// Removes everything. What cannot be removed is told, and the next run tries again.
    func remove() async {
        let removed: Result<Void, any Error> = await Result {
            try await onThread("remove scratch") { [room, lock] in
                try ClusterDirectory.remove(room.path)
                lock.withLock { $0 = nil }
            }
        }
        if case .failure(let error) = removed { onLeftover(error) }
    }
}

extension Result where Failure == any Error {
    /// What `body` came to, for those who go on either way.
    init(_ body: () async throws -> Success) async {
        do {
            self = .success(try await body())
        } catch {
            self = .failure(error)
        }
    }
}
