import Core
import Crypto
import LocalKeyring
import Sets
import TestSupport
import Testing

@testable import Operations

/// A clinic with a scratch place and two keys, of which the first can be lost.
struct DrillSite {
    var clinic: Clinic
    let place: TextScratchPlace
    let primary: any KeyProvider
    let escrow: any KeyProvider

    static func with(_ body: (inout DrillSite) async throws -> Void) async throws {
        try await withScratchDirectory { directory in
            let primary = try key("primary", 7, in: directory)
            let escrow = try key("escrow", 8, in: directory)
            var clinic = Clinic(key: primary)
            clinic.use(recipients: [primary, escrow], identities: [primary, escrow])
            let place = TextScratchPlace(clock: clinic.clock)
            clinic.workplace.scratch = place
            clinic.workplace.secondary = nil
            var site = DrillSite(clinic: clinic, place: place, primary: primary, escrow: escrow)
            try await body(&site)
            #expect(place.now.opened == place.now.closed, "a scratch place was left open")
        }
    }

    static func key(_ name: String, _ byte: UInt8, in directory: String) throws -> AESKeyProvider {
        let path = "\(directory)/\(name).hex"
        try writeFile(path, String(repeating: hexText([byte]), count: 32))
        return try AESKeyProvider(path: path)
    }

    func drill(
        _ scenario: DrillJob.Scenario, _ key: KeySelector = .latest(nil), requestID: RequestID = .random("d"),
        dryRun: Bool = false, verification: @escaping Drill.Verification = Drill.verify
    ) async throws -> JobResult {
        try await Drill(
            DrillJob(target: "clinic", scenario: scenario, key: key, requestID: requestID, dryRun: dryRun),
            at: clinic.workplace, verification: verification
        ).run()
    }

    /// The stored record, as JSON.
    func record(_ result: JobResult) throws -> JSON {
        guard case .string(let path)? = result.details["record"] else { throw TestFailure("no record is named") }
        return try JSON(parsing: clinic.firstMemory.bytes(path) ?? [])
    }

    var records: [String] { clinic.firstMemory.keys.filter { $0.hasPrefix("proofs/") } }

    /// A step's result in the record of `result`.
    func step(_ name: String, _ result: JobResult) throws -> DrillRecord.Step {
        try #require(result.drill?.steps.first { $0.name == name }, "there is no step \(name)")
    }

    func validation(_ name: String, _ result: JobResult) throws -> DrillRecord.Outcome {
        try #require(result.drill?.validations.first { $0.name == name }).outcome
    }
}

