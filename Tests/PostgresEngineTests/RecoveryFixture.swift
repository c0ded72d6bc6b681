import Core
import Glibc
import Streams
import TestSupport
import Testing

@testable import PostgresEngine

/// A server whose log is known commit by commit, and a base backup from before them.
struct RecoveryFixture: Sendable {
    struct Commit: Sendable {
        var xid: UInt64
        /// After it was committed and before the next was begun.
        var time: Int64
        var lsn: LSN
    }

    static let database = "clinic"
    /// With a table in a tablespace.
    static let otherDatabase = "other"
    /// Stands in a row, a comment and a name of what is restored, and must show nowhere.
    static let marker = "Patient-4711-secret"

    let server: PostgresServer
    let base: TakenSet
    /// Row `n` of `events` came with commit `n - 1`.
    let commits: [Commit]
    let log: StoredLog
    /// Of a table with enough pages to be damaged, below the data directory.
    let tablePath: String

    static let shared = Task { try await make() }

    private static func make() async throws -> RecoveryFixture {
        let server = try await PostgresServer.start(.init(settings: ["wal_keep_size": "1GB", "max_wal_size": "2GB"]))
        let directory = "\(server.host)/ts"
        try await server.sql(
            """
            COPY (SELECT 1) TO PROGRAM 'mkdir \(directory)';
            CREATE TABLESPACE beside LOCATION '\(directory)';
            """)
        try await server.sql("CREATE DATABASE \(database)")
        try await server.sql(
            """
            CREATE TABLE events (id int PRIMARY KEY, note text);
            COMMENT ON TABLE events IS '\(marker)';
            CREATE TABLE patients AS SELECT g AS id, md5(g::text) AS name FROM generate_series(1, 2000) g;
            CREATE INDEX ON patients (id);
            """, database: database)
        try await server.sql("CREATE DATABASE \(otherDatabase)")
        try await server.sql(
            "CREATE TABLE elsewhere TABLESPACE beside AS SELECT generate_series(1, 1000) AS id",
            database: otherDatabase)
        // Neither may have a say in a recovery: a day's wait, and pages that are missing passed over.
        try await server.sql("ALTER SYSTEM SET recovery_min_apply_delay = '1d'")
        try await server.sql("ALTER SYSTEM SET ignore_invalid_pages = on")
        let tablePath = try await server.sql("SELECT pg_relation_filepath('patients')", database: database)
        let base = try await PostgresCluster(server.endpoint("postgres")).take()
        var commits: [Commit] = []
        for number in 1...4 {
            if number == 3 { try await server.sql("SELECT pg_create_restore_point('before_three')") }
            let row = try await server.sql(
                """
                BEGIN;
                INSERT INTO events VALUES (\(number), '\(marker)');
                SELECT pg_current_xact_id();
                COMMIT;
                SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
                SELECT pg_current_wal_insert_lsn();
                """, database: database
            ).split(separator: "\n").map(String.init)
            guard row.count == 3, let xid = UInt64(row[0]), let time = Int64(row[1]), let lsn = LSN(row[2]) else {
                throw TestFailure("the commit says \(row)")
            }
            commits.append(Commit(xid: xid, time: time, lsn: lsn))
            try await server.sql("SELECT pg_switch_wal()")
        }
        // Whoever recovers to the end finds no role of the usual name, as in a container's server.
        try await server.sql("CREATE ROLE clinic_admin SUPERUSER LOGIN")
        try await server.sql("ALTER ROLE postgres RENAME TO renamed", user: "clinic_admin")
        try await server.sql("SELECT pg_switch_wal()", user: "clinic_admin")
        let systemID = base.facts.details[PhysicalBase.Detail.systemID] ?? ""
        var log = try StoredLog(directory: "\(server.dataDirectory)/pg_wal", systemID: systemID)
        // What came with the base backup need not be stored a second time.
        guard let end = PhysicalBase(base.manifest)?.end else { throw TestFailure("the set does not say its end") }
        for segment in log.segments where segment.begin < end { log.remove(segment) }
        return RecoveryFixture(server: server, base: base, commits: commits, log: log, tablePath: tablePath)
    }

    func request(_ id: String, _ target: RecoveryTarget?, log: (any WALLibrary)? = nil) -> RestoreRequest {
        var request = base.request(id)
        request.recovery = target.map { Recovery(to: $0, from: log ?? self.log) }
        return request
    }

    func site(_ directory: String, _ handOver: [String]) -> RecoverySite {
        RecoverySite(
            directory: directory, tools: ToolSearch(directories: [server.binaries]), handOver: handOver,
            temporaryDirectory: "/tmp", random: { count in (0..<count).map { _ in UInt8.random(in: 0...255) } })
    }

    /// The rows of `events` in a cluster that was made ready, by a server of its own on it.
    func rows(in directory: String) async throws -> [Int] {
        try await query("SELECT id FROM public.events ORDER BY 1", in: directory).compactMap { Int($0) }
    }

    func query(
        _ statement: String, database: String = RecoveryFixture.database, in directory: String
    ) async throws -> [String] {
        let cluster = ClusterDirectory(path: directory)
        var problems: [String] = []
        let owner = try cluster.owner(problems: &problems)
        let tools = try await ServerTools.find(
            major: PostgresServer.installedMajors[0], in: ToolSearch(directories: [server.binaries]))
        let control = try await ControlData.read(cluster.data, tools: tools, owner: owner)
        guard control.state == "shut down" else { throw TestFailure("the cluster is \(control.state)") }
        let sockets = try SocketDirectory(in: "/tmp", owner: owner)
        let launch = ServerLaunch(
            purpose: .run, socketDirectory: sockets.path, preloadLibraries: [], control: control)
        let first = try await RecoveryServer.start(
            cluster, tools: tools, owner: owner, options: launch, sockets: sockets, meter: ProgressMeter())
        try await first.waitUntilReady()
        let (running, entrance) = try await Entrance.find(first, launch: launch, meter: ProgressMeter())
        let connection = try await Connection.open(entrance.endpoint, database: database, purpose: "test")
        let rows = try await connection.rows(statement, to: "look").map { $0.text(0) }
        connection.close()
        try await running.stop()
        return rows
    }
}

