import Core
import Glibc
import Streams

/// Brings an unpacked cluster to its target: a server follows the log, is looked over, and shut down.
struct ClusterRecovery: Sendable {
    let site: RecoverySite
    let cluster: ClusterDirectory
    let owner: ClusterOwner?
    let tools: ServerTools
    let base: PhysicalBase
    /// `nil` ends where the base backup is consistent.
    let recovery: Recovery?
    let meter: ProgressMeter

    struct Outcome: Sendable {
        var point: RecoveredPoint
        var notes: [String]
    }

    func run() async throws -> Outcome {
        try await onThread("prepare") { try prepare() }
        let control = try await ControlData.read(cluster.data, tools: tools, owner: owner)
        guard control.systemIdentifier == base.systemID else {
            throw PostgresError.damagedCluster(
                ClusterArchive.part(of: ClusterArchive.base),
                "it is of the server \(control.systemIdentifier), and the manifest is of \(base.systemID)")
        }
        var notes = try await configuredLibraries()
        let stored = try await storedBefore()
        let sockets = try SocketDirectory(in: site.temporaryDirectory, owner: owner)
        let handOver = try listen(in: sockets)
        do {
            let launch = ServerLaunch(
                purpose: .recover(recovery?.target, restoreCommand: restoreCommand(handOver)),
                socketDirectory: sockets.path, preloadLibraries: site.preloadLibraries, control: control)
            let (findings, isToEnd) = try await followToTarget(launch, sockets, stored, &notes)
            await handOver?.close()
            let point = try await onThread("recovered") {
                try tidy()
                return try self.point(findings, stored: isToEnd ? stored : [])
            }
            return Outcome(point: point, notes: notes)
        } catch {
            // What the log failed with is why the server gave up. Looked at before what is being given is broken off.
            let cause = handOver?.failure
            await uncancelled { if let handOver { await handOver.close() } }
            if let cause { throw cause }
            throw await explained(error)
        }
    }

    /// What the backup brought along for a recovery of its own, and what asks the server for one.
    private func prepare() throws(PostgresError) {
        // The links to the tablespaces are made; a standby's signal would have the server wait for ever.
        for name in ["tablespace_map", "standby.signal", "postmaster.pid"] {
            guard unlink("\(cluster.data)/\(name)") == 0 || errno == ENOENT else {
                throw .directory("prepare the recovery", name, error: errno)
            }
        }
        try ClusterDirectory.write([], to: "\(cluster.data)/recovery.signal", mode: 0o600, owner: owner)
    }

    /// `nil` where nothing is to be followed.
    private func listen(in sockets: SocketDirectory) throws -> WALHandOver? {
        guard let recovery else { return nil }
        return try WALHandOver(
            recovery.log, systemID: base.systemID, segmentSize: base.segmentSize,
            held: WALRange(timeline: base.timeline, begin: base.start, end: base.end), in: sockets, meter: meter)
    }

    /// What our server leaves: with its command line a `pg_ctl restart` would start the cluster with our settings.
    private func tidy() throws(PostgresError) {
        for name in ["postmaster.opts", "backup_label.old"] {
            guard unlink("\(cluster.data)/\(name)") == 0 || errno == ENOENT else {
                throw .directory("tidy the directory", name, error: errno)
            }
        }
    }

    private func restoreCommand(_ handOver: WALHandOver?) -> String {
        // Nothing is stored that could be asked for: what the base brought along is in place.
        guard let handOver else { return "exit 1" }
        let words = (site.handOver + [handOver.socketPath]).map(ServerLaunch.shellWord).joined(separator: " ")
        return "exec \(words) \"%f\" \"%p\""
    }

    /// Whether the end of the log was the target comes with what was found.
    ///
    /// A server has reached a time only where something was committed after it. Where nothing was, and the log was stored
    /// well after that time, its end is what was there at that time.
    private func followToTarget(
        _ launch: ServerLaunch, _ sockets: SocketDirectory, _ stored: [WALRange], _ notes: inout [String]
    ) async throws -> (RecoveryLog.Findings, isToEnd: Bool) {
        do {
            return (try await follow(launch, sockets, &notes), recovery?.target.point == .latest)
        } catch let error as PostgresError
            where error.kind == .recovery && error.cause.hasPrefix(RecoveryLog.endsBeforeTarget.cause)
        {
            guard case .recover(let target?, let command) = launch.purpose,
                case .time(let microseconds) = target.point,
                let covered = Self.covered(target.timeline, stored),
                covered.milliseconds - Self.clockDifference >= microseconds / 1000
            else { throw error }
            var toEnd = launch
            toEnd.purpose = .recover(RecoveryTarget(.latest, timeline: target.timeline), restoreCommand: command)
            let findings = try await follow(toEnd, sockets, &notes)
            notes.append(
                "nothing was committed after \(ServerLaunch.text(microseconds: microseconds)) before the log's end was "
                    + "stored at \(covered): it was followed to its end")
            return (findings, true)
        }
    }

    /// Milliseconds that the clocks of a server and of a store may be apart.
    private static let clockDifference: Int64 = 60_000

    /// When the end of a timeline's log was stored, of the newest where none is named.
    private static func covered(_ timeline: UInt32?, _ stored: [WALRange]) -> Timestamp? {
        guard let followed = timeline ?? stored.map(\.timeline).max() else { return nil }
        return stored.filter { $0.timeline == followed }.max { $0.end < $1.end }?.stored
    }

