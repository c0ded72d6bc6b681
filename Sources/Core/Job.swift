/// What one run is to do: an event that has been read, checked and made whole.
package enum Job: Equatable, Sendable {
    case backup(BackupJob)
    case verify(VerifyJob)
    case restore(RestoreJob)
    case list(ListJob)
    case prune(PruneJob)
    case hold(HoldJob)
    case rewrap(RewrapJob)
    case export(ExportJob)
    case wal(WALJob)
    case drill(DrillJob)

    package var action: String {
        switch self {
        case .backup: "backup"
        case .verify: "verify"
        case .restore: "restore"
        case .list: "list"
        case .prune: "prune"
        case .hold(let job): job.change.rawValue
        case .rewrap: "rewrap"
        case .export: "export"
        case .wal: "wal"
        case .drill: "drill"
        }
    }
}

/// The identity of a run across replays: the same one finds what it finished before.
package enum RequestID: Equatable, Sendable, CustomStringConvertible {
    /// The event's `timestamp`.
    case timestamp(Timestamp)
    /// `LIFEBOAT_RUN_ID`: the UID of the Kubernetes Job.
    case run(String)
    /// Neither was given: a new run, and no replay can find it.
    case random(String)

    package var description: String {
        switch self {
        case .timestamp(let time): time.description
        case .run(let id), .random(let id): id
        }
    }

    package var isReplayable: Bool {
        if case .random = self { false } else { true }
    }
}

/// Which copy of a set a job reads, where there are two.
package enum StoreChoice: String, CaseIterable, Sendable {
    case primary, secondary, both
}

package struct BackupJob: Equatable, Sendable {
    package var target: String
    package var tier: Tier
    package var requestID: RequestID
    /// What the event itself brings to be stored, for sources that take it: the real-time mode of audit records.
    package var records: [JSON]
    package var dryRun: Bool

    package init(target: String, tier: Tier, requestID: RequestID, records: [JSON] = [], dryRun: Bool = false) {
        self.target = target
        self.tier = tier
        self.requestID = requestID
        self.records = records
        self.dryRun = dryRun
    }
}

package struct VerifyJob: Equatable, Sendable {
    package var target: String
    package var key: KeySelector
    package var requestID: RequestID
    /// Read the dump's rows again and compare them with the recorded contents, beyond the integrity of the bytes.
    package var recomputeContents: Bool
    /// `restore` brings the set to life in a scratch place and compares what is there.
    package var depth: ProofDepth
    /// Which copy of the set is to be read.
    package var store: StoreChoice
    /// Seconds to wait for an archived set to be thawed; 0 asks for the thaw and ends.
    package var waitForThaw: Int
    package var dryRun: Bool

    package init(
        target: String, key: KeySelector, requestID: RequestID, recomputeContents: Bool = false,
        depth: ProofDepth = .integrity, store: StoreChoice = .primary, waitForThaw: Int = 0, dryRun: Bool = false
    ) {
        self.target = target
        self.key = key
        self.requestID = requestID
        self.recomputeContents = recomputeContents
        self.depth = depth
        self.store = store
        self.waitForThaw = waitForThaw
        self.dryRun = dryRun
    }
}

package struct RestoreJob: Equatable, Sendable {
    package var target: String
    package var key: KeySelector
    package var requestID: RequestID
    /// `targetDatabase`: a configured destination or a database's name; `nil` for the source's own.
    package var destination: String?
    /// Follow the log after the nearest set before this point, and stop there; `nil` for a set as it is.
    package var recoveryTarget: RecoveryTarget?
    /// Of a physical set: the one database to take out of the recovered server and to restore at `destination`; `nil`
    /// leaves the recovered directory ready to be started.
    package var sourceDatabase: String?
    package var createDatabase: Bool
    /// The reason given with `skipSafetyBackup`; `nil` where a safety backup is to be made.
    package var skipSafetyBackupReason: String?
    /// Seconds to wait for another run's lock.
    package var waitForLock: Int
    /// Bring roles back with all they could do, instead of powerless ones for what is missing.
    package var restoreRoles: RoleRestore
    /// The operator knows that the disk suffices where it cannot be measured.
    package var acknowledgeDisk: Bool
    /// The operator accepts that slots, subscriptions and the like bound to the replaced database are lost.
    package var acknowledgeBoundObjects: Bool
    /// Which copy is to be read: `secondary` that one alone, anything else the first with the second in reserve.
    package var store: StoreChoice
    /// Seconds to wait for an archived set to be thawed; 0 asks for the thaw and ends.
    package var waitForThaw: Int
    package var dryRun: Bool

    package init(
        target: String, key: KeySelector, requestID: RequestID, destination: String? = nil,
        recoveryTarget: RecoveryTarget? = nil, sourceDatabase: String? = nil, createDatabase: Bool = false,
        skipSafetyBackupReason: String? = nil, waitForLock: Int = 300,
        restoreRoles: RoleRestore = .missing, acknowledgeDisk: Bool = false, acknowledgeBoundObjects: Bool = false,
        store: StoreChoice = .primary, waitForThaw: Int = 0, dryRun: Bool = false
    ) {
        self.target = target
        self.key = key
        self.requestID = requestID
        self.destination = destination
        self.recoveryTarget = recoveryTarget
        self.sourceDatabase = sourceDatabase
        self.createDatabase = createDatabase
        self.skipSafetyBackupReason = skipSafetyBackupReason
        self.waitForLock = waitForLock
        self.restoreRoles = restoreRoles
        self.acknowledgeDisk = acknowledgeDisk
        self.acknowledgeBoundObjects = acknowledgeBoundObjects
        self.store = store
        self.waitForThaw = waitForThaw
        self.dryRun = dryRun
    }
}

