/// Where a set is brought to life to be proven, and of which nothing is left afterwards.
package protocol ScratchPlace: Sendable {
    /// For people: `a PostgreSQL 15 server of its own under /work`.
    var label: String { get }

    /// Makes it ready for a set: a server is started, empty. Throws where that cannot be, before anything is left.
    func open(for manifest: Manifest, meter: ProgressMeter) async throws -> any Scratch
}

/// A scratch place in use.
package protocol Scratch: Sendable {
    /// A restore goes there as to any destination.
    var destination: any Engine { get }
    /// What else its server finds right or wrong in what was restored, as `pg_amcheck`; run after the comparison.
    func check(meter: ProgressMeter) async throws -> [String]
    /// Ends it and removes everything, whatever happened. Harmless twice.
    func close() async
}