@Suite("Drill: key loss")
struct KeyLossTests {
    /// Shows that without the first key every set opens by the other, that no body was read for it, and that steps,
    /// validations and figures are as they are to be.
    @Test func passes() async throws {
        try await DrillSite.with { site in
            for _ in 0..<3 { _ = try await site.clinic.backup() }
            let newest = site.clinic.clock.now()
            site.clinic.clock.advance(seconds: 60)
            let before = site.clinic.first.log.count
            let result = try await site.drill(.keyLoss)
            #expect(result.exitCode == .done && result.verdict == .proven && result.proofDepth == nil)
            let record = try #require(result.drill)
            #expect(record.steps.map(\.name) == ["RETRIEVE_BACKUP", "RESTORE_KEYS", "VERIFY_ACCESS"])
            #expect(record.steps.map(\.shows) == ["KEY_INTEGRITY", "KEY_FUNCTIONALITY", "DATA_ACCESSIBILITY"])
            #expect(
                Set(record.validations.map(\.name)) == [
                    "KEY_VERSION_CHECK", "ENCRYPTION_TEST", "ACCESS_VERIFICATION",
                ])
            #expect(record.compared == 3 && record.matched == 3)
            #expect(record.passed == 6 && record.checks == 6 && record.status == .completed)
            #expect(record.scope.until == newest)
            // Nothing was restored.
            #expect(record.recoveryMilliseconds == nil && record.lossMilliseconds == nil)
            let reads = site.clinic.first.log.dropFirst(before).filter { $0.call == .get }
            #expect(!reads.isEmpty && reads.allSatisfy { !$0.key.hasSuffix(".encrypted") })
            #expect(site.place.now.opened == 0)
        }
    }

    /// Shows that the first key is really left out: a set for that key alone fails the drill by its name, whatever its
    /// place among the others, and so does one that is for the other key and was changed so that it does not open.
    @Test(arguments: ["primary alone", "changed"])
    func oneSet(_ damage: String) async throws {
        try await DrillSite.with { site in
            _ = try await site.clinic.backup()
            if damage == "primary alone" { site.clinic.workplace.writer.recipients = [site.primary] }
            let key = try #require(try await site.clinic.backup().backupKey)
            site.clinic.workplace.writer.recipients = [site.primary, site.escrow]
            _ = try await site.clinic.backup()
            if damage == "changed" {
                let path = "\(key)/manifest.json"
                let manifest = try await Catalog(site.clinic.firstMemory).manifest(key).manifest
                var changed = manifest
                changed.encryption.dataKeys = manifest.encryption.dataKeys.map { wrapped in
                    var wrapped = wrapped
                    wrapped.ciphertext[0] ^= 1
                    return wrapped
                }
                let bytes = changed.json().canonicalBytes
                site.clinic.firstMemory.damage(path) { $0 = bytes }
            }
            let result = try await site.drill(.keyLoss)
            #expect(result.exitCode == .keys && result.verdict == .failed)
            #expect(result.drill?.matched == 2)
            let access = try site.step("VERIFY_ACCESS", result)
            #expect(access.outcome == .failed)
            #expect(access.findings.contains { $0.contains("\(key)") })
            #expect(try site.validation("ACCESS_VERIFICATION", result) == .failed)
            #expect(
                try site.validation("KEY_VERSION_CHECK", result) == (damage == "changed" ? .passed : .failed))
            #expect(result.failure?.cause.contains("\(key)") == true)
        }
    }

    /// Shows that a rewrap mends what the drill found: sets for the first key alone open by the other afterwards.
    @Test func rewrapped() async throws {
        try await DrillSite.with { site in
            site.clinic.workplace.writer.recipients = [site.primary]
            _ = try await site.clinic.backup()
            site.clinic.workplace.writer.recipients = [site.primary, site.escrow]
            #expect(try await site.drill(.keyLoss).verdict == .failed)
            #expect(try await site.clinic.rewrap(store: .primary).exitCode == .done)
            #expect(try await site.drill(.keyLoss).verdict == .proven)
        }
    }

    /// Shows that with one recipient the drill fails: its loss is the loss of everything; and so where the second is the
    /// same key again.
    @Test(arguments: [1, 2])
    func nothingLeft(_ count: Int) async throws {
        try await DrillSite.with { site in
            site.clinic.use(
                recipients: [any KeyProvider](repeating: site.primary, count: count), identities: [site.primary])
            _ = try await site.clinic.backup()
            let result = try await site.drill(.keyLoss)
            #expect(result.verdict == .failed && result.exitCode == .keys)
            #expect(try site.step("RESTORE_KEYS", result).outcome == .failed)
            #expect(try site.validation("ACCESS_VERIFICATION", result) == .failed)
        }
    }

    /// Shows that a recipient whose private key is not at hand is no pass and no failure: it may lie in a safe.
    @Test func notAtHand() async throws {
        try await DrillSite.with { site in
            _ = try await site.clinic.backup()
            let third = try await withScratchDirectory { try DrillSite.key("third", 9, in: $0) }
            site.clinic.workplace.writer.optionalRecipients = [third]
            let result = try await site.drill(.keyLoss)
            #expect(result.verdict == .inconclusive && result.exitCode == .inconclusive)
            #expect(try site.step("RESTORE_KEYS", result).findings.contains { $0.contains("aes:third: no identity") })
        }
    }

    /// Shows that a key which opens to other bytes than were sealed, or refuses, is found before any set is tried.
    @Test(arguments: [true, false])
    func brokenKey(opensWrong: Bool) async throws {
        try await DrillSite.with { site in
            _ = try await site.clinic.backup()
            let broken = BrokenKey(site.escrow, opensWrong: opensWrong)
            site.clinic.use(recipients: [site.primary, broken], identities: [site.primary, broken])
            let result = try await site.drill(.keyLoss)
            #expect(result.verdict == .failed && result.exitCode == .keys)
            #expect(try site.step("RESTORE_KEYS", result).outcome == .failed)
            #expect(try site.validation("ENCRYPTION_TEST", result) == .failed)
            #expect(try site.step("VERIFY_ACCESS", result).outcome == .failed)
        }
    }

    /// Shows that a manifest which cannot be read fails the drill and the others are tried all the same; that without
    /// any set there is nothing to rehearse; and that a dry run only says what would be done.
    @Test func badSets() async throws {
        try await DrillSite.with { site in
            await #expect(throws: (any Error).self) { try await site.drill(.keyLoss) }
            let key = try #require(try await site.clinic.backup().backupKey)
            _ = try await site.clinic.backup()
            site.clinic.firstMemory.damage("\(key)/manifest.json") { $0[0] ^= 1 }
            let before = site.clinic.firstMemory.keys
            let plan = try await site.drill(.keyLoss, dryRun: true)
            #expect(plan.details["remaining"] == .array([.string("aes:escrow")]))
            #expect(plan.details["sets"] == .integer(2))
            #expect(site.clinic.firstMemory.keys == before)
            let result = try await site.drill(.keyLoss)
            #expect(result.verdict == .failed)
            #expect(try site.step("RETRIEVE_BACKUP", result).outcome == .failed)
            #expect(result.drill?.matched == 1)
        }
    }
}

