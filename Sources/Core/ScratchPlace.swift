/// Where a set is brought to life to be proven, and of which nothing is left afterwards.
package protocol ScratchPlace: Sendable {
    /// For people: `a PostgreSQL 15 server of its own under /work`.
    var label: String { get }
    /// One set at a time can stand there, under a name that is always the same: another run would clear it away.
    var holdsOne: Bool { get }

    /// Makes it ready for a set: a server is started, empty. Throws where that cannot be, before anything is left.
    func open(for manifest: Manifest, meter: ProgressMeter) async throws -> any Scratch
}

extension ScratchPlace {
    package var holdsOne: Bool { false }
}

/// A scratch place in use.
package protocol Scratch: Sendable {
    /// A restore goes there as to any destination. Nothing stands there yet: a plan that would replace something is not
    /// carried out.
    var destination: any Engine { get }
    /// What else its server finds right or wrong in what was restored, as `pg_amcheck`; run after the exchange. Throws
    /// what is wrong with the copy, with exit code 13; returns what is worth knowing.
    func check(meter: ProgressMeter) async throws -> [String]
    /// One database of the restored and, where that was asked for, recovered server, as it is there now. Throws where
    /// there is none of that name, and in a place whose sets are no whole servers.
    func database(_ name: String, meter: ProgressMeter) async throws -> RecoveredDatabase
    /// Ends it and removes everything, whatever happened. Harmless twice.
    func close() async
}

extension Scratch {
    /// For the places whose sets are no whole servers.
    package func database(_ name: String, meter: ProgressMeter) async throws -> RecoveredDatabase {
        throw JobFailure(
            .eventRefused, "take one database out of the set", object: name,
            cause: "a set of this kind is restored as it is",
            hint: "leave sourceDatabase out of the event; it is for sets of a whole PostgreSQL server")
    }
}

/// A database taken out of a recovered server, to be restored elsewhere as a set of its own would be. Good for as long as
/// the scratch place is open.
package struct RecoveredDatabase: Sendable {
    package var facts: SnapshotFacts
    package var contents: Contents
    /// Each opening reads it out of the server anew, which nobody else is connected to.
    package var parts: any PartOpener

    package init(facts: SnapshotFacts, contents: Contents, parts: any PartOpener) {
        self.facts = facts
        self.contents = contents
        self.parts = parts
    }
}
