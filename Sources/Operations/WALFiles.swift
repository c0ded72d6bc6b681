package import Core
package import Sets
import WALArchive

/// `lifeboat wal push FILE`: what a server's archive_command hands over goes into the store. Safe to repeat.
package struct WALPush: Sendable {
    private let workplace: Workplace
    private let file: StoredFile
    private let control: StoredFile

    /// `file` as the server names it, in the directory that it is in; `control` is the cluster's `global/pg_control`,
    /// which says whose log it is.
    package init(_ file: StoredFile, control: StoredFile, at workplace: Workplace) {
        self.file = file
        self.control = control
        self.workplace = workplace
    }

    package func run(_ requestID: RequestID) async throws -> JobResult {
        try workplace.checkLogFormat()
        let meter = ProgressMeter(stage: "store the file of the log")
        return try await workplace.watching(meter) { try await push(requestID, meter) }
    }

    private func push(_ requestID: RequestID, _ meter: ProgressMeter) async throws -> JobResult {
        let systemID = try await ControlFile.systemID(in: control)
        guard let info = try await file.store.stat(file.name) else { throw ObjectNotFound(key: file.name) }
        let first = workplace.logArchive(in: workplace.store)
        let source = try await file.store.get(file.name, range: nil)
        let receipt = try await first.store(file: file.name, from: source, of: systemID, meter: meter)
        try await note(receipt, info, in: first, systemID)
        if let secondary = workplace.secondary {
            // The server asks again for what is not in both: nothing is lost by an error here.
            let second = workplace.logArchive(in: secondary)
            try await WALCopying(from: first, to: second).copy(receipt.key, meter: meter)
            try await note(receipt, info, in: second, systemID)
        }
        var result = JobResult(action: "wal", target: workplace.target, requestID: requestID)
        result.replayed = !receipt.isNew
        result.sourceBytes = receipt.isNew ? receipt.plainSize : 0
        result.storedBytes = receipt.storedSize
        if case .segment? = receipt.file { result.snapshotTime = info.modified }
        result.details = ["systemIdentifier": .string(systemID), "file": .string(file.name)]
        return result
    }

    private func note(
        _ receipt: WALReceipt, _ info: ObjectInfo, in archive: WALArchive, _ systemID: String
    ) async throws {
        guard case .segment(let segment)? = receipt.file, let end = receipt.end else { return }
        var advance = WALAdvance(timeline: segment.timeline, begin: segment.begin, end: end)
        advance.files = receipt.isNew ? 1 : 0
        advance.bytes = receipt.isNew ? receipt.plainSize : 0
        advance.storedBytes = receipt.storedSize
        // When the server wrote to it last: all before that is in it or in those before it.
        advance.coveredUntil = info.modified
        try await archive.note(
            advance, of: WALOrigin(systemID: systemID, segmentSize: segment.size), day: workplace.clock.now().day)
    }
}

/// `lifeboat wal fetch NAME PATH`: what a server's restore_command asks for comes out of the store.
package struct WALFetch: Sendable {
    /// What the server takes for "there is no such file": recovery goes on without it.
    package static let absentStatus: Int32 = 1
    /// What ends the server's recovery. Anything up to 125 would be taken for the log's end, and a damaged segment be
    /// where the recovered data stops, without a word ("restore_command" in the server's manual).
    package static let failureStatus: Int32 = 126

    private let workplace: Workplace
    private let name: String
    private let destination: StoredFile
    private let control: StoredFile?

    /// `destination` is the path asked for, in the directory that it is in. Without `control`, the cluster's
    /// `global/pg_control`, there has to be the log of one server only.
    package init(_ name: String, into destination: StoredFile, control: StoredFile?, at workplace: Workplace) {
        self.name = name
        self.destination = destination
        self.control = control
        self.workplace = workplace
    }

    /// False where nothing of that name is stored. The file appears whole or not at all. What the first store does not
    /// have, or has damaged, is taken from the second.
    package func run() async throws -> Bool {
        let meter = ProgressMeter(stage: "fetch the file of the log")
        return try await workplace.watching(meter) { try await fetch(meter) }
    }

    private func fetch(_ meter: ProgressMeter) async throws -> Bool {
        guard let systemID = try await systemID() else { return false }
        guard let source = try await workplace.storedLog.open(named: name, of: systemID) else { return false }
        _ = try await destination.store.put(destination.name, from: source, options: PutOptions())
        meter.beat()
        return true
    }

    private func systemID() async throws -> String? {
        if let control { return try await ControlFile.systemID(in: control) }
        let systems = try await workplace.storedLog.systems()
        guard systems.count <= 1 else {
            throw JobFailure(
                .configuration, "fetch the file of the log", object: name,
                cause: "the log of \(systems.count) servers is stored: \(systems.joined(separator: ", "))",
                hint: "run it in the data directory of the server that is recovered, as restore_command is")
        }
        return systems.first
    }
}

/// The part of a cluster's `global/pg_control` that says which cluster it is.
enum ControlFile {
    static func systemID(in file: StoredFile) async throws -> String {
        let bytes = try await file.store.read(file.name, limit: 1 << 20)
        // The identifier, then the version of the file's own form (ControlFileData in the server's
        // catalog/pg_control.h): 1300 in version 13, and growing.
        guard bytes.count >= 12 else { throw unreadable(file) }
        let systemID = bytes[0..<8].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        let version = bytes[8..<12].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        guard (1000..<10000).contains(version), systemID != 0 else { throw unreadable(file) }
        return String(systemID)
    }

    private static func unreadable(_ file: StoredFile) -> JobFailure {
        JobFailure(
            .source, "see which cluster this is", object: file.name,
            cause: "it is no control file of a PostgreSQL cluster",
            hint: "run this in the cluster's data directory, as archive_command and restore_command are")
    }
}
