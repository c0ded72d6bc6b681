/// When the bodies of sets of audit records move on: a trail is read in its first weeks, looked up for a while, and then
/// only kept, for as long as the law wants.
package struct AuditStages: Hashable, Sendable {
    /// Days in the class that they were written in (`AUDIT_ACTIVE_DAYS`); then they go where they cost less and are read
    /// at once all the same.
    package var active: Int
    /// Days, more than ``active``, after which they go into the archive (`AUDIT_ARCHIVE_DAYS`), where they have to be
    /// thawed.
    package var archive: Int

    package init(active: Int = 90, archive: Int = 365) {
        self.active = active
        self.archive = archive
    }

    /// How long sets of audit records are kept where nothing else is configured.
    package static let legalTerm = RetentionPeriod.days(7 * 365)
}
