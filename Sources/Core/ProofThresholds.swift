/// What a proof by restore has to reach. Nothing but equal contents is ever proven: a lower bound tells a set that has
/// failed from one that a person has to look at.
package struct ProofThresholds: Equatable, Sendable {
    /// Per cent of the compared objects that have to match; fewer fail the set.
    package var integrity: Int
    /// Per cent of the set's objects that have to be there in the restored copy; fewer fail the set.
    package var accessibility: Int
    /// Seconds that the restore may take; `nil` for as long as it needs.
    package var seconds: Int?
    /// Bytes per second, before compression, that it has to reach; `nil` for any.
    package var bytesPerSecond: Int64?

    package init(integrity: Int = 100, accessibility: Int = 100, seconds: Int? = nil, bytesPerSecond: Int64? = nil) {
        self.integrity = integrity
        self.accessibility = accessibility
        self.seconds = seconds
        self.bytesPerSecond = bytesPerSecond
    }
}