/// What a restore does about roles that the set names.
package enum RoleRestore: String, Sendable {
    /// Roles that are missing are made, without login, privileges, passwords or memberships.
    case missing
    /// Roles that are missing are made as the set's globals have them.
    case full
}

package struct ListJob: Equatable, Sendable {
    package var target: String
    package var requestID: RequestID
    /// Only sets of this tier.
    package var tier: Tier?
    /// At most so many, newest first.
    package var limit: Int
    /// `secondary` lists what lies in that store; anything else the first, and the second where the first fails.
    package var store: StoreChoice

    package init(
        target: String, requestID: RequestID, tier: Tier? = nil, limit: Int = 100, store: StoreChoice = .primary
    ) {
        self.target = target
        self.requestID = requestID
        self.tier = tier
        self.limit = limit
        self.store = store
    }
}

/// What is known about a set's content.
package enum Verdict: String, CaseIterable, Sendable {
    case proven, failed
    /// Not looked at, or not able to: never a pass.
    case inconclusive
}

/// How deep a proof goes. Only one by restore counts for prune and monitor.
package enum ProofDepth: String, Sendable {
    case integrity, restore
}

/// Deletes what is past its retention.
package struct PruneJob: Equatable, Sendable {
    package var target: String
    package var requestID: RequestID
    package var dryRun: Bool

    package init(target: String, requestID: RequestID, dryRun: Bool = false) {
        self.target = target
        self.requestID = requestID
        self.dryRun = dryRun
    }
}

/// Sets or lifts a legal hold.
package struct HoldJob: Equatable, Sendable {
    package enum Change: String, CaseIterable, Sendable {
        case hold, release
    }

    package var target: String
    package var key: KeySelector
    package var requestID: RequestID
    package var change: Change
    /// Why, in the words of whoever asked; recorded with the set.
    package var reason: String
    package var dryRun: Bool

    package init(
        target: String, key: KeySelector, requestID: RequestID, change: Change, reason: String, dryRun: Bool = false
    ) {
        self.target = target
        self.key = key
        self.requestID = requestID
        self.change = change
        self.reason = reason
        self.dryRun = dryRun
    }
}

/// Wraps the data keys of existing sets for the recipients that are configured now.
package struct RewrapJob: Equatable, Sendable {
    package var target: String
    /// One set; `nil` for every set of the target.
    package var key: KeySelector?
    package var requestID: RequestID
    package var store: StoreChoice
    package var dryRun: Bool

    package init(
        target: String, key: KeySelector? = nil, requestID: RequestID, store: StoreChoice = .both,
        dryRun: Bool = false
    ) {
        self.target = target
        self.key = key
        self.requestID = requestID
        self.store = store
        self.dryRun = dryRun
    }
}

/// Writes a set out under its current recipients, freshly sealed, for stock tools.
package struct ExportJob: Equatable, Sendable {
    package var target: String
    package var key: KeySelector
    package var requestID: RequestID
    package var store: StoreChoice
    /// An absolute path that does not exist yet, or an empty directory.
    package var directory: String
    package var dryRun: Bool

    package init(
        target: String, key: KeySelector, requestID: RequestID, store: StoreChoice = .primary, directory: String,
        dryRun: Bool = false
    ) {
        self.target = target
        self.key = key
        self.requestID = requestID
        self.store = store
        self.directory = directory
        self.dryRun = dryRun
    }
}

/// Brings the server's write-ahead log into the store, from where the last such job ended to now.
package struct WALJob: Equatable, Sendable {
    package var target: String
    package var requestID: RequestID
    package var dryRun: Bool

    package init(target: String, requestID: RequestID, dryRun: Bool = false) {
        self.target = target
        self.requestID = requestID
        self.dryRun = dryRun
    }
}

/// Rehearses a disaster, and measures it.
package struct DrillJob: Equatable, Sendable {
    package enum Scenario: String, CaseIterable, Sendable {
        /// The first recipient's key is treated as gone.
        case keyLoss = "KEY_LOSS"
        /// A copy of a set is damaged in several ways, each of which must be found.
        case dataCorruption = "DATA_CORRUPTION"
        /// From nothing but the store and the identities to a running server.
        case systemFailure = "SYSTEM_FAILURE"
    }

    package var target: String
    package var scenario: Scenario
    /// The set to rehearse with.
    package var key: KeySelector
    package var requestID: RequestID
    package var dryRun: Bool

    package init(
        target: String, scenario: Scenario, key: KeySelector, requestID: RequestID, dryRun: Bool = false
    ) {
        self.target = target
        self.scenario = scenario
        self.key = key
        self.requestID = requestID
        self.dryRun = dryRun
    }
}
