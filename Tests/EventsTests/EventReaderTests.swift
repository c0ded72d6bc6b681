import Core
import Events
import TestSupport
import Testing

@Suite("Events that are accepted")
struct EventReaderTests {
    private let reader = EventReader(
        targets: [EventTarget("default")], runID: nil, dryRun: false, clock: FixedClock(), random: countingBytes)
    private static let random = RequestID.random("000102030405060708090a0b0c0d0e0f")

    private func job(_ event: String, reader: EventReader? = nil) throws -> Job {
        try (reader ?? self.reader).job(from: EventSources(environment: ["BACKUP_EVENT": event]))
    }

    /// Shows that the action follows from the fields where it is not given.
    @Test func actionIsInferred() throws {
        #expect(
            try job(#"{"backupType":"hourly"}"#)
                == .backup(BackupJob(target: "default", tier: .hourly, requestID: Self.random)))
        #expect(
            try job(#"{"backupKey":"latest"}"#)
                == .verify(VerifyJob(target: "default", key: .latest(nil), requestID: Self.random)))
        #expect(
            try job(#"{"CONFIRM_RESTORE":"YES_I_WANT_TO_RESTORE","backupKey":"latest"}"#)
                == .restore(RestoreJob(target: "default", key: .latest(nil), requestID: Self.random)))
    }

    /// Shows each way to name a set, and what is taken off a key that was copied from elsewhere.
    @Test(arguments: [
        ("latest", "latest"), ("daily/latest", "daily/latest"), ("daily/backup-LATEST.gz", "daily/latest"),
        ("weekly/backup-LATEST", "weekly/latest"), ("daily/2024-02-29", "daily/2024-02-29"), ("random", "random"),
        ("daily/backup-2025-01-15T07-00-00-000Z", "daily/backup-2025-01-15T07-00-00-000Z"),
        ("daily/backup-2025-01-15T07-00-00-000Z.gz", "daily/backup-2025-01-15T07-00-00-000Z"),
        ("daily/backup-2025-01-15T07-00-00-000Z/manifest.json", "daily/backup-2025-01-15T07-00-00-000Z"),
        ("safety/safety-backup-2025-01-15T07-00-00-000Z", "safety/safety-backup-2025-01-15T07-00-00-000Z"),
    ])
    func keys(given: String, meant: String) throws {
        guard case .verify(let verify) = try job(#"{"backupKey":"\#(given)"}"#) else {
            Issue.record("no verify")
            return
        }
        #expect(verify.key.description == meant)
    }

