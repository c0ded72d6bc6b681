import Core
import Glibc
import Streams

/// A restore of a whole server's files into a directory that has passed every check which changes nothing.
struct PhysicalRestore: RestorePlan {
    let site: RecoverySite
    let request: RestoreRequest
    let base: PhysicalBase
    let roots: [String]
    let tools: ServerTools
    let owner: ClusterOwner?
    let summary: RestoreSummary

    var cluster: ClusterDirectory { ClusterDirectory(path: site.directory) }

    static func plan(_ site: RecoverySite, _ request: RestoreRequest) async throws -> any RestorePlan {
        guard let base = PhysicalBase(request.manifest),
            let major = request.manifest.details[PostgresCluster.Detail.major].flatMap({ Int($0) })
        else {
            throw PostgresError.configuration(
                "the set \(request.setKey)", "it is not a whole server's files",
                hint: "name a set that was made with BACKUP_METHOD=physical, or restore this one into a database")
        }
        try checkPath(site.directory)
        let roots = try archives(request.parts)
        let cluster = ClusterDirectory(path: site.directory)
        let wanted = marker(request)
        let standing = try await onThread("look") { try cluster.standing() }
        if case .ready(var found) = standing, request.requestID.isReplayable {
            found.time = nil
            if found == wanted { return FinishedPhysicalRestore(directory: site.directory, request: request) }
        }
        let tools = try await ServerTools.find(major: major, in: site.tools)
        var preflight = PhysicalPreflight(site: site, request: request, base: base, cluster: cluster)
        let owner = try await preflight.run(standing, tools)
        guard preflight.problems.isEmpty else {
            throw PostgresError.refused(preflight.problems, at: site.label)
        }
        return PhysicalRestore(
            site: site, request: request, base: base, roots: roots, tools: tools, owner: owner,
            summary: RestoreSummary(
                replaces: nil, alreadyDone: false, neededBytes: preflight.neededBytes,
                freeBytes: preflight.freeBytes, notes: preflight.notes))
    }

    private static func checkPath(_ path: String) throws(PostgresError) {
        let pieces = path.split(separator: "/", omittingEmptySubsequences: false)
        guard path.hasPrefix("/"), pieces.count > 1,
            !pieces.dropFirst().contains(where: { ["", ".", ".."].contains($0) })
        else {
            throw .configuration(
                path, "it is not the absolute path of a directory",
                hint: "set RESTORE_DIRECTORY to one, as /restore/db")
        }
    }

    /// The roots of the archives that the set has.
    private static func archives(_ parts: any PartOpener) throws(PostgresError) -> [String] {
        let present = Set(parts.partNames)
        for name in [ClusterArchive.part(of: ClusterArchive.base), ClusterArchive.manifest]
        where !present.contains(name) {
            throw .damagedCluster(name, "the set has no such part")
        }
        return parts.partNames.compactMap { ClusterArchive.root(ofPart: $0) }
    }

    static func marker(_ request: RestoreRequest) -> ClusterMarker {
        ClusterMarker(
            requestID: request.requestID.description, setKey: request.setKey.description,
            target: request.recovery?.target.label ?? "the end of the base backup")
    }

    func stage() async throws -> any StagedRestore {
        try await failedRestore {
            let staged = PhysicalStagedRestore(self, lock: try await take())
            do {
                try await ClusterUnpacking(cluster: cluster, owner: owner, roots: roots)
                    .run(request.parts, meter: request.meter)
                return staged
            } catch {
                try await uncancelled { try await staged.discard() }
                throw error
            }
        }
    }

    /// Takes the directory and marks it as this restore's. What is not ours there is left alone.
    private func take() async throws -> ClusterLock {
        let (cluster, owner, site, marker) = (cluster, owner, site, Self.marker(request))
        return try await onThread("take") {
            let lock = try cluster.lock(owner: owner)
            switch try cluster.standing() {
            case .absent, .empty: break
            case .unfinished: try cluster.clear(keepingLock: true)
            case .ready, .foreign:
                try cluster.removeLock()
                throw PostgresError.refused(["something has come to stand there meanwhile"], at: site.label)
            }
            try cluster.write(marker)
            return lock
        }
    }
}

/// A cluster that is unpacked but not yet brought to life.
private final class PhysicalStagedRestore: StagedRestore {
    private let plan: PhysicalRestore
    private let lock: ClusterLock
    private let isFinished = Guarded(false)

    init(_ plan: PhysicalRestore, lock: ClusterLock) {
        self.plan = plan
        self.lock = lock
    }

    func inspect() async throws -> Contents {
        try await failedRestore {
            let manifest = try await StagedInspection.manifest(of: plan.request.parts)
            return try await StagedInspection(
                cluster: plan.cluster, manifest: manifest, roots: plan.roots, base: plan.base
            ).run(meter: plan.request.meter)
        }
    }

    /// Recovers, shuts down, and leaves the directory ready to be started.
    func promote(_ request: PromotionRequest) async throws -> Promotion {
        try await failedRestore {
            let outcome = try await ClusterRecovery(
                site: plan.site, cluster: plan.cluster, owner: plan.owner, tools: plan.tools, base: plan.base,
                recovery: plan.request.recovery, meter: request.meter
            ).run()
            let cluster = plan.cluster
            var marker = PhysicalRestore.marker(plan.request)
            marker.time = request.marker.time
            try await onThread("sync") { [marker] in
                try cluster.sync()
                try cluster.write(marker)
                try cluster.removeLock()
            }
            isFinished.withLock { $0 = true }
            return Promotion(
                time: request.marker.time, replacedName: nil,
                notes: plan.summary.notes + outcome.notes,
                recovered: plan.request.recovery == nil ? nil : outcome.point, startable: cluster.data)
        }
    }

    func discard() async throws {
        guard !isFinished.value else { return }
        try await onThread("discard") { [plan, lock] in
            try plan.cluster.clear(keepingLock: false)
            if lock.madeDirectory { try plan.cluster.removeItself() }
        }
    }
}

/// A restore that was finished by an earlier run of the same request.
private struct FinishedPhysicalRestore: RestorePlan {
    let directory: String
    let request: RestoreRequest

    var summary: RestoreSummary {
        RestoreSummary(
            replaces: nil, alreadyDone: true, neededBytes: request.manifest.sourceSize, freeBytes: nil,
            notes: ["the directory \(directory) holds this very restore already"])
    }

    func stage() async throws -> any StagedRestore {
        throw PostgresError.refused(["this request has been carried out already"], at: "the directory \(directory)")
    }
}

extension RecoveryTarget {
    /// For people, and to be known again: `2026-01-02 03:04:05.000000+00, inclusive`.
    var label: String {
        let place =
            switch point {
            case .time(let microseconds): "time \(ServerLaunch.text(microseconds: microseconds))"
            case .transaction(let identifier): "transaction \(identifier)"
            case .lsn(let lsn): "place \(lsn)"
            case .name(let name): "restore point \(name)"
            case .latest: "the end of what is stored"
            }
        return place + (isInclusive ? "" : ", exclusive") + (timeline.map { ", timeline \($0)" } ?? "")
    }
}
