import Core
import Glibc

/// Everything that stands against a restore of a server's files, found before anything is touched.
struct PhysicalPreflight {
    let site: RecoverySite
    let request: RestoreRequest
    let base: PhysicalBase
    let cluster: ClusterDirectory
    private(set) var problems: [String] = []
    private(set) var notes: [String] = []
    private(set) var neededBytes: Int64 = 0
    private(set) var freeBytes: Int64?

    /// What a server of our own writes beside the data: at most so much of the log at a time, and temporary files.
    private static let workingRoom: Int64 = 256 << 20

    init(site: RecoverySite, request: RestoreRequest, base: PhysicalBase, cluster: ClusterDirectory) {
        self.site = site
        self.request = request
        self.base = base
        self.cluster = cluster
    }

    /// Returns who the files will belong to.
    mutating func run(_ standing: ClusterDirectory.Standing, _ tools: ServerTools) async throws -> ClusterOwner? {
        switch standing {
        case .absent, .empty: break
        case .unfinished: notes.append("what an earlier run left unfinished there is removed first")
        case .ready(let marker):
            problems.append("it holds the finished restore of \(marker.setKey) (\(marker.target)): name another one")
        case .foreign(let name):
            problems.append("it is not empty: there is '\(name)'; name a directory below it, or an empty one")
        }
        let owner = try cluster.owner(problems: &problems)
        for library in site.preloadLibraries where !tools.hasLibrary(library) {
            problems.append(
                "the library \(library) of POSTGRES_PRELOAD_LIBRARIES is not beside the server in \(tools.directory)")
        }
        let log = try await checkTarget()
        if problems.isEmpty { try checkRoom(log) }
        return owner
    }

    /// Bytes of the log that will be read. An impossible target is a problem that says which range is possible.
    private mutating func checkTarget() async throws -> Int64 {
        guard let recovery = request.recovery else { return 0 }
        let ranges = try await recovery.log.ranges(of: base.systemID)
        let later = ranges.filter { $0.end > base.start }
        let newest = later.map(\.end).max()
        let possible = "possible is from \(base.end) (\(base.endTime)) to \(newest ?? base.end)"
        if let timeline = recovery.target.timeline, timeline != base.timeline,
            !ranges.contains(where: { $0.timeline == timeline })
        {
            problems.append("of the timeline \(timeline) nothing is stored")
        }
        switch recovery.target.point {
        case .lsn(let lsn) where lsn < base.end:
            problems.append("the target \(lsn) is before the end of this base backup; \(possible)")
        case .lsn(let lsn) where lsn > newest ?? base.end:
            problems.append("the target \(lsn) is after the end of what is stored; \(possible)")
        case .time(let microseconds) where microseconds / 1000 < base.endTime.milliseconds - 1:
            problems.append(
                "the target \(ServerLaunch.text(microseconds: microseconds)) is before the end of this base backup; "
                    + possible)
        case .lsn, .time, .transaction, .name, .latest: break
        }
        return later.reduce(0) { sum, range in
            Self.sum(sum, Int64(clamping: range.end.value - min(max(range.begin, base.start), range.end).value))
        }
    }

    /// Of sizes that come from a manifest and from an index: the largest there is where they are beyond it.
    private static func sum(_ a: Int64, _ b: Int64) -> Int64 {
        let (sum, isBeyond) = a.addingReportingOverflow(b)
        return isBeyond ? .max : sum
    }

    /// The log is written again as it is replayed: what the data grows by is bounded by it.
    private mutating func checkRoom(_ log: Int64) throws(PostgresError) {
        neededBytes = Self.sum(Self.sum(request.manifest.sourceSize, log), Self.workingRoom)
        let free = try cluster.freeBytes()
        freeBytes = free
        guard free < neededBytes else { return }
        let text = "\(DiskCheck.text(neededBytes)) are needed there, and \(DiskCheck.text(free)) are free"
        if request.acknowledgeDisk {
            notes.append(text)
        } else {
            problems.append(text)
        }
    }
}
