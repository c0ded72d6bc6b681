import Core
import Streams

/// Feeds the archive of a set to mongorestore, and believes it only when it says that every document is in.
struct ArchiveLoad {
    let engine: MongoDatabase
    let tool: MongoTool
    let parts: any PartOpener
    /// What the set says that it holds.
    let contents: Contents
    /// The databases of the archive that are restored, and the names they get.
    let names: [String: String]
    let drop: Bool
    let meter: ProgressMeter

    private var object: String { engine.endpoint.label }

    /// Each piece is read by us before the tool gets it, and the end only reaches the tool when the archive has turned
    /// out to hold what the set says; until then it would be killed.
    func run() async throws -> ArchiveContents {
        let opened = try await parts.open(MongoDatabase.PartName.archive)
        let vetted = VettedArchive(
            try PrefetchedSource(opened, depth: 4, name: "open"), expected: contents)
        let application = "lifeboat load \(Naming.staging(for: "", requestID: names.values.sorted().joined()))"
        let commands = try MongoCommands(endpoint: engine.endpoint, timing: engine.timing, application: application)
        let heartbeat = MongoHeartbeat(
            engine.endpoint, application: application, tool: tool.name, databases: Array(names.values), meter: meter,
            timing: engine.timing)
        let command = commands.restore(tool, names: names, drop: drop)
        let words: [UInt8]
        do {
            words = try await feedChild(command, from: vetted, meter: meter)
            await heartbeat.stop()
        } catch let failure as ChildFailure {
            await heartbeat.stop()
            throw MongoError.load(failure, on: object)
        } catch {
            await heartbeat.stop()
            throw error
        }
        withExtendedLifetime(commands) {}
        let found = try vetted.found()
        try check(words, found)
        return found
    }

    /// Exit status 0 alone means nothing: documents may have failed.
    private func check(_ words: [UInt8], _ found: ArchiveContents) throws {
        let expected = found.documents(of: names.keys)
        guard let summary = LoadSummary(words) else {
            throw unfinished("it does not say how many documents it restored")
        }
        guard summary.failed == 0 else {
            throw unfinished("\(summary.failed) of \(expected) documents failed to restore")
        }
        guard summary.restored == expected else {
            throw unfinished("it restored \(summary.restored) of \(expected) documents")
        }
    }

    private func unfinished(_ cause: String) -> MongoError {
        MongoError(
            .load, exitCode: .restoreFailedOriginalIntact, "load the archive", object: object,
            cause: "mongorestore ended as if all were well, but \(cause)",
            hint: "see the server's log for what it refused, then run again")
    }
}

/// An archive on its way to mongorestore, read by us first.
final class VettedArchive: ByteSource {
    private let base: any ByteSource
    private let expected: Contents
    private let reader = SharedArchiveReader()

    init(_ base: any ByteSource, expected: Contents) {
        self.base = base
        self.expected = expected
    }

    /// Throws, before the tool sees it, at what no archive contains; and at the end where the archive does not hold what
    /// the set says.
    func next() throws -> Chunk? {
        do {
            if let chunk = try base.next() {
                try reader.read(chunk)
                return chunk
            }
            let comparison = ContentsComparison(recorded: expected, found: try reader.finish().contents)
            guard comparison.isEqual else {
                throw ArchiveError(
                    "it does not hold what the set says: \(comparison.failures.prefix(3).joined(separator: "; "))")
            }
            return nil
        } catch let error as ArchiveError {
            throw MongoError.damagedPart(MongoDatabase.PartName.archive, error.description)
        }
    }

    func cancel() { base.cancel() }

    /// What was in it, once it has been read to its end.
    func found() throws -> ArchiveContents { try reader.finish() }
}
