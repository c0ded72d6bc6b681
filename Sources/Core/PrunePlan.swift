/// What decides whether a set may go. What is from its manifest never changes; hold and proof are as its records say.
package struct SetFacts: Equatable, Sendable {
    /// A proof of a set, as far as it counts for keeping.
    package struct Standing: Equatable, Sendable {
        package var depth: ProofDepth
        /// A key at hand showed that a holder of the set's key wrote it. What only claims to be one counts as well, but
        /// never in place of one that is believed.
        package var isBelieved: Bool

        package init(depth: ProofDepth, isBelieved: Bool) {
            self.depth = depth
            self.isBelieved = isBelieved
        }
    }

    package var key: BackupKey
    package var attempt: String
    package var sequence: Int64
    /// Of the manifest's stored bytes.
    package var sha256: [UInt8]
    package var previous: ChainLink?
    package var snapshotTime: Timestamp
    package var retainUntil: Timestamp?
    package var needs: [BackupKey]
    /// Why nobody may delete it; `nil` where nothing holds it.
    package var hold: String?
    /// `nil` where it was never proven, was found damaged later, or need not be known.
    package var standing: Standing?

    package init(
        key: BackupKey, attempt: String, sequence: Int64, sha256: [UInt8], previous: ChainLink?,
        snapshotTime: Timestamp, retainUntil: Timestamp?, needs: [BackupKey] = [], hold: String? = nil,
        standing: Standing? = nil
    ) {
        self.key = key
        self.attempt = attempt
        self.sequence = sequence
        self.sha256 = sha256
        self.previous = previous
        self.snapshotTime = snapshotTime
        self.retainUntil = retainUntil
        self.needs = needs
        self.hold = hold
        self.standing = standing
    }

    /// Its retention has ended.
    package func isPast(_ now: Timestamp) -> Bool { retainUntil.map { $0 <= now } ?? false }

    /// Whether it is younger than `other`, by the time of the picture.
    package func isNewer(than other: SetFacts) -> Bool {
        (snapshotTime, sequence) > (other.snapshotTime, other.sequence)
    }
}

/// Why a set stays although it could go, as far as other sets decide that: what is left of the target after a prune is
/// always something to restore.
package enum PruneGuard: CaseIterable, Hashable, Sendable {
    /// The end of the chain: the next set is numbered after it.
    case head
    case newest
    case newestIntact, newestRestorable
    /// The same by proofs that no key at hand could check.
    case newestClaimedIntact, newestClaimedRestorable

    /// Whether `facts` can be it at all; the head is named by whoever knows the stores.
    package func covers(_ facts: SetFacts) -> Bool {
        switch self {
        case .head: false
        case .newest: true
        case .newestIntact: facts.standing?.isBelieved ?? false
        case .newestRestorable: facts.standing.map { $0.isBelieved && $0.depth == .restore } ?? false
        case .newestClaimedIntact: facts.standing != nil
        case .newestClaimedRestorable: facts.standing?.depth == .restore
        }
    }

    /// For people, after "it is".
    package var text: String {
        switch self {
        case .head: "the last of the chain"
        case .newest: "the newest"
        case .newestIntact: "the newest that was read back whole"
        case .newestRestorable: "the newest that is proven restorable"
        case .newestClaimedIntact: "the newest with a record of having been read back whole"
        case .newestClaimedRestorable: "the newest with a record of a restore"
        }
    }
}

