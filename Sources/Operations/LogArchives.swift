package import Core
import Logging
import Sets
import WALArchive

extension Workplace {
    /// The target's log in `store`.
    func logArchive(in store: any Store) -> WALArchive {
        WALArchive(
            store,
            WALArchiveConfiguration(
                target: target, recipients: writer.recipients, optionalRecipients: writer.optionalRecipients,
                identities: reader.identities,
                compressionLevel: writer.compression.algorithm == .zstd
                    ? writer.compression.level : Compression.standard.level,
                pace: writer.rateLimit.map { .init(bytesPerSecond: $0, clock: writer.clock) },
                random: random))
    }

    /// What a recovery reads: the log in both stores, where there are two.
    package var recoveryLog: any WALLibrary { storedLog }

    var storedLog: WALReserve {
        WALReserve([store, secondary].compactMap { $0 }.map { logArchive(in: $0) }) { [logger] file, error in
            let why = (error as? any Failure)?.cause ?? "\(type(of: error))"
            logger.warning("the second store gives the file", metadata: ["file": "\(file)", "why": "\(why)"])
        }
    }

    /// The log is stored as messages alone: files of another form would not show what they are without a key.
    func checkLogFormat() throws {
        guard writer.cipher == nil else {
            throw JobFailure(
                .configuration, "store the server's log", object: target,
                cause: "this target's backups are stored as OpenPGP, and a log only as messages of the other format",
                hint: "give the log a target of its own with recipients that are no GPG keys")
        }
    }

    /// What of a base backup a log goes on from; `nil` for any other set.
    static func base(of manifest: Manifest) -> WALBase? {
        let details = manifest.details
        guard let systemID = details[PhysicalBase.Detail.systemID],
            let timeline = details[PhysicalBase.Detail.timeline].flatMap({ UInt32($0) }),
            let start = details[PhysicalBase.Detail.start].flatMap({ LSN($0) })
        else { return nil }
        return WALBase(
            systemID: systemID, timeline: timeline, start: start,
            segmentSize: details[PhysicalBase.Detail.segmentSize].flatMap { UInt64($0) })
    }
}