    /// Runs the server to the target, looks it over, and shuts it down.
    private func follow(
        _ launch: ServerLaunch, _ sockets: SocketDirectory, _ notes: inout [String]
    ) async throws -> RecoveryLog.Findings {
        let server = try await RecoveryServer.start(
            cluster, tools: tools, owner: owner, options: launch, sockets: sockets, meter: meter)
        do {
            try await server.waitUntilReady()
            let checked = try await ServerCheck.run(server, launch: launch, systemID: base.systemID, meter: meter)
            notes += checked.notes
            try await checked.server.stop()
            // Only now all that the server wrote has been read.
            return server.log.findings
        } catch {
            await uncancelled { await server.kill() }
            throw error
        }
    }

    // MARK: What came of it

    /// The last line of the new timeline's history says where it left the old one: the end of what was replayed.
    private func point(_ findings: RecoveryLog.Findings, stored: [WALRange]) throws(PostgresError) -> RecoveredPoint {
        guard let timeline = findings.timeline else { throw unknownEnd }
        let name = WALFile.history(timeline: timeline).description
        let text = String(decoding: try cluster.contents(of: "\(cluster.data)/pg_wal/\(name)"), as: UTF8.self)
        guard let last = text.split(separator: "\n").last(where: { $0.first?.isNumber == true }) else {
            throw unknownEnd
        }
        let fields = last.split(separator: "\t")
        guard fields.count > 1, let followed = UInt32(fields[0]), let lsn = LSN(String(fields[1])) else {
            throw unknownEnd
        }
        try checkEnd(lsn, of: followed, stored)
        return RecoveredPoint(timeline: timeline, lsn: lsn, lastCommit: findings.lastCommit)
    }

    /// What was stored when the recovery began.
    private func storedBefore() async throws -> [WALRange] {
        guard let recovery else { return [] }
        return try await recovery.log.ranges(of: base.systemID)
    }

    /// A server takes a record that it cannot read for the end of the log, and would be ready with less than there is.
    /// Whole segments are read into the last; one that is stored in part may end within a record that began before it.
    private func checkEnd(_ lsn: LSN, of timeline: UInt32, _ stored: [WALRange]) throws(PostgresError) {
        guard let end = stored.filter({ $0.timeline == timeline && $0.end > base.end }).map(\.end).max() else {
            return
        }
        let last = (end.value - 1) / base.segmentSize
        let least = end.value % base.segmentSize == 0 ? last : last - min(1, last)
        guard lsn.value >= least * base.segmentSize else {
            throw .recovery(
                "the log is stored to \(end), and the server could read it to \(lsn) only: a record there is damaged, and "
                    + "was when the log was stored",
                hint: "take \(lsn) for the target, or a base backup from after it", on: cluster.path)
        }
    }

    private var unknownEnd: PostgresError {
        .recovery(
            "the server does not say where its recovery ended", hint: "recover to another target, or by hand",
            on: cluster.path)
    }

    /// A target that cannot be reached is answered with what can.
    private func explained(_ error: any Error) async -> any Error {
        guard var failure = error as? PostgresError, failure.kind == .recovery, let recovery else { return error }
        // What the server gave up with is the answer, whether or not the store can be asked for more.
        guard case .success(let ranges) = await Result({ try await recovery.log.ranges(of: base.systemID) }),
            let end = ranges.map(\.end).max()
        else { return error }
        failure.hint += "; possible is from \(base.end) (\(base.endTime)) to \(end)"
        return failure
    }

    /// What the cluster loads where it comes from: a server without it may lack functions, and some begin to work on
    /// their own, so it is loaded only where the site says so.
    private func configuredLibraries() async throws -> [String] {
        guard access("\(cluster.data)/postgresql.conf", F_OK) == 0 else {
            return ["the set has no postgresql.conf: the server kept it elsewhere, and needs it again to be started"]
        }
        let (ending, lines) = try await ServerProcess.run(
            tools.command(
                "postgres", ["-D", cluster.data, "-C", "shared_preload_libraries"], in: cluster.data, owner: owner))
        guard ending == .exited(0), let line = lines.last else {
            return ["the cluster's own settings could not be read: see them before you start it"]
        }
        let libraries = line.split(separator: ",").map { $0.drop { $0 == " " }.description }
            .filter { !site.preloadLibraries.contains($0) }
        guard !libraries.isEmpty else { return [] }
        let missing = libraries.filter { !tools.hasLibrary($0) }
        return [
            "recovered without libraries that the cluster is set to load: \(libraries.joined(separator: ", ")); name in "
                + "POSTGRES_PRELOAD_LIBRARIES what it cannot do without"
                + (missing.isEmpty ? "" : "; not here at all: \(missing.joined(separator: ", "))")
        ]
    }
}

extension ServerTools {
    /// Whether the server would find a library of this name.
    func hasLibrary(_ name: String) -> Bool {
        let plain = name.hasPrefix("$libdir/") ? String(name.dropFirst("$libdir/".utf8.count)) : name
        // Debian's and Red Hat's layout of a version of its own, and that of a server built into one place.
        let paths =
            plain.hasPrefix("/") ? [plain] : ["lib", "lib/postgresql"].map { "\(directory)/../\($0)/\(plain)" }
        return paths.contains { access($0, F_OK) == 0 || access("\($0).so", F_OK) == 0 }
    }
}
