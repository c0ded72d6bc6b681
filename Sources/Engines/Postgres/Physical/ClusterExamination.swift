import Core
import Streams

/// Reads the archives of a set as a restore would, without a server, and checks them against the manifest in it.
struct ClusterExamination {
    private let parts: any PartOpener
    private let meter: ProgressMeter
    private let base: PhysicalBase
    private let roots: [String]

    /// Throws where the set is no server's files.
    init(_ request: ExamineRequest) throws {
        guard let base = PhysicalBase(request.manifest),
            let tablespaces = request.manifest.details[PostgresCluster.Detail.tablespaces]
        else {
            throw PostgresError.configuration(
                "the set \(request.manifest.key)", "it is not a whole server's files",
                hint: "BACKUP_METHOD=physical reads sets that were made so; a database's dump needs logical")
        }
        self.base = base
        roots = tablespaces.split(separator: ",").map(String.init) + [ClusterArchive.base]
        parts = request.parts
        meter = request.meter
    }

    /// Every file is there, complete, and as the server's manifest says; so is the log that belongs to it.
    func run() async throws -> Contents {
        let present = Set(parts.partNames)
        for name in roots.map(ClusterArchive.part) + [ClusterArchive.manifest] where !present.contains(name) {
            throw PostgresError.damagedPart(name, "the set has no such part")
        }
        let inspection = ClusterInspection(segmentSize: base.segmentSize, failure: \.ofSet)
        for root in roots {
            let source = MeteredSource(try await parts.open(ClusterArchive.part(of: root)), meter: meter)
            try await drain(try inspection.archive(source, root: root))
        }
        let manifest = MeteredSource(try await parts.open(ClusterArchive.manifest), meter: meter)
        try await drain(try inspection.manifest(manifest))
        let (roots, systemID) = (roots, base.systemID)
        return try await onThread("compare") { try inspection.finish(roots: roots, systemID: systemID) }
    }
}