/// A key that seals well and opens badly.
private struct BrokenKey: KeyProvider {
    let base: any KeyProvider
    let opensWrong: Bool

    init(_ base: any KeyProvider, opensWrong: Bool) {
        self.base = base
        self.opensWrong = opensWrong
    }

    var capabilities: KeyCapabilities { base.capabilities }

    func wrap(_ dataKey: SecretBytes, context: [String: String]) async throws -> EncryptedDataKey {
        try await base.wrap(dataKey, context: context)
    }

    func unwrap(_ wrapped: EncryptedDataKey, context: [String: String]) async throws -> SecretBytes? {
        guard try await base.unwrap(wrapped, context: context) != nil else { return nil }
        guard opensWrong else {
            throw JobFailure(.keys, "unwrap", cause: "the device is broken", hint: "")
        }
        var other = [UInt8](repeating: 5, count: 32)
        return SecretBytes(wiping: &other)
    }
}

@Suite("Drill: data corruption")
struct DataCorruptionTests {
    private static let detections = CorruptionKind.allCases.map { "DETECT_\($0.rawValue)" }

    /// Shows that every kind of damage is found in a copy, over many random places, with and without another set and an
    /// earlier proof beside; that the set itself is restored and proven after it; and that nothing of it was changed.
    @Test(arguments: 0..<12)
    func finds(_ seed: Int) async throws {
        try await DrillSite.with { site in
            if seed % 2 == 0 { _ = try await site.clinic.backup() }
            site.clinic.engine.text = patternBytes(seed % 3 == 0 ? 2_500_000 : 40, seed: UInt8(seed))
            let key = try #require(try await site.clinic.backup().backupKey)
            if seed % 4 < 2 { _ = try await site.clinic.verify(.exact(key)) }
            let keys = site.clinic.firstMemory.keys
            let objects = Dictionary(uniqueKeysWithValues: keys.map { ($0, site.clinic.firstMemory.bytes($0)) })
            let clock = site.clinic.clock
            site.place.set { $0.acts[.stage] = { clock.advance(seconds: 5) } }
            let result = try await site.drill(
                .dataCorruption, .exact(key),
                verification: { workplace, key, store, meter in
                    clock.advance(seconds: 60)
                    try await Drill.verify(workplace, key, store, meter)
                })
            #expect(result.exitCode == .done && result.verdict == .proven && result.proofDepth == .restore)
            // Without the time that looking for damage took.
            #expect(result.drill?.recoveryMilliseconds == 5000)
            let record = try #require(result.drill)
            #expect(record.steps.map(\.name) == ["RETRIEVE_BACKUP"] + Self.detections + ["RESTORE_SYSTEM"])
            #expect(record.steps.allSatisfy { $0.outcome == .passed })
            #expect(try site.validation("DETECTION_CHECK", result) == .passed)
            #expect(try site.validation("CONTENTS_CHECK", result) == .passed)
            for (object, bytes) in objects where !object.hasPrefix("locks/") {
                #expect(site.clinic.firstMemory.bytes(object) == bytes, "\(object) was changed")
            }
            #expect(site.place.now.promoted == [site.clinic.engine.text])
            #expect(try site.clinic.proofs(of: key).last?["depth"] == .string("restore"))
        }
    }

