/// One kind of source, bound to one endpoint: a database on a server, a directory.
///
/// It must fit a logical dump (staging database, swap), a physical one (staging directory), a directory (staging
/// directory, exchange) and a server without rename (staging schema, then in place) alike. Nothing outside an
/// engine knows which it is.
package protocol Engine: Sendable {
    var capabilities: EngineCapabilities { get }

    /// Begins one consistent picture of the source, or says why there is nothing to store. Nothing at the source is
    /// changed. Not retried: a picture that failed is begun anew by the next run.
    func snapshot(_ request: SnapshotRequest) async throws -> SnapshotAnswer

    /// Reads the parts of a set as a restore would and says whether they are complete. Changes nothing anywhere; an
    /// engine whose sets are proven against the source as well may look at it.
    func examine(_ request: ExamineRequest) async throws -> Examined

    /// Looks at the destination and finds what would stop a restore, all of it, before anything is touched.
    func plan(_ request: RestoreRequest) async throws -> any RestorePlan

    /// The same as far as it can be told before the database that is to be restored has been recovered, which may take
    /// hours. What is needed of the disk is an estimate. Changes nothing.
    func survey(_ request: SurveyRequest) async throws -> RestoreSummary
}

package struct EngineCapabilities: Sendable {
    /// `postgres`: as in `BACKUP_ENGINE` and the manifest.
    package var name: String
    /// For people: `database clinic on db.example:5432`.
    package var endpoint: String
    /// A restore ends by loading into what stands there, because the server cannot exchange the two in one step. The
    /// safety set is then what a failure is rolled back from.
    package var promotesInPlace: Bool
    /// Each set is read back and proven in the run that stored it.
    package var readsBack: Bool

    package init(name: String, endpoint: String, promotesInPlace: Bool = false, readsBack: Bool = false) {
        self.name = name
        self.endpoint = endpoint
        self.promotesInPlace = promotesInPlace
        self.readsBack = readsBack
    }
}

package struct SnapshotRequest: Sendable {
    /// The target's newest manifest: sources that go on where the last set ended begin there.
    package var previous: Manifest?
    /// The contents of that set; `nil` where there is none, or nothing here opens it.
    package var previousContents: @Sendable () async throws -> Contents?
    /// What the event itself brings to be stored, for sources that take it.
    package var records: [JSON]
    /// Store it although the engine finds nothing new: a safety set is always whole.
    package var isForced: Bool
    package var meter: ProgressMeter

    package init(
        previous: Manifest?, previousContents: @escaping @Sendable () async throws -> Contents? = { nil },
        records: [JSON] = [], isForced: Bool = false, meter: ProgressMeter
    ) {
        self.previous = previous
        self.previousContents = previousContents
        self.records = records
        self.isForced = isForced
        self.meter = meter
    }
}

/// What a source answers when it is asked for a picture.
package enum SnapshotAnswer: Sendable {
    case taken(any Snapshot)
    /// No set is to be made now, and that is as it should be.
    case nothingToStore(NothingToStore)

    /// For sources that always have a picture. Throws where there is none.
    package func picture(of object: String) throws -> any Snapshot {
        switch self {
        case .taken(let snapshot): return snapshot
        case .nothingToStore(let nothing):
            throw JobFailure(
                .source, "take a picture of the source", object: object, cause: nothing.why,
                hint: "run the job again when there is something to store")
        }
    }
}

/// Why no set was made by a run that succeeded.
package struct NothingToStore: Sendable {
    /// For people: `the keys are those of daily/backup-…`.
    package var why: String
    /// Counts and the like, for the result.
    package var details: [String: JSON]
    /// As of a picture.
    package var keyExpiry: KeyExpiry?

    package init(why: String, details: [String: JSON] = [:], keyExpiry: KeyExpiry? = nil) {
        self.why = why
        self.details = details
        self.keyExpiry = keyExpiry
    }
}

/// A consistent picture that is being read.
package protocol Snapshot: Sendable {
    /// What the picture is of. What only its end shows, as where a server's log stood then, is in it after ``finish()``.
    var facts: SnapshotFacts { get }

    /// The streams it consists of, each to be pulled to its end; they may be handed out one by one or several at once.
    /// Ends after the last; throws where the source fails.
    var parts: AsyncThrowingStream<Part, any Error> { get }

    /// After every part has ended: whether the source finished as it should, and what was in it. A dump that is
    /// incomplete in any way throws here at the latest.
    func finish() async throws -> Contents

    /// Gives the picture up: children are ended, connections closed. Harmless after `finish`, and twice.
    func cancel() async
}

