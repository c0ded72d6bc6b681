package import Core
import FilesEngine
import Glibc
import Streams

extension AuditRecordsEngine {
    /// A restore makes a directory with the set's records in a file. It replaces nothing: records go back into a trail
    /// by hand, for an audit trail is not overwritten.
    package func plan(_ request: RestoreRequest) async throws -> any RestorePlan {
        guard let location = settings.restoreDirectory else {
            throw AuditRecordsError.refused(
                "records are restored into a directory, and none was named", at: request.setKey.description,
                hint: "name one that does not exist yet in targetDatabase, as an absolute path")
        }
        let key = request.setKey
        let facts: TrailFacts
        do throws(TrailFacts.Problem) {
            facts = try TrailFacts(request.manifest)
        } catch {
            throw AuditRecordsError.damaged(key, error.text)
        }
        let (parts, meter) = (request.parts, request.meter)
        let directory = FilledDirectory(
            location: location, size: request.manifest.plainSize,
            fill: { path in
                let source = MeteredSource(try await parts.open(Self.partName), meter: meter)
                try await write(source, to: path)
            }, read: { path in try await read(path, of: key, after: facts.after) })
        let plan = try await directory.plan(
            request, random: random,
            notes: [
                "the directory will hold \(counted(facts.count, "record")), from id \(facts.start) to \(facts.end)"
            ])
        guard plan.summary.replaces == nil || plan.summary.alreadyDone else {
            throw AuditRecordsError.refused(
                "something stands there already", at: location, hint: "name a directory that does not exist yet")
        }
        return plan
    }

    private func write(_ source: any ByteSource, to path: String) async throws {
        guard mkdir(path, S_IRWXU) == 0 else { throw RecordsFile.failure("make the directory", path, errno) }
        let file = try RecordsFile(creating: "\(path)/\(Self.partName)")
        try await pull(source, named: "restore") { chunk in try file.write(chunk) }
        try await onThread("sync") { try file.sync() }
    }

    private func read(_ path: String, of key: BackupKey, after: RecordID?) async throws -> Contents {
        let file = try RecordsFile(reading: "\(path)/\(Self.partName)")
        let trail = Guarded(
            TrailReader(
                idMember: settings.idMember, isContiguous: settings.idsAreContiguous, after: after,
                place: key.description))
        try await pull(file, named: "inspect") { chunk in try trail.withLock { try $0.read(chunk.bytes) } }
        guard let summary = try trail.value.finish() else {
            throw AuditRecordsError.damaged(key, "it holds no record")
        }
        return summary.contents
    }
}

/// The restored file, written and read by one thread at a time.
private final class RecordsFile: ByteSource {
    private let path: String
    private let number: Int32
    private let isCancelled = Guarded(false)

    init(creating path: String) throws {
        self.path = path
        number = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR)
        guard number >= 0 else { throw Self.failure("make the file", path, errno) }
    }

    init(reading path: String) throws {
        self.path = path
        number = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard number >= 0 else { throw Self.failure("read the file", path, errno) }
    }

    deinit { if number >= 0 { close(number) } }

    func write(_ chunk: Chunk) throws {
        var rest = chunk.bytes
        while !rest.isEmpty {
            let count = Glibc.write(number, rest.baseAddress, rest.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw Self.failure("write the file", path, errno) }
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
        }
    }

    func sync() throws {
        guard fsync(number) == 0 else { throw Self.failure("write the file", path, errno) }
    }

    func next() throws -> Chunk? {
        guard !isCancelled.value else { throw CancellationError() }
        let chunk = Chunk()
        let count = try chunk.append { room in
            while true {
                let count = Glibc.read(number, room.baseAddress, room.count)
                if count >= 0 { return count }
                if errno != EINTR { throw Self.failure("read the file", path, errno) }
            }
        }
        return count > 0 ? chunk : nil
    }

    func cancel() { isCancelled.withLock { $0 = true } }

    static func failure(_ operation: String, _ path: String, _ code: Int32) -> AuditRecordsError {
        AuditRecordsError(
            .unreadable, exitCode: .restoreFailedOriginalIntact, operation, object: path,
            cause: "\(String(cString: strerror(code))) (error \(code))",
            hint: "check the disk and who may write there, then run again")
    }
}
