import Core
import TestSupport
import Testing

@testable import Events

@Suite("Events of recovery and rehearsal")
struct RecoveryEventTests {
    private static let confirmed = #""CONFIRM_RESTORE":"YES_I_WANT_TO_RESTORE""#

    private func reader(_ target: EventTarget) -> EventReader {
        EventReader(targets: [target], runID: nil, dryRun: false, clock: FixedClock(), random: countingBytes)
    }

    private var server: EventReader { reader(EventTarget("default", isPhysical: true, hasRestoreDirectory: true)) }

    private func restore(_ fields: String, _ reader: EventReader? = nil) throws -> RestoreJob {
        let event = "{\(Self.confirmed),\(fields)}"
        let job = try (reader ?? server).job(from: EventSources(environment: ["BACKUP_EVENT": event]))
        guard case .restore(let restore) = job else { throw TestFailure("no restore") }
        return restore
    }

    private func refusal(_ fields: String) -> EventError? {
        do {
            _ = try restore(fields)
            return nil
        } catch {
            return error as? EventError
        }
    }

    /// Shows that a time is read to the microsecond in each form that people and the server write, and to which instant
    /// in UTC each comes.
    @Test(arguments: [
        ("2025-01-15T14:59:00Z", "2025-01-15T14:59:00Z"), ("2025-01-15T15:59:00+01:00", "2025-01-15T14:59:00Z"),
        ("2025-01-15 15:59:00+01", "2025-01-15T14:59:00Z"), ("2025-01-15 09:29:00-05:30", "2025-01-15T14:59:00Z"),
        ("2025-01-15 14:59:00.123456+00", "2025-01-15T14:59:00.123456Z"),
        ("2025-01-15T14:59:00.25Z", "2025-01-15T14:59:00.25Z"),
        ("2025-01-15T14:59:00.000001Z", "2025-01-15T14:59:00.000001Z"),
        ("2025-01-15T14:59:00.123456789Z", "2025-01-15T14:59:00.123456Z"),
        ("2024-12-31T23:30:00-01:00", "2025-01-01T00:30:00Z"),
    ])
    func time(given: String, inUTC: String) throws {
        let job = try restore(#""recoveryTarget":{"time":"\#(given)"}"#)
        guard case .time(let microseconds)? = job.recoveryTarget?.point else { throw TestFailure("no time") }
        #expect(RecoveryTime(given)?.description == inUTC)
        #expect(RecoveryTime(inUTC)?.microseconds == microseconds)
        let milliseconds = try #require(Timestamp(inUTC)).milliseconds
        #expect(microseconds / 1000 == milliseconds)
    }

    /// Shows that a time without a zone is refused with what it would be in UTC, and with that of another zone.
    @Test(arguments: [
        ("2025-01-15T14:59:00", "2025-01-15T14:59:00Z", "2025-01-15T12:59:00Z"),
        ("2025-01-15 00:30:00.5", "2025-01-15T00:30:00.5Z", "2025-01-14T22:30:00.5Z"),
    ])
    func timeWithoutZone(given: String, inUTC: String, further: String) throws {
        let error = try #require(refusal(#""recoveryTarget":{"time":"\#(given)"}"#))
        #expect(error.field == "recoveryTarget.time" && error.cause.hasSuffix("would be \(inUTC)"))
        #expect(error.hint.contains("write \(inUTC)") && error.hint.contains("would be \(further)"))
    }

    /// Shows that this very moment may be recovered to, and no later one.
    @Test func future() throws {
        _ = try restore(#""recoveryTarget":{"time":"2025-06-01T12:00:00.000999Z"}"#)
        let error = try #require(refusal(#""recoveryTarget":{"time":"2025-06-01T12:00:00.001Z"}"#))
        #expect(error.cause == "it lies in the future" && error.hint.contains("2025-06-01T12:00:00.000Z"))
    }

    /// Shows each other point, with inclusive and timeline where they are said and where they are not.
    @Test func points() throws {
        #expect(try restore(#""recoveryTarget":"latest""#).recoveryTarget == RecoveryTarget(.latest))
        #expect(
            try restore(#""recoveryTarget":{"latest":true,"timeline":3}"#).recoveryTarget
                == RecoveryTarget(.latest, timeline: 3))
        #expect(
            try restore(#""recoveryTarget":{"xid":4711,"inclusive":false}"#).recoveryTarget
                == RecoveryTarget(.transaction(4711), isInclusive: false))
        #expect(
            try restore(#""recoveryTarget":{"xid":"18446744073709551615"}"#).recoveryTarget
                == RecoveryTarget(.transaction(.max)))
        #expect(
            try restore(#""recoveryTarget":{"lsn":"16/b374d848","timeline":4294967295}"#).recoveryTarget
                == RecoveryTarget(.lsn(LSN(0x16_B374_D848)), timeline: .max))
        #expect(
            try restore(#""recoveryTarget":{"name":"before migration"}"#).recoveryTarget
                == RecoveryTarget(.name("before migration")))
    }

    /// Shows that a point spelt as a single variable is the same as in JSON, as a word and as an object.
    @Test func pointAsVariable() throws {
        for (text, target) in [
            ("latest", RecoveryTarget(.latest)),
            (#"{"xid":4711,"timeline":2}"#, RecoveryTarget(.transaction(4711), timeline: 2)),
        ] {
            let variables = ["CONFIRM_RESTORE": "YES_I_WANT_TO_RESTORE", "recoveryTarget": text]
            let job = try server.job(from: EventSources(environment: variables))
            guard case .restore(let restore) = job else { throw TestFailure("no restore") }
            #expect(restore.recoveryTarget == target && restore.key == .latest(nil))
        }
    }

    /// Shows where a whole server goes, and where one database out of it: to a directory's path or its configured name,
    /// or the settings' directory; to a configured database, or one by its name.
    @Test func destinations() throws {
        let reader = reader(
            EventTarget(
                "default", destinations: ["staging"], foreignDestinations: ["shelf": "a directory"], isPhysical: true,
                directories: ["shelf"], hasScratch: true))
        let key = #""backupKey":"latest""#
        #expect(try restore(#"\#(key),"targetDatabase":"/srv/x/""#, reader).destination == "/srv/x")
        #expect(try restore(#"\#(key),"targetDatabase":"shelf""#, reader).destination == "shelf")
        #expect(try restore(key, server).destination == nil)
        for name in ["staging", "clinic"] {
            let job = try restore(
                #"\#(key),"sourceDatabase":"clinic","targetDatabase":"\#(name)""#, reader)
            #expect(job.destination == name && job.sourceDatabase == "clinic")
        }
        #expect(try restore(#"\#(key),"sourceDatabase":"clinic""#, reader).destination == nil)
        // The way back from the restore of one database.
        let safety = #""backupKey":"safety/safety-backup-2025-01-16T09-30-00-000Z""#
        #expect(try restore(#"\#(safety),"targetDatabase":"clinic""#, reader).destination == "clinic")
    }

    /// Shows that losing a key can be rehearsed without a place to restore to, and that the other disasters and a proof
    /// by restore say what they lack, each by its own engine's setting.
    @Test(arguments: [
        (EngineName.postgres, "SCRATCH_DIRECTORY"), (.files, "SCRATCH_DIRECTORY"),
        (.mysql, "BACKUP_SCRATCH_DESTINATION"), (.mongodb, "BACKUP_SCRATCH_DESTINATION"),
    ])
    func scratch(engine: EngineName, setting: String) throws {
        let without = reader(EventTarget("default", engine: engine))
        let with = reader(EventTarget("default", engine: engine, hasScratch: true))
        func job(_ event: String, _ reader: EventReader) throws -> Job {
            try reader.job(from: EventSources(environment: ["BACKUP_EVENT": event]))
        }
        _ = try job(#"{"action":"drill","scenario":"KEY_LOSS"}"#, without)
        for event in [
            #"{"action":"drill","scenario":"SYSTEM_FAILURE"}"#, #"{"action":"drill","scenario":"DATA_CORRUPTION"}"#,
            #"{"action":"verify","depth":"restore"}"#,
        ] {
            _ = try job(event, with)
            let error = #expect(throws: EventError.self) { try job(event, without) }
            #expect(error?.hint.hasPrefix("set \(setting) ") == true)
        }
    }
}