package struct SnapshotFacts: Sendable {
    /// When the picture was taken, by the source's clock.
    package var time: Timestamp
    /// Bytes the source is expected to take on its own disk, for progress and for a restore's preflight.
    package var sourceSize: Int64
    /// Versions and settings worth knowing at a restore. In clear in the manifest: no names of tables, no secrets.
    package var details: [String: String]
    /// What is less than it could be, for the manifest and the result: a fallback taken, a check switched off.
    package var exceptions: [String]
    /// Earlier sets of the target without which this one cannot be restored, or not proven. They are never pruned
    /// before it.
    package var needs: [BackupKey]
    /// What an operator should know, for the result alone: tables may be named, for it is not kept with the set.
    package var notes: [String]
    /// Where keys are what is stored: when the first of them that has not ended will; for the result and the metrics,
    /// and not kept with the set.
    package var keyExpiry: KeyExpiry?

    package init(
        time: Timestamp, sourceSize: Int64, details: [String: String], exceptions: [String], needs: [BackupKey] = [],
        notes: [String] = [], keyExpiry: KeyExpiry? = nil
    ) {
        self.keyExpiry = keyExpiry
        self.needs = needs
        self.notes = notes
        self.time = time
        self.sourceSize = sourceSize
        self.details = details
        self.exceptions = exceptions
    }
}

/// One stream of a set.
package struct Part: Sendable {
    /// Lower-case letters, digits, `.`, `-` and `_`: `database.sql`.
    package var name: String
    package var source: any ByteSource
    /// It comes to be while another part is read, and would hold that one back: it is written beside the others,
    /// whatever the number of parts that may be written at once.
    package var isCompanion: Bool
    /// Whoever gives it has little to compute meanwhile, as a server that sends its files, and nothing as a disk: its
    /// compression may use every core.
    package var leavesCoresIdle: Bool

    package init(
        name: String, source: any ByteSource, isCompanion: Bool = false, leavesCoresIdle: Bool = false
    ) {
        self.name = name
        self.source = source
        self.isCompanion = isCompanion
        self.leavesCoresIdle = leavesCoresIdle
    }
}

/// The parts of a stored set, opened.
package protocol PartOpener: Sendable {
    var partNames: [String] { get }

    /// The plaintext of a part. Every byte is authenticated before it is given, and the end is only reported when
    /// the last frame has authenticated and the stored digests hold. A part may be opened more than once.
    func open(_ part: String) async throws -> any ByteSource
}

package struct ExamineRequest: Sendable {
    package var manifest: Manifest
    package var parts: any PartOpener
    /// Compute the contents again from the bytes.
    package var recompute: Bool
    /// Compare the set with what stands at the source as well, where the engine proves its sets so. Not asked for where
    /// the set is of another place: what a restore is about to replace.
    package var comparesSource: Bool
    /// The manifest that ``Manifest/previous`` names; `nil` where there is none any more. Throws where it is another.
    package var predecessor: @Sendable () async throws -> Manifest?
    package var meter: ProgressMeter

    package init(
        manifest: Manifest, parts: any PartOpener, recompute: Bool, comparesSource: Bool = false,
        predecessor: @escaping @Sendable () async throws -> Manifest? = { nil }, meter: ProgressMeter
    ) {
        self.manifest = manifest
        self.parts = parts
        self.recompute = recompute
        self.comparesSource = comparesSource
        self.predecessor = predecessor
        self.meter = meter
    }
}

/// What an engine found in the parts of a set.
package struct Examined: Sendable {
    /// Where they were asked for.
    package var contents: Contents?
    /// What the engine has checked beside, for the result.
    package var details: [String: JSON]
    package var notes: [String]
    /// What keeps this from being a pass; `nil` where nothing does.
    package var objection: Objection?

    package init(
        contents: Contents?, details: [String: JSON] = [:], notes: [String] = [], objection: Objection? = nil
    ) {
        self.contents = contents
        self.details = details
        self.notes = notes
        self.objection = objection
    }
}

/// What was found wrong by checks that go on after one has failed, so that the result can tell of all of them. An engine
/// that stops at the first throws instead.
package struct Objection: Sendable {
    package var failure: JobFailure
    /// The set itself is at fault, rather than what it was compared with: only then may it be recorded as failed.
    package var isOfSet: Bool

    package init(_ failure: JobFailure, isOfSet: Bool) {
        self.failure = failure
        self.isOfSet = isOfSet
    }
}