    /// Shows for each kind of damage that the drill fails, and names it, where verification does not find it: here
    /// verification is made blind to that kind alone.
    @Test(arguments: CorruptionKind.allCases)
    func noticesBlindness(_ kind: CorruptionKind) async throws {
        try await DrillSite.with { site in
            let key = try #require(try await site.clinic.backup().backupKey)
            let run = Guarded(0)
            let blind = CorruptionKind.allCases.firstIndex(of: kind)
            let result = try await site.drill(
                .dataCorruption, .exact(key),
                verification: { workplace, key, store, meter in
                    let number = run.withLock { run in
                        defer { run += 1 }
                        return run
                    }
                    if number == blind { return }
                    try await Drill.verify(workplace, key, store, meter)
                })
            #expect(run.value == CorruptionKind.allCases.count)
            #expect(result.verdict == .failed && result.exitCode == .verificationFailed)
            for other in CorruptionKind.allCases {
                #expect(
                    try site.step("DETECT_\(other.rawValue)", result).outcome == (other == kind ? .failed : .passed))
            }
            #expect(try site.validation("DETECTION_CHECK", result) == .failed)
            #expect(result.failure?.object.contains(kind.rawValue) == true)
            #expect(try site.record(result)["verdict"] == .string("failed"))
        }
    }

    /// What verification may leave out, and which kinds of damage it then does not see.
    enum Omission: CaseIterable {
        /// It looks whether what the manifest names is there, and reads nothing of it.
        case bodies
        /// It reads every part, and not the records.
        case records
        /// It reads another store than the one it was given.
        case everything

        var unseen: Set<CorruptionKind> {
            switch self {
            case .bodies: [.bitFlip, .swappedSegments]
            case .records: [.editedRecord]
            case .everything: Set(CorruptionKind.allCases)
            }
        }
    }

    /// Shows that the drill fails just where a real verification, that leaves something out, sees nothing.
    @Test(arguments: Omission.allCases)
    func noticesOmission(_ omission: Omission) async throws {
        try await DrillSite.with { site in
            let key = try #require(try await site.clinic.backup().backupKey)
            let first = site.clinic.firstMemory
            let result = try await site.drill(
                .dataCorruption, .exact(key),
                verification: { workplace, key, store, meter in
                    switch omission {
                    case .bodies: _ = try await workplace.openWithRecords(key, in: SetCopy(.primary, store))
                    case .records:
                        let reader = try await SetReader.open(
                            key, of: workplace.target, in: Copies(store), configuration: workplace.reader,
                            notes: ReadingNotes())
                        _ = try await workplace.proveIntegrity(of: reader, recompute: false, meter: meter)
                    case .everything: try await Drill.verify(workplace, key, first, meter)
                    }
                })
            #expect(result.verdict == .failed)
            for kind in CorruptionKind.allCases {
                #expect(
                    try site.step("DETECT_\(kind.rawValue)", result).outcome
                        == (omission.unseen.contains(kind) ? .failed : .passed), "\(kind)")
            }
        }
    }

    /// Shows that a store which fails while damage is looked for is no find: the drill is inconclusive, says so in its
    /// record, and its exit code is the store's.
    @Test func storeFails() async throws {
        try await DrillSite.with { site in
            let key = try #require(try await site.clinic.backup().backupKey)
            let result = try await site.drill(
                .dataCorruption, .exact(key),
                verification: { _, _, _, _ in
                    throw JobFailure(.store, "read", cause: "the test wants it", hint: "")
                })
            #expect(result.verdict == .inconclusive && result.exitCode == .store)
            let record = try #require(result.drill)
            #expect(record.status == .aborted && record.steps.count == 2)
        }
    }

    /// Shows that a set which is damaged already fails the drill rather than passing for found damage, whatever its second
    /// copy holds; only where the first has no manifest to begin with the second is rehearsed with, and that is said.
    @Test(arguments: ["text", "manifest", "record"])
    func damagedAlready(_ what: String) async throws {
        try await DrillSite.with { site in
            site.clinic.workplace.secondary = site.clinic.second
            let key = try #require(try await site.clinic.backup().backupKey)
            _ = try await site.clinic.verify(.exact(key))
            let object = try #require(
                site.clinic.firstMemory.keys.first {
                    $0.hasPrefix("\(key)/")
                        && $0.contains(what == "text" ? "/text" : what == "manifest" ? "manifest" : "-proof")
                })
            site.clinic.firstMemory.damage(object) { $0[$0.count - 2] ^= 1 }
            let result = try await site.drill(.dataCorruption, .exact(key))
            if what == "manifest" {
                #expect(result.verdict == .proven)
                #expect(result.notes.contains { $0.contains("second copy") })
            } else {
                #expect(result.verdict == .failed && result.exitCode == .verificationFailed)
            }
        }
    }

    /// Shows that a random set is drawn of the recent ones, and that without a scratch place nothing is begun.
    @Test func chosen() async throws {
        try await DrillSite.with { site in
            var keys: Set<BackupKey> = []
            for _ in 0..<3 { keys.insert(try #require(try await site.clinic.backup().backupKey)) }
            var drawn: Set<BackupKey> = []
            for _ in 0..<3 {
                drawn.insert(try #require(try await site.drill(.dataCorruption, .random).backupKey))
            }
            // The longest unverified is drawn first.
            #expect(drawn == keys)
            site.clinic.workplace.scratch = nil
            let error = await #expect(throws: JobFailure.self) { try await site.drill(.dataCorruption) }
            #expect(error?.exitCode == .configuration)
            let plan = await #expect(throws: JobFailure.self) { try await site.drill(.systemFailure, dryRun: true) }
            #expect(plan?.exitCode == .configuration)
        }
    }
}
