import Core

/// What a prune found in the manifests of one month, kept as `catalog/<year>-<month>.json` so that the next one need
/// not read them again.
///
/// A hint: anybody who can write to the store can write it. It only decides which manifests are not read because their
/// sets stay; whatever is deleted, and whatever stands as the reason to delete something else, is read itself.
struct CatalogRoll: Sendable {
    struct Entry: Sendable {
        /// Without the hold: that is asked for each time.
        var facts: SetFacts
        var isMadeHeld: Bool
        /// What the proofs came to when there were so many records; `nil` where they were not looked at.
        var recordCount: Int?
        /// The set before it is there or has a tombstone, as far as that was looked up.
        var isLinked: Bool
    }

    var entries: [BackupKey: Entry] = [:]

    /// The month of a set's nominal time, which its key has: `2025-01`.
    static func month(_ key: BackupKey) -> String { String(key.timestamp.day.prefix(7)) }

    static func path(_ month: String) -> String { "\(directory)\(month).json" }
    static let directory = "catalog/"

    func document(target: String) -> JSON {
        let sorted = entries.values.sorted { $0.facts.key.description < $1.facts.key.description }
        return .object([
            "format": .integer(1), "kind": .string("catalog"), "target": .string(target),
            "sets": .array(sorted.map(\.json)),
        ])
    }

    init(entries: [BackupKey: Entry] = [:]) { self.entries = entries }

    init(json: JSON, target: String) throws(JSONFieldError) {
        var fields = try JSONFields(json, path: "")
        guard try fields.integer("format") == 1, try fields.string("kind") == "catalog",
            try fields.string("target") == target
        else { throw fields.error("kind", "is none that is known") }
        for json in try fields.array("sets") {
            let entry = try Entry(json: json)
            entries[entry.facts.key] = entry
        }
        try fields.finish()
    }
}

extension CatalogRoll.Entry {
    fileprivate var json: JSON {
        .object(present: [
            "key": .string(facts.key.description), "attempt": .string(facts.attempt),
            "sequence": .exact(facts.sequence), "sha256": .string(hexText(facts.sha256)),
            "previous": facts.previous.map {
                .object(["key": .string($0.key.description), "sha256": .string(hexText($0.sha256))])
            },
            "snapshotTime": .string(facts.snapshotTime.description),
            "retainUntil": facts.retainUntil.map { .string($0.description) },
            "needs": facts.needs.isEmpty ? nil : .array(facts.needs.map { .string($0.description) }),
            "held": isMadeHeld ? .bool(true) : nil, "linked": isLinked ? .bool(true) : nil,
            "records": recordCount.map { .integer(Int64($0)) },
            "proof": facts.standing.map { .string($0.depth.rawValue) },
            "believed": facts.standing.map { .bool($0.isBelieved) },
        ])
    }

    fileprivate init(json: JSON) throws(JSONFieldError) {
        var fields = try JSONFields(json, path: "sets")
        var facts = SetFacts(
            key: try fields.backupKey("key"), attempt: try fields.string("attempt"),
            sequence: try fields.integer("sequence"), sha256: try fields.hex("sha256", count: 32),
            previous: try fields.chainLink("previous"), snapshotTime: try fields.timestamp("snapshotTime"),
            retainUntil: fields.has("retainUntil") ? try fields.timestamp("retainUntil") : nil,
            needs: try fields.needs("needs"))
        if let depth = try fields.optionalString("proof").flatMap({ ProofDepth(rawValue: $0) }) {
            facts.standing = SetFacts.Standing(depth: depth, isBelieved: try fields.bool("believed"))
        }
        self.init(
            facts: facts, isMadeHeld: try fields.optionalBool("held") ?? false,
            recordCount: try fields.optionalInteger("records").map { Int(clamping: $0) },
            isLinked: try fields.optionalBool("linked") ?? false)
        try fields.finish()
    }
}
