import Core
import Streams

/// Reads the archive of a set as a restore would, without a server.
struct Examination {
    let parts: any PartOpener
    let meter: ProgressMeter

    /// What is in it. Throws unless it is there and complete.
    func run() async throws -> ArchiveContents {
        try checkNames()
        let name = MongoDatabase.PartName.archive
        let source = MeteredSource(try await parts.open(name), meter: meter)
        let reader = SharedArchiveReader()
        do {
            try await drain(try ObservedSource(source, name: "contents") { try reader.read($0) })
            return try reader.finish()
        } catch let error as ArchiveError {
            throw MongoError.damagedPart(name, error.description)
        }
    }

    func checkNames() throws {
        let name = MongoDatabase.PartName.archive
        guard parts.partNames.contains(name) else {
            throw MongoError.damagedPart(name, "the set has no such part")
        }
    }
}