/// The log of a server as it lies in its directory, up to a moment.
struct StoredLog: WALLibrary {
    private(set) var files: [WALFile: String]
    let systemID: String
    /// What opening a segment of this number fails with.
    var broken: UInt64?
    /// When its end was stored.
    var stored: Timestamp?
    /// What becomes of the bytes of the segment of this number.
    var changed: (number: UInt64, change: @Sendable ([UInt8]) -> [UInt8])?
    static let segmentSize: UInt64 = 16 << 20

    /// All segments but the last, which is still being written.
    init(directory: String, systemID: String) throws {
        self.systemID = systemID
        var found: [WALFile: String] = [:]
        for name in try ClusterDirectory.names(in: directory).sorted() {
            guard let file = WALFile(name: name, segmentSize: Self.segmentSize) else { continue }
            found[file] = "\(directory)/\(name)"
        }
        let current = try Self.begun(found)
        files = found.filter { current[$0.key] ?? true }
    }

    /// Which segments hold the log that their names say, rather than an old one's that is to be used again; of those the
    /// last is left out.
    private static func begun(_ files: [WALFile: String]) throws -> [WALFile: Bool] {
        var good: [WALFile: Bool] = [:]
        var last: WALFile?
        for (file, path) in files.sorted(by: { $0.value < $1.value }) {
            guard case .segment(let segment) = file else { continue }
            let header = SegmentHeader(try contentsOfFile(path), segmentSize: segmentSize)
            good[file] = header?.begin == segment.begin
            if good[file] == true { last = file }
        }
        if let last { good[last] = false }
        return good
    }

    var segments: [WALSegment] {
        files.keys.compactMap { if case .segment(let segment) = $0 { segment } else { nil } }
            .sorted { ($0.timeline, $0.number) < ($1.timeline, $1.number) }
    }

    mutating func remove(_ segment: WALSegment) { files[.segment(segment)] = nil }

    mutating func add(_ other: StoredLog) { files.merge(other.files) { mine, _ in mine } }

    func ranges(of systemID: String) async throws -> [WALRange] {
        guard systemID == self.systemID else { return [] }
        var ranges: [WALRange] = []
        for segment in segments {
            if let last = ranges.last, last.timeline == segment.timeline, last.end == segment.begin {
                ranges[ranges.count - 1].end = segment.end
            } else {
                ranges.append(
                    WALRange(timeline: segment.timeline, begin: segment.begin, end: segment.end, stored: stored))
            }
        }
        return ranges
    }

    func open(_ file: WALFile, of systemID: String) async throws -> (any ByteSource)? {
        if case .segment(let segment) = file, segment.number == broken {
            throw JobFailure(.store, "read the log", object: segment.name, cause: "the store is away", hint: "wait")
        }
        guard systemID == self.systemID, let path = files[file] else { return nil }
        let bytes = try contentsOfFile(path)
        if case .segment(let segment) = file, let changed, changed.number == segment.number {
            return MemorySource(changed.change(bytes))
        }
        return MemorySource(bytes)
    }
}

/// A program that stands in for ours where a recovery asks for its log.
func withHandOver<Value>(_ body: ([String]) async throws -> Value) async throws -> Value {
    try await withScratchDirectory(mode: 0o755) { directory in
        let path = "\(directory)/hand-over"
        try writeFile(
            path,
            """
            import socket, struct, sys
            s = socket.socket(socket.AF_UNIX)
            s.connect(sys.argv[1])
            s.sendall(sys.argv[2].encode() + b"\\n")
            f = s.makefile("rb")
            kind = f.read(1)
            if kind == b"N":
                sys.exit(1)
            if kind != b"F":
                sys.exit(200)
            with open(sys.argv[3], "wb") as out:
                while True:
                    head = f.read(4)
                    if len(head) != 4:
                        sys.exit(200)
                    count = struct.unpack(">I", head)[0]
                    if count == 0:
                        break
                    piece = f.read(count)
                    if len(piece) != count:
                        sys.exit(200)
                    out.write(piece)
            """)
        chmod(path, 0o644)
        return try await body(["/usr/bin/python3", path])
    }
}

/// An empty directory of the user that PostgreSQL's programs are run as.
func withClusterDirectory<Value>(_ body: (String) async throws -> Value) async throws -> Value {
    try await withScratchDirectory(mode: 0o755) { parent in
        let path = "\(parent)/db"
        mkdir(path, 0o700)
        if geteuid() == 0 {
            guard let user = getpwnam("postgres") else { throw TestFailure("there is no user postgres") }
            chown(path, user.pointee.pw_uid, user.pointee.pw_gid)
        }
        return try await body(path)
    }
}

/// No file in `directory`, and no program at work there.
func expectNothingLeft(in directory: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
    let names = try ClusterDirectory.names(in: directory)
    #expect(names.isEmpty, sourceLocation: sourceLocation)
    let running = try processes(naming: directory)
    #expect(running.isEmpty, sourceLocation: sourceLocation)
}