/// Which sets a prune deletes, and why it keeps the others.
package struct PrunePlan: Sendable {
    package enum Reason: Equatable, Sendable {
        /// The only reason to delete it.
        case past(Timestamp)
        case forever
        case until(Timestamp)
        case held(String)
        case guarded(PruneGuard)
        case needed(by: BackupKey)

        /// For the result: counted by.
        package var name: String {
            switch self {
            case .past: "past"
            case .forever: "forever"
            case .until: "retained"
            case .held: "held"
            case .guarded(let which): "\(which)"
            case .needed: "needed"
            }
        }

        /// For people.
        package var text: String {
            switch self {
            case .past(let end): "its retention ended at \(end)"
            case .forever: "it is kept until a person removes it"
            case .until(let end): "it is kept until \(end)"
            case .held(let why): "it is under legal hold: \(why)"
            case .guarded(let which): "it is \(which.text)"
            case .needed(let key): "\(key) needs it"
            }
        }
    }

    package struct Entry: Equatable, Sendable {
        package var facts: SetFacts
        package var reason: Reason

        package var isDeleted: Bool { if case .past = reason { true } else { false } }
    }

    /// Oldest first, by the number in the chain.
    package let entries: [Entry]
    /// The sets that stand in for others that may go, past their own retention or not.
    package let guards: [BackupKey]

    package var deleted: [SetFacts] { entries.filter(\.isDeleted).map(\.facts) }

    /// Decides about all sets of a target. `sets` are those of every store, each once; `heads` the ends of the chain,
    /// one of each store.
    package init(_ sets: [SetFacts], heads: Set<BackupKey>, now: Timestamp) {
        let guards = Self.guards(sets, heads)
        var entries = sets.sorted { ($0.sequence, $0.key.description) < ($1.sequence, $1.key.description) }.map {
            Entry(facts: $0, reason: Self.reason($0, guards, now))
        }
        Self.keepNeeded(&entries)
        self.entries = entries
        self.guards = Array(guards.keys)
    }

    private static func reason(_ facts: SetFacts, _ guards: [BackupKey: PruneGuard], _ now: Timestamp) -> Reason {
        guard let end = facts.retainUntil else { return .forever }
        if !facts.isPast(now) { return .until(end) }
        if let why = facts.hold { return .held(why) }
        if let which = guards[facts.key] { return .guarded(which) }
        return .past(end)
    }

    /// The sets that stay whatever their age, among all and among those that a symbolic key can mean: a safety set is
    /// what somebody chose to replace, and no stand-in for the others.
    private static func guards(_ sets: [SetFacts], _ heads: Set<BackupKey>) -> [BackupKey: PruneGuard] {
        var newest: [PruneGuard: SetFacts] = [:]
        var newestSelectable: [PruneGuard: SetFacts] = [:]
        for facts in sets {
            for which in PruneGuard.allCases where which.covers(facts) {
                if newest[which].map({ facts.isNewer(than: $0) }) ?? true { newest[which] = facts }
                if facts.key.tier != .safety, newestSelectable[which].map({ facts.isNewer(than: $0) }) ?? true {
                    newestSelectable[which] = facts
                }
            }
        }
        var guards: [BackupKey: PruneGuard] = [:]
        // The strongest reason is the one that is told.
        for which in PruneGuard.allCases.sorted(by: { $0.strength > $1.strength }) {
            for facts in [newest[which], newestSelectable[which]] {
                if let facts, guards[facts.key] == nil { guards[facts.key] = which }
            }
        }
        for key in heads where guards[key] == nil { guards[key] = .head }
        return guards
    }

    /// Whatever is kept keeps what it needs, and what that needs.
    private static func keepNeeded(_ entries: inout [Entry]) {
        let places = Dictionary(entries.indices.map { (entries[$0].facts.key, $0) }) { first, _ in first }
        var keeping = entries.filter { !$0.isDeleted && !$0.facts.needs.isEmpty }.map(\.facts)
        while let facts = keeping.popLast() {
            for needed in facts.needs {
                guard let place = places[needed], entries[place].isDeleted else { continue }
                entries[place].reason = .needed(by: facts.key)
                keeping.append(entries[place].facts)
            }
        }
    }
}

extension PruneGuard {
    fileprivate var strength: Int {
        switch self {
        case .newestRestorable: 6
        case .newestClaimedRestorable: 5
        case .newestIntact: 4
        case .newestClaimedIntact: 3
        case .newest: 2
        case .head: 1
        }
    }
}
