package import Core
import Glibc

/// Files of JSON lines that rotate, read as one trail: the ids of their first records say in which order they belong
/// together, whatever rotation calls them. A file that ends in `.gz` is unpacked; one that is being packed, and so there
/// twice, is read as it was.
///
/// A last line without its newline is still being written, and waits.
package struct FileRecords: RecordTable {
    /// Files that may hold records of one set: they are kept open while it is made.
    static let mostFiles = 800

    let pattern: String
    private let member: [UInt8]

    /// `pattern` is an absolute path with `*`, `?` and `[…]` as a shell reads them: `/var/log/audit/audit.jsonl*`.
    package init(pattern: String, idMember: String) {
        self.pattern = pattern
        member = Array(idMember.utf8)
    }

    package var label: String { "files \(pattern)" }
    package var onlyGrowsAtItsEnd: Bool { true }

    package func waiting(after id: RecordID?) async throws -> WaitingRecords {
        let lines = FileLines(try await files(after: id), after: id, through: nil, idMember: member, label: label)
        return try await withTaskCancellationHandler {
            try await onThread("count") {
                // Only counted: order and joints are looked at when they are stored.
                while try lines.next() != nil {}
                return WaitingRecords(count: lines.count, last: lines.count > 0 ? lines.last : nil)
            }
        } onCancel: {
            lines.cancel()
        }
    }

    package func records(after: RecordID?, through: RecordID) async throws -> any ByteSource {
        FileLines(try await files(after: after), after: after, through: through, idMember: member, label: label)
    }

    private func files(after id: RecordID?) async throws -> [RecordFile] {
        try await onThread("list") { try open(try matches(), after: id) }
    }

    /// Of those that match, the one with the record after `id` and all that follow it, in the order of their ids.
    @Sendable
    private func open(_ paths: [String], after id: RecordID?) throws -> [RecordFile] {
        guard !paths.isEmpty else { throw AuditRecordsError.noFiles(pattern) }
        var needed: [RecordFile] = []
        var skipped: RecordFile?
        for path in paths {
            guard let file = try RecordFile.open(path, idMember: member) else { continue }
            if let other = needed.first, !other.first.isOfKind(of: file.first) {
                throw AuditRecordsError.otherKind(file.first, after: other.first, in: path)
            }
            needed.append(file)
            needed.sort { $0.first < $1.first }
            // Of the files that begin before it, only the last can hold what comes after.
            while let id, needed.count > 1, needed[1].first <= id {
                let gone = needed.removeFirst()
                if gone.modified > skipped?.modified ?? .min { skipped = gone }
            }
            guard needed.count <= Self.mostFiles else { throw AuditRecordsError.tooManyFiles(pattern) }
        }
        for (file, next) in zip(needed, needed.dropFirst()) where file.first == next.first {
            throw AuditRecordsError.sameBeginning(file.first, file.path, next.path)
        }
        // Ids that begin anew would otherwise be taken for stored ones.
        if let skipped, let first = needed.first, skipped.modified > first.modified {
            throw AuditRecordsError.writtenAgain(skipped.path, skipped.first, newest: first.first)
        }
        return needed
    }

    private func matches() throws -> [String] {
        var found = glob_t()
        defer { globfree(&found) }
        let status = glob(pattern, GLOB_ERR | GLOB_NOSORT, nil, &found)
        guard status == 0 || status == GLOB_NOMATCH else {
            throw AuditRecordsError.unreadable(pattern, errno)
        }
        guard status == 0, let names = found.gl_pathv else { return [] }
        let paths = (0..<Int(found.gl_pathc)).compactMap { names[$0].map { String(cString: $0) } }
        let all = Set(paths)
        return paths.filter { !($0.hasSuffix(".gz") && all.contains(String($0.dropLast(3)))) }
    }
}

extension AuditRecordsError {
    static func noFiles(_ pattern: String) -> AuditRecordsError {
        AuditRecordsError(
            .unreadable, "read the audit records", object: pattern, cause: "no file matches",
            hint: "check AUDIT_SOURCE, and that the directory is mounted")
    }

    static func tooManyFiles(_ pattern: String) -> AuditRecordsError {
        AuditRecordsError(
            .unreadable, "read the audit records", object: pattern,
            cause: "more than \(FileRecords.mostFiles) files hold records that are not stored yet",
            hint: "join the oldest into one file ('cat', in the order of their ids), and run again")
    }

    static func sameBeginning(_ id: RecordID, _ path: String, _ other: String) -> AuditRecordsError {
        AuditRecordsError(
            .overlap, "read the audit records", object: path,
            cause: "it begins with id \(id), as \(other) does",
            hint: "where a rotation is under way, run again; else move the copy away")
    }

    static func writtenAgain(_ path: String, _ id: RecordID, newest: RecordID) -> AuditRecordsError {
        AuditRecordsError(
            .disorder, "read the audit records", object: path,
            cause: "it begins with id \(id) and was written to after the file that begins with id \(newest)",
            hint: "ids must not begin anew; where the file was only copied, give it back its time ('touch -d')")
    }
}