package struct RestoreRequest: Sendable {
    package var requestID: RequestID
    package var setKey: BackupKey
    package var manifest: Manifest
    package var contents: Contents
    package var parts: any PartOpener
    package var createDatabase: Bool
    package var restoreRoles: RoleRestore
    package var acknowledgeDisk: Bool
    package var acknowledgeBoundObjects: Bool
    /// Gives the verified contents of a set of this target, for the decision whether something an earlier restore
    /// put aside may go; `nil` where there is no such set, or it has not been proven.
    package var verifiedContents: @Sendable (BackupKey) async throws -> Contents?
    /// How far the log is to be followed after the picture; `nil` for the picture alone.
    package var recovery: Recovery?
    package var meter: ProgressMeter

    package init(
        requestID: RequestID, setKey: BackupKey, manifest: Manifest, contents: Contents, parts: any PartOpener,
        createDatabase: Bool, restoreRoles: RoleRestore, acknowledgeDisk: Bool, acknowledgeBoundObjects: Bool,
        verifiedContents: @escaping @Sendable (BackupKey) async throws -> Contents?, recovery: Recovery? = nil,
        meter: ProgressMeter
    ) {
        self.recovery = recovery
        self.requestID = requestID
        self.setKey = setKey
        self.manifest = manifest
        self.contents = contents
        self.parts = parts
        self.createDatabase = createDatabase
        self.restoreRoles = restoreRoles
        self.acknowledgeDisk = acknowledgeDisk
        self.acknowledgeBoundObjects = acknowledgeBoundObjects
        self.verifiedContents = verifiedContents
        self.meter = meter
    }
}

/// What a restore would do, after every check that changes nothing has passed.
package protocol RestorePlan: Sendable {
    var summary: RestoreSummary { get }

    /// Clears what earlier runs left over, then loads the parts beside what stands there. The first change to
    /// anything. A failure leaves the original as it was and nothing beside it.
    func stage() async throws -> any StagedRestore
}

package struct RestoreSummary: Sendable {
    /// What stands at the destination and would be replaced; `nil` where nothing does.
    package var replaces: String?
    /// This very restore, with this request, has been finished before.
    package var alreadyDone: Bool
    /// Bytes of disk the restore needs at the destination, and how many are free where that can be known.
    package var neededBytes: Int64
    package var freeBytes: Int64?
    /// What an operator should know: objects bound to what is replaced, roles to be created.
    package var notes: [String]

    package init(replaces: String?, alreadyDone: Bool, neededBytes: Int64, freeBytes: Int64?, notes: [String]) {
        self.replaces = replaces
        self.alreadyDone = alreadyDone
        self.neededBytes = neededBytes
        self.freeBytes = freeBytes
        self.notes = notes
    }
}

/// A restore that is loaded but not yet in place.
package protocol StagedRestore: Sendable {
    /// What is really there now, read back from the staged copy.
    func inspect() async throws -> Contents

    /// Puts the staged copy in the place of what stands there, in one step, and keeps what it replaces under
    /// another name, marked. An engine that can only load in place first makes sure that what stands there is still
    /// what `safety` holds, and brings that back where anything fails. Throws with the original in place, or with exit
    /// code 16 or 17.
    func promote(_ request: PromotionRequest) async throws -> Promotion

    /// Removes the staged copy. Harmless twice; not after `promote`.
    func discard() async throws
}

package struct PromotionRequest: Sendable {
    package var marker: RestoreMarker
    /// The verified set of what is replaced; `nil` where nothing is, or none was wanted.
    package var safety: SafetySet?
    package var meter: ProgressMeter

    package init(marker: RestoreMarker, safety: SafetySet?, meter: ProgressMeter) {
        self.marker = marker
        self.safety = safety
        self.meter = meter
    }
}

/// A set that holds what a restore replaces, opened.
package struct SafetySet: Sendable {
    package var manifest: Manifest
    package var contents: Contents
    package var parts: any PartOpener

    package init(manifest: Manifest, contents: Contents, parts: any PartOpener) {
        self.manifest = manifest
        self.contents = contents
        self.parts = parts
    }
}

/// What is written beside the replaced copy, so that a replay finds the restore done and nothing unmarked is ever
/// removed.
package struct RestoreMarker: Sendable {
    package var requestID: RequestID
    package var setKey: BackupKey
    /// The verified set that holds what is replaced; `nil` keeps the replaced copy until a person removes it.
    package var safetyKey: BackupKey?
    package var time: Timestamp

    package init(requestID: RequestID, setKey: BackupKey, safetyKey: BackupKey?, time: Timestamp) {
        self.requestID = requestID
        self.setKey = setKey
        self.safetyKey = safetyKey
        self.time = time
    }
}

package struct Promotion: Sendable {
    /// When the restored copy took its place, by the destination's clock.
    package var time: Timestamp
    /// Where the replaced copy is now.
    package var replacedName: String?
    /// What the plan noted, and what came after it.
    package var notes: [String]
    /// Where a recovery ended; `nil` where the restore was of the picture alone.
    package var recovered: RecoveredPoint?
    /// Where the restored copy waits to be started by a person; `nil` where it is in service already.
    package var startable: String?

    package init(
        time: Timestamp, replacedName: String?, notes: [String], recovered: RecoveredPoint? = nil,
        startable: String? = nil
    ) {
        self.time = time
        self.replacedName = replacedName
        self.notes = notes
        self.recovered = recovered
        self.startable = startable
    }
}
