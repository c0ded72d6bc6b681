package import Core

/// Where audit records come from, and when they are stored. The settings behind it: `AUDIT_SOURCE`, `AUDIT_TABLE`,
/// `AUDIT_ID`, `AUDIT_IDS`, `AUDIT_BATCH_MINUTES`, `AUDIT_BATCH_RECORDS`.
package struct AuditRecordsSettings: Sendable {
    package enum Source: Sendable {
        /// A table or collection of a database, or files (``FileRecords``): a set holds what came since the last.
        case table(any RecordTable)
        /// The event's own records, each event a set.
        case event
    }

    package var source: Source
    /// The member of each record that holds its id.
    package var idMember: String
    /// Every id is the one before it plus one, so that a missing one is an error.
    package var idsAreContiguous: Bool
    /// Seconds since the last set after which what waits is stored.
    package var batchSeconds: Int64
    /// Records that are stored as soon as so many wait.
    package var batchRecords: Int64
    /// The directory that a restore makes: an absolute path; `nil` where none was named.
    package var restoreDirectory: String?

    package init(
        source: Source, idMember: String = "id", idsAreContiguous: Bool = false, batchSeconds: Int64 = 3600,
        batchRecords: Int64 = 10_000, restoreDirectory: String? = nil
    ) {
        self.source = source
        self.idMember = idMember
        self.idsAreContiguous = idsAreContiguous
        self.batchSeconds = batchSeconds
        self.batchRecords = batchRecords
        self.restoreDirectory = restoreDirectory
    }
}