    /// Shows what identifies a run: the timestamp, else the Job's UID, else chance.
    @Test func requestID() throws {
        let inJob = EventReader(
            targets: [EventTarget("default")], runID: "uid-1", dryRun: false, clock: FixedClock(),
            random: countingBytes)
        let time = try #require(Timestamp("2025-01-15T07:00:00Z"))
        let timed = #"{"backupType":"daily","timestamp":"2025-01-15T09:00:00+02:00"}"#
        #expect(
            try job(timed, reader: inJob)
                == .backup(BackupJob(target: "default", tier: .daily, requestID: .timestamp(time))))
        #expect(
            try job(#"{"backupType":"daily"}"#, reader: inJob)
                == .backup(BackupJob(target: "default", tier: .daily, requestID: .run("uid-1"))))
    }

    /// Shows that a nominal time may lie a day ahead and not a second more.
    @Test func timestampAhead() throws {
        _ = try job(#"{"backupType":"daily","timestamp":"2025-06-02T12:00:00Z"}"#)
        #expect(throws: EventError.self) {
            try job(#"{"backupType":"daily","timestamp":"2025-06-02T12:00:01Z"}"#)
        }
    }

    /// Shows that DRY_RUN makes every job a dry one, and that an event cannot undo that.
    @Test func dryRun() throws {
        let dry = EventReader(
            targets: [EventTarget("default")], runID: nil, dryRun: true, clock: FixedClock(), random: countingBytes)
        for event in [#"{"backupType":"daily"}"#, #"{"backupType":"daily","dryRun":false}"#] {
            #expect(
                try job(event, reader: dry)
                    == .backup(BackupJob(target: "default", tier: .daily, requestID: Self.random, dryRun: true)))
        }
    }

    /// Shows that single variables spell the same event as JSON does, types included.
    @Test func discreteVariables() throws {
        let sources = EventSources(environment: [
            "CONFIRM_RESTORE": "YES_I_WANT_TO_RESTORE", "backupKey": "daily/latest", "targetDatabase": "clinic",
            "createDatabase": "1", "waitForLock": "10", "acknowledgeDisk": "false", "reason": "", "PATH": "/bin",
            "TARGET": "somebody else's", "DRY_RUN": "1",
        ])
        #expect(
            try reader.job(from: sources)
                == .restore(
                    RestoreJob(
                        target: "default", key: .latest(.daily), requestID: Self.random, destination: "clinic",
                        createDatabase: true, waitForLock: 10)))
    }

    /// Shows that every source alone is read, and that an empty one beside another is no contradiction.
    @Test func sources() throws {
        let event = Array(#"{"backupType":"daily"}"#.utf8)
        let expected = Job.backup(BackupJob(target: "default", tier: .daily, requestID: Self.random))
        #expect(try reader.job(from: EventSources(file: ("e.json", event))) == expected)
        #expect(try reader.job(from: EventSources(standardInput: event)) == expected)
        #expect(
            try reader.job(
                from: EventSources(
                    file: ("e.json", event), environment: ["BACKUP_EVENT": "{}"], standardInput: [0x0A])) == expected)
    }

    /// Shows that standard input is only asked for where nothing else speaks: reading it may wait for ever.
    @Test func standardInputIsLastResort() {
        #expect(EventSources(environment: ["PATH": "/bin", "BACKUP_EVENT": ""]).needsStandardInput)
        #expect(!EventSources(environment: ["BACKUP_EVENT": "{}"]).needsStandardInput)
        #expect(!EventSources(environment: ["backupType": "daily"]).needsStandardInput)
        #expect(!EventSources(file: ("e.json", [])).needsStandardInput)
    }

    /// Shows that any two sources that both carry fields are refused, even where they agree.
    @Test func twoSources() {
        let event = #"{"backupType":"daily"}"#
        let all: [EventSources] = [
            EventSources(file: ("e", Array(event.utf8)), environment: ["BACKUP_EVENT": event]),
            EventSources(file: ("e", Array(event.utf8)), standardInput: Array(event.utf8)),
            EventSources(environment: ["BACKUP_EVENT": event], standardInput: Array(event.utf8)),
            EventSources(environment: ["backupType": "daily"], standardInput: Array(event.utf8)),
        ]
        for sources in all {
            let error = #expect(throws: EventError.self) { try reader.job(from: sources) }
            #expect(error?.field == "event" && error?.cause.contains("at once") == true)
        }
    }

    /// Shows that a file named with --event that is empty, and an event past a mebibyte, are refused as such.
    @Test func emptyAndHuge() {
        let empty = #expect(throws: EventError.self) { try reader.job(from: EventSources(file: ("e", []))) }
        #expect(empty?.field == "--event")
        let huge = Array(repeating: UInt8(ascii: " "), count: 1 << 20) + Array(#"{"backupType":"daily"}"#.utf8)
        let error = #expect(throws: EventError.self) { try reader.job(from: EventSources(standardInput: huge)) }
        #expect(error?.cause.contains("larger") == true)
    }

    /// Shows that a missing target is refused with the list of those there are.
    @Test func severalTargets() throws {
        let several = EventReader(
            targets: [EventTarget("lab"), EventTarget("clinic")], runID: nil, dryRun: false, clock: FixedClock(),
            random: countingBytes)
        let error = #expect(throws: EventError.self) { try job(#"{"backupType":"daily"}"#, reader: several) }
        #expect(error?.field == "target" && error?.hint.contains("clinic, lab") == true)
        let near = #expect(throws: EventError.self) {
            try job(#"{"backupType":"daily","target":"clinik"}"#, reader: several)
        }
        #expect(near?.hint.contains("'clinic'") == true)
    }

    /// Shows that a misspelt field is answered with the one that was meant.
    @Test(arguments: [
        ("backuptype", "backupType"), ("backup_key", "backupKey"), ("confirm_restore", "CONFIRM_RESTORE"),
        ("targetDatbase", "targetDatabase"), ("dryrun", "dryRun"), ("timestmp", "timestamp"),
    ])
    func suggestions(wrong: String, right: String) {
        let error = #expect(throws: EventError.self) { try job(#"{"\#(wrong)":"daily"}"#) }
        #expect(error?.field == wrong && error?.hint.contains("did you mean '\(right)'?") == true)
    }

    /// Shows which copies each job may read, and how long it may wait for a thaw.
    @Test func copies() throws {
        let copied = EventReader(
            targets: [EventTarget("default", isCopied: true)], runID: nil, dryRun: false, clock: FixedClock(),
            random: countingBytes)
        for store in StoreChoice.allCases {
            let verify = try job(#"{"backupKey":"latest","store":"\#(store)","waitForThaw":604800}"#, reader: copied)
            #expect(
                verify
                    == .verify(
                        VerifyJob(
                            target: "default", key: .latest(nil), requestID: Self.random, store: store,
                            waitForThaw: 604_800)))
        }
        #expect(
            try job(
                #"{"CONFIRM_RESTORE":"YES_I_WANT_TO_RESTORE","backupKey":"latest","store":"secondary"}"#,
                reader: copied)
                == .restore(
                    RestoreJob(target: "default", key: .latest(nil), requestID: Self.random, store: .secondary)))
        #expect(
            try job(#"{"action":"list","store":"secondary"}"#, reader: copied)
                == .list(ListJob(target: "default", requestID: Self.random, store: .secondary)))
        // The one copy that there is may always be named.
        #expect(
            try job(#"{"action":"list","store":"primary"}"#)
                == .list(ListJob(target: "default", requestID: Self.random)))
    }

    /// Shows that a name of 63 bytes with quotes and other scripts is a database's name like any other.
    @Test func databaseNames() throws {
        let name = "Klinik \\\"Süd\\\" 診療所"
        guard
            case .restore(let restore) = try job(
                #"{"CONFIRM_RESTORE":"YES_I_WANT_TO_RESTORE","backupKey":"latest","targetDatabase":"\#(name)"}"#)
        else {
            Issue.record("no restore")
            return
        }
        #expect(restore.destination == "Klinik \"Süd\" 診療所")
    }

    /// Shows that a rewrap is for both copies where there are two, unless it says which.
    @Test func rewrapCopies() throws {
        let copied = EventReader(
            targets: [EventTarget("default", isCopied: true)], runID: nil, dryRun: false, clock: FixedClock(),
            random: countingBytes)
        #expect(
            try job(#"{"action":"rewrap"}"#)
                == .rewrap(RewrapJob(target: "default", requestID: Self.random, store: .primary)))
        #expect(
            try job(#"{"action":"rewrap"}"#, reader: copied)
                == .rewrap(RewrapJob(target: "default", requestID: Self.random, store: .both)))
        #expect(
            try job(#"{"action":"rewrap","store":"primary"}"#, reader: copied)
                == .rewrap(RewrapJob(target: "default", requestID: Self.random, store: .primary)))
    }

    /// Shows where a restore of each engine may go: configured places of its own kind by their names, and databases or
    /// directories by theirs.
    @Test(arguments: [
        (EngineName.postgres, "clinic_was", true), (.postgres, "box", true), (.postgres, "shelf", false),
        (.mysql, String(repeating: "ä", count: 64), true), (.mysql, String(repeating: "ä", count: 65), false),
        (.mysql, "a/b", false), (.mongodb, "clinic_was", true), (.mongodb, "clinic.was", false),
        (.mongodb, "admin", false), (.files, "/srv/restored", true), (.files, "restored", false),
        (.files, "/srv/../etc", false), (.files, "/", false), (.files, "box", true), (.keys, "/srv/keys", true),
        (.auditRecords, "/srv/trail", true), (.auditRecords, "trail", false), (.auditRecords, "shelf", false),
    ])
    func destinations(engine: EngineName, name: String, isTaken: Bool) throws {
        let reader = EventReader(
            targets: [
                EventTarget(
                    "default", engine: engine, destinations: ["box"], foreignDestinations: ["shelf": "something else"]
                )
            ], runID: nil, dryRun: false, clock: FixedClock(), random: countingBytes)
        let event =
            #"{"CONFIRM_RESTORE":"YES_I_WANT_TO_RESTORE","backupKey":"latest","targetDatabase":"\#(name)"}"#
        guard isTaken else {
            let error = #expect(throws: EventError.self) { try job(event, reader: reader) }
            #expect(error?.field == "targetDatabase" && error?.hint.isEmpty == false)
            return
        }
        guard case .restore(let restore) = try job(event, reader: reader) else {
            throw TestFailure("no restore")
        }
        #expect(restore.destination == name)
    }

    /// Shows that records come to a target that takes them as they are, spelt as single variables too.
    @Test func records() throws {
        let reader = EventReader(
            targets: [EventTarget("trail", engine: .auditRecords, takesRecords: true)], runID: nil, dryRun: false,
            clock: FixedClock(), random: countingBytes)
        let records = #"[{"id":1,"what":"read"},{"id":2,"patient":{"id":"P-1"}}]"#
        guard case .array(let expected) = try JSON(parsing: Array(records.utf8)) else {
            throw TestFailure("no list")
        }
        let job = Job.backup(
            BackupJob(target: "trail", tier: .hourly, requestID: Self.random, records: expected))
        #expect(try self.job(#"{"backupType":"hourly","records":\#(records)}"#, reader: reader) == job)
        #expect(
            try reader.job(from: EventSources(environment: ["backupType": "hourly", "records": records])) == job)
    }
}
