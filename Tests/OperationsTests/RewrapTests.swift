import AWS
import AWSKMSKeyring
import Core
import Crypto
import Glibc
import LocalKeyring
import Operations
import RSAKeyring
import Sets
import TestSupport
import Testing

/// Sets in two stores under new keys, without their segments being touched.
@Suite("Rewrapping a target's sets")
struct RewrapTests {
    /// Shows the rotation from one kind of key to another, from start to end: what the new key cannot open it opens
    /// after the job, in both stores, for verify, restore and list; what the old one opened it opens still; and of all
    /// that was stored before not a byte has changed.
    @Test(arguments: [("aes", "aes"), ("aes", "rsa"), ("rsa", "aes"), ("rsa", "rsa"), ("aes", "both")])
    func rotation(from old: String, to new: String) async throws {
        try await Rotation.with { rotation in
            let oldKeys = try rotation.keys(old, "old")
            let newKeys = try rotation.keys(new, "new")
            var clinic = rotation.clinic
            clinic.use(recipients: oldKeys.recipients, identities: oldKeys.identities)
            let keys = try await rotation.makeSets(clinic)
            let before = clinic.stored

            for identity in newKeys.identities {
                clinic.use(recipients: newKeys.recipients, identities: [identity])
                let closed = await #expect(throws: (any Error).self) { try await clinic.verify(.exact(keys[0])) }
                #expect((closed as? any Failure)?.exitCode == .keys)
            }
            clinic.use(recipients: newKeys.recipients, identities: oldKeys.identities)
            let result = try await clinic.rewrap()
            #expect(result.exitCode == .done)
            #expect(result.details["rewrapped"] == .integer(Int64(keys.count)))
            #expect(!result.replayed)

            for identity in newKeys.identities + oldKeys.identities {
                clinic.use(recipients: newKeys.recipients, identities: [identity])
                for key in keys { #expect(try await clinic.verify(.exact(key), store: .both).verdict == .proven) }
                let text = clinic.engine.text
                clinic.engine.text = [1]
                // The backup before the restore is for the new keys alone.
                clinic.workplace.reader.identities = [identity] + newKeys.identities
                _ = try await clinic.restore(.exact(keys[0]))
                #expect(clinic.engine.text == text)
            }
            for (store, objects) in before {
                for (key, bytes) in objects { #expect(store.bytes(key) == bytes, "\(key) was changed") }
            }
            // Again there is nothing to do, whether the old key is there or not.
            for identities in [oldKeys.identities, newKeys.identities] {
                clinic.use(recipients: newKeys.recipients, identities: identities)
                let records = clinic.records
                #expect(try await clinic.rewrap(.exact(keys[1])).details["current"] == .integer(1))
                #expect(clinic.records == records)
            }
        }
    }

    /// Shows a rotation from a key in a file to one in KMS, whose wrapping may have any length, and that KMS is not asked
    /// to decrypt what its ARN shows to be its own.
    @Test(.needs(MotoServer.part))
    func rotationToKMS() async throws {
        let moto = try await MotoServer.shared()
        try await withTransport { transport in
            try await Rotation.with { rotation in
                let old = try rotation.keys("rsa", "old")
                let kms = try Self.kms(try await moto.createKey(), moto, transport)
                var clinic = rotation.clinic
                clinic.use(recipients: old.recipients, identities: old.identities)
                let keys = try await rotation.makeSets(clinic)
                clinic.use(recipients: [kms], identities: old.identities)
                #expect(try await clinic.rewrap().details["rewrapped"] == .integer(Int64(keys.count)))
                #expect(try await clinic.rewrap().details["current"] == .integer(Int64(keys.count)))
                clinic.use(recipients: [kms], identities: [kms])
                for key in keys { #expect(try await clinic.verify(.exact(key), store: .both).verdict == .proven) }
            }
        }
    }

    private static func kms(
        _ arn: String, _ moto: MotoServer, _ transport: any HTTPTransport
    ) throws -> KMSKeyProvider {
        let configuration = try AWSConfiguration(
            environment: ["AWS_ENDPOINT_URL_KMS": moto.url, "AWS_REGION": "eu-central-1"], readFile: { _ in [] })
        let client = AWSClient(
            transport: transport,
            credentials: FixedCredentials(
                AWSCredentials(accessKeyID: "testing", secretAccessKey: Secret("testing"), source: "tests")),
            maxAttempts: 2, clock: ManualClock(), sleep: { _ in try Task.checkCancellation() },
            random: { [UInt8](repeating: 128, count: $0) }, logger: TestLogs().logger)
        return try KMSKeyProvider(key: arn, client: client, configuration: configuration)
    }

    /// Shows that the job may be killed after any call to a store: the sets open as before, the next run goes on, and in
    /// the end each has one record in each store. (The lock of a killed run runs out.)
    @Test func killedAnywhere() async throws {
        try await Rotation.with { rotation in
            let (old, new) = (try rotation.keys("aes", "old"), try rotation.keys("aes", "new"))
            var calls = 0
            var finished = false
            while !finished {
                // Every fourth call of the long middle, and each of the first ones.
                calls += calls < 20 ? 1 : 4
                var clinic = rotation.fresh()
                clinic.use(recipients: old.recipients, identities: old.identities)
                let keys = try await rotation.makeSets(clinic)
                clinic.use(recipients: new.recipients, identities: old.identities)
                // In turns the first store and the second, which is called less often.
                let half = calls.isMultiple(of: 2)
                (half ? clinic.first : clinic.second).die(afterCalls: calls)
                do {
                    let result = try await clinic.rewrap()
                    #expect(result.exitCode == .done || result.exitCode == .notReplicated)
                    finished = half && result.exitCode == .done
                } catch let failure as any Failure {
                    #expect(failure.exitCode == .store, "\(failure)")
                }
                clinic.first.heal()
                clinic.second.heal()
                clinic.clock.advance(seconds: 120)
                for key in keys { #expect(try await clinic.verify(.exact(key), store: .both).verdict == .proven) }
                #expect(try await clinic.rewrap().exitCode == .done)
                clinic.use(recipients: new.recipients, identities: new.identities)
                for key in keys { #expect(try await clinic.verify(.exact(key), store: .both).verdict == .proven) }
                let rewraps = clinic.records.filter { $0.contains("rewrap") }
                #expect(rewraps.count == keys.count * 2, "killed after \(calls) calls: \(rewraps)")
            }
        }
    }

    /// Shows that an end from outside, at whatever store call it comes, leaves sets that open and no lock.
    @Test func cancelled() async throws {
        try await Rotation.with { rotation in
            let (old, new) = (try rotation.keys("aes", "old"), try rotation.keys("aes", "new"))
            for number in 1...12 {
                var clinic = rotation.fresh()
                clinic.use(recipients: old.recipients, identities: old.identities)
                let keys = try await rotation.makeSets(clinic)
                clinic.use(recipients: new.recipients, identities: old.identities)
                let running = Guarded<Task<JobResult, any Error>?>(nil)
                clinic.first.fail(
                    nil, nth: number * 3, keyContaining: "backup-", with: .interleave { running.value?.cancel() })
                let task = Task { [clinic] in
                    while running.value == nil { await Task.yield() }
                    return try await clinic.rewrap()
                }
                running.withLock { $0 = task }
                if case .failure(let error) = await task.result {
                    #expect(error is CancellationError, "\(error)")
                }
                clinic.first.heal()
                #expect(try await clinic.rewrap().exitCode == .done)
                clinic.use(recipients: new.recipients, identities: new.identities)
                for key in keys { #expect(try await clinic.verify(.exact(key), store: .both).verdict == .proven) }
            }
        }
    }

    /// Shows that a dry run names what would be done and does nothing, not even to the lock.
    @Test func dryRun() async throws {
        try await Rotation.with { rotation in
            let (old, new) = (try rotation.keys("aes", "old"), try rotation.keys("rsa", "new"))
            var clinic = rotation.clinic
            clinic.use(recipients: old.recipients, identities: old.identities)
            let keys = try await rotation.makeSets(clinic)
            clinic.use(recipients: new.recipients + old.recipients, identities: old.identities)
            let before = clinic.stored.map(\.1)
            let result = try await clinic.rewrap(dryRun: true)
            #expect(result.dryRun && result.exitCode == .done)
            #expect(result.details["due"] == .integer(Int64(keys.count)))
            #expect(result.details["recipients"] == .array([.string("rsa:new"), .string("aes:old")]))
            guard case .array(let plan)? = result.details["plan"], case .object(let first)? = plan.first else {
                Issue.record("there is no plan")
                return
            }
            #expect(first["recipients"] == .array([.string("lifeboat/old")]))
            #expect(clinic.stored.map(\.1) == before)
        }
    }

    /// Shows that sets which no identity opens, or which are damaged, are named, that all the others are done, and that
    /// the run then ends with 12.
    @Test func notAllOpen() async throws {
        try await Rotation.with { rotation in
            let (old, new) = (try rotation.keys("aes", "old"), try rotation.keys("aes", "new"))
            let lost = try rotation.keys("rsa", "lost")
            var clinic = rotation.clinic
            clinic.use(recipients: old.recipients, identities: old.identities)
            let keys = try await rotation.makeSets(clinic)
            clinic.use(recipients: lost.recipients, identities: lost.identities)
            let closed = try #require(try await clinic.backup(.manual).backupKey)
            clinic.firstMemory.damage("\(keys[0])/manifest.json") { $0[$0.count / 2] ^= 1 }
            clinic.use(recipients: new.recipients, identities: old.identities)
            let result = try await clinic.rewrap()
            #expect(result.exitCode == .keys)
            #expect(result.details["sets"] == .integer(Int64(keys.count + 1)))
            #expect(result.details["failed"] == .integer(2))
            #expect(result.details["rewrapped"] == .integer(Int64(keys.count - 1)))
            #expect(result.failure?.object == closed.description)
            #expect(result.failure?.cause.contains("2 of \(keys.count + 1) sets were not") == true)
            #expect(result.failure?.cause.contains(keys[0].description) == true)
            #expect(result.failure?.hint.contains("BACKUP_IDENTITIES") == true)
            clinic.use(recipients: new.recipients, identities: new.identities)
            #expect(try await clinic.verify(.exact(keys[1])).verdict == .proven)
        }
    }

    /// Shows that a second store which does not answer ends the run with 18 and the first store's sets done; that the
    /// next run gives it the very same record; and that a backup does, for what a run left.
    @Test(arguments: ["rewrap", "backup"])
    func secondLater(_ way: String) async throws {
        try await Rotation.with { rotation in
            let (old, new) = (try rotation.keys("aes", "old"), try rotation.keys("aes", "new"))
            var clinic = rotation.clinic
            clinic.use(recipients: old.recipients, identities: old.identities)
            let keys = try await rotation.makeSets(clinic)
            clinic.use(recipients: new.recipients, identities: old.identities)
            clinic.second.die(afterCalls: way == "rewrap" ? 0 : 14)
            let result = try await clinic.rewrap()
            #expect(result.exitCode == .notReplicated)
            #expect(result.details["rewrapped"] == .integer(Int64(keys.count)))
            clinic.second.heal()
            if way == "rewrap" {
                #expect(try await clinic.rewrap().details["recordsCopied"] == .integer(Int64(keys.count)))
            } else {
                #expect(try await clinic.backup(.manual).exitCode == .done)
            }
            let rewraps = clinic.firstMemory.keys.filter { $0.hasSuffix("-rewrap.json") }
            #expect(rewraps.count == keys.count)
            clinic.use(recipients: new.recipients, identities: new.identities)
            for key in keys {
                #expect(try await clinic.verify(.exact(key), store: .secondary).verdict == .proven)
                let first = rewraps.filter { $0.hasPrefix("\(key)/") }.compactMap { clinic.firstMemory.bytes($0) }
                let second = clinic.secondMemory.keys.filter {
                    $0.hasPrefix("\(key)/") && $0.hasSuffix("-rewrap.json")
                }
                #expect(second.compactMap { clinic.secondMemory.bytes($0) } == first)
            }
        }
    }

    /// Shows that a set copied after it was rewrapped takes its records along, that one which the second store alone has
    /// is rewrapped too, and that with the first store gone the second can be rewrapped by itself.
    @Test func secondAlone() async throws {
        try await Rotation.with { rotation in
            let (old, new) = (try rotation.keys("aes", "old"), try rotation.keys("aes", "new"))
            var clinic = rotation.clinic
            clinic.use(recipients: old.recipients, identities: old.identities)
            let keys = try await rotation.makeSets(clinic)
            for key in clinic.firstMemory.keys where key.hasPrefix("\(keys[0])/") {
                try await clinic.firstMemory.delete(key)
            }
            clinic.use(recipients: new.recipients, identities: old.identities)
            #expect(try await clinic.rewrap().details["rewrapped"] == .integer(Int64(keys.count)))
            clinic.use(recipients: new.recipients, identities: new.identities)
            #expect(try await clinic.verify(.exact(keys[0]), store: .secondary).verdict == .proven)

            let later = try rotation.keys("rsa", "later")
            clinic.first.die(afterCalls: 0)
            clinic.use(recipients: later.recipients, identities: new.identities)
            let gone = await #expect(throws: (any Error).self) { try await clinic.rewrap() }
            #expect((gone as? any Failure)?.exitCode == .store)
            let result = try await clinic.rewrap(store: .secondary)
            #expect(result.exitCode == .done)
            #expect(result.notes.contains { $0.contains("the first does not answer") })
            clinic.use(recipients: later.recipients, identities: later.identities)
            for key in keys {
                #expect(try await clinic.verify(.exact(key), store: .secondary).verdict == .proven)
            }
            // What only the second copy has a record for opens from there.
            clinic.first.heal()
            let restored = try await clinic.restore(.exact(keys[1]))
            #expect(restored.exitCode == .done)
        }
    }

    /// Shows that a new key under an old one's name is noticed wherever it can be, and that without it the sets would
    /// have been taken for done.
    @Test func sameName() async throws {
        try await Rotation.with { rotation in
            let old = try rotation.keys("aes", "clinic")
            var clinic = rotation.clinic
            clinic.use(recipients: old.recipients, identities: old.identities)
            let keys = try await rotation.makeSets(clinic)
            let new = try rotation.keys("aes", "clinic")
            clinic.use(recipients: new.recipients, identities: old.identities)
            #expect(try await clinic.rewrap().details["rewrapped"] == .integer(Int64(keys.count)))
            clinic.use(recipients: new.recipients, identities: new.identities)
            for key in keys { #expect(try await clinic.verify(.exact(key)).verdict == .proven) }
        }
    }

    /// Shows that a required recipient which cannot wrap ends the job before any set is touched, and that an optional one
    /// is named and made up for when it can again.
    @Test func recipientsThatFail() async throws {
        try await Rotation.with { rotation in
            let (old, new) = (try rotation.keys("aes", "old"), try rotation.keys("aes", "new"))
            let broken = SwitchedKey(try #require(try rotation.keys("aes", "switched").recipients.first))
            var clinic = rotation.clinic
            clinic.use(recipients: old.recipients, identities: old.identities)
            let keys = try await rotation.makeSets(clinic)
            clinic.use(recipients: new.recipients + [broken], identities: old.identities)
            let records = clinic.records
            let error = await #expect(throws: (any Error).self) { try await clinic.rewrap() }
            #expect((error as? any Failure)?.exitCode == .keys)
            #expect((error as? any Failure)?.object == "aes:switched")
            #expect(clinic.records == records)

            clinic.use(recipients: new.recipients, identities: old.identities)
            clinic.workplace.writer.optionalRecipients = [broken]
            let first = try await clinic.rewrap()
            #expect(first.exitCode == .done && first.details["rewrapped"] == .integer(Int64(keys.count)))
            #expect(first.notes.contains { $0.contains("optional recipient aes:switched") })
            #expect(try await clinic.rewrap().details["current"] == .integer(Int64(keys.count)))
            broken.isOn.withLock { $0 = true }
            #expect(try await clinic.rewrap().details["rewrapped"] == .integer(Int64(keys.count)))
            clinic.use(recipients: new.recipients, identities: [broken])
            for key in keys { #expect(try await clinic.verify(.exact(key)).verdict == .proven) }
        }
    }

    /// Shows that the target's lock is held while sets are rewrapped, that a set pruned meanwhile is no failure, and that
    /// records are kept as their set is.
    @Test func besideOthers() async throws {
        try await Rotation.with { rotation in
            let (old, new) = (try rotation.keys("aes", "old"), try rotation.keys("aes", "new"))
            var clinic = rotation.clinic
            clinic.use(recipients: old.recipients, identities: old.identities)
            clinic.workplace.writer.protection = SetProtection(lockMode: .governance)
            let keys = try await rotation.makeSets(clinic)
            clinic.workplace.writer.protection = SetProtection()
            clinic.use(recipients: new.recipients, identities: old.identities)
            let refusal = Guarded<ExitCode?>(nil)
            clinic.first.fail(
                .put, keyContaining: "-rewrap.json",
                with: .interleave { [clinic] in
                    do {
                        _ = try await Backup(
                            BackupJob(target: "clinic", tier: .daily, requestID: .random("b")), at: clinic.workplace
                        ).run()
                    } catch let failure as any Failure {
                        refusal.withLock { $0 = failure.exitCode }
                    }
                })
            let pruned = Guarded(0)
            let (first, second) = (clinic.firstMemory, clinic.secondMemory)
            // Any sets of another program's making, gone after they were listed.
            let gone = try #require(BackupKey("annual/backup-2020-01-01T00-00-00-000Z"))
            for store in [first, second] { try await store.put("\(gone)/manifest.json", Array("{}".utf8)) }
            clinic.first.fail(
                .get, keyContaining: "\(gone)",
                with: .interleave {
                    for store in [first, second] { try await store.delete("\(gone)/manifest.json") }
                    pruned.withLock { $0 += 1 }
                })
            let result = try await clinic.rewrap()
            #expect(result.exitCode == .done, "\(result.failure as Any)")
            #expect(result.details["sets"] == .integer(Int64(keys.count)))
            #expect(refusal.value == .locked)
            #expect(pruned.value == 1)
            for key in keys {
                let path = try #require(
                    clinic.firstMemory.keys.first { $0.hasPrefix("\(key)/") && $0.hasSuffix("-rewrap.json") })
                let lock = try await clinic.firstMemory.stat(path)?.protection.lock
                #expect(lock?.mode == .governance)
            }
        }
    }

    /// Shows that the same request again says that it was done, that each run's records carry its name, and that one set
    /// can be chosen.
    @Test func replay() async throws {
        try await Rotation.with { rotation in
            let (old, new) = (try rotation.keys("aes", "old"), try rotation.keys("aes", "new"))
            var clinic = rotation.clinic
            clinic.use(recipients: old.recipients, identities: old.identities)
            let keys = try await rotation.makeSets(clinic)
            clinic.use(recipients: new.recipients, identities: old.identities)
            let one = try await clinic.rewrap(.exact(keys[1]), requestID: .run("uid-1"))
            #expect(one.details["sets"] == .integer(1) && !one.replayed)
            #expect(try await clinic.rewrap(.exact(keys[1]), requestID: .run("uid-1")).replayed)
            #expect(try await clinic.rewrap(.exact(keys[1]), requestID: .run("uid-2")).replayed == false)
            #expect(try await clinic.rewrap(requestID: .run("uid-1")).replayed == false)
            let missing = await #expect(throws: (any Error).self) {
                try await clinic.rewrap(
                    .exact(BackupKey(tier: .annual, timestamp: Timestamp(milliseconds: 0))))
            }
            #expect((missing as? any Failure)?.exitCode == .store)
        }
    }

    /// Shows that of a target without sets nothing is asked, and that many sets take more than one holding of the lock.
    @Test func noneAndMany() async throws {
        try await Rotation.with { rotation in
            let (old, new) = (try rotation.keys("aes", "old"), try rotation.keys("aes", "new"))
            var clinic = rotation.clinic
            clinic.use(recipients: old.recipients, identities: old.identities)
            #expect(try await clinic.rewrap().details["sets"] == .integer(0))
            clinic.workplace.secondary = nil
            for _ in 0..<130 { try await clinic.backup(.hourly) }
            clinic.use(recipients: new.recipients, identities: old.identities)
            let locks = clinic.first.log.count { $0.call == .put && $0.key.hasPrefix("locks/0") }
            let result = try await clinic.rewrap()
            #expect(result.details["rewrapped"] == .integer(130))
            // Taken and given back, twice.
            #expect(clinic.first.log.count { $0.call == .put && $0.key.hasPrefix("locks/0") } == locks + 4)
        }
    }
}

/// Keys and stores of a rotation.
struct Rotation {
    let directory: String
    private let key: AESKeyProvider
    let clinic: Clinic
    private let counter = Guarded(0)

    private init(directory: String, key: AESKeyProvider, clinic: Clinic) {
        self.directory = directory
        self.key = key
        self.clinic = clinic
    }

    static func with<Result>(_ body: (Rotation) async throws -> Result) async throws -> Result {
        try await withScratchDirectory { directory in
            let path = "\(directory)/first.hex"
            try writeFile(path, String(repeating: "07", count: 32))
            let key = try AESKeyProvider(path: path)
            return try await body(Rotation(directory: directory, key: key, clinic: Clinic(key: key)))
        }
    }

    /// Another clinic, whose stores are empty.
    func fresh() -> Clinic { Clinic(key: key) }

    struct Keys {
        var recipients: [any KeyProvider]
        var identities: [any KeyProvider]
    }

    /// Fresh keys of a kind under `name`.
    func keys(_ kind: String, _ name: String) throws -> Keys {
        let number = counter.withLock { counter in
            counter += 1
            return counter
        }
        var keys = Keys(recipients: [], identities: [])
        if kind != "rsa" {
            try withDirectory(number, "aes") { folder in
                let path = "\(folder)/\(name).key"
                try writeFile(path, String(repeating: hexText([UInt8(number)]), count: 32))
                let key = try AESKeyProvider(path: path)
                keys.recipients.append(key)
                keys.identities.append(key)
            }
        }
        if kind != "aes" {
            try withDirectory(number, "rsa") { folder in
                let path = "\(folder)/\(name).pem"
                let made = try runProgram(
                    "/usr/bin/env",
                    [
                        "openssl", "genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048",
                        "-out", path,
                    ])
                guard made.status == 0 else { throw TestFailure(made.output) }
                mkdir("\(folder)/public", 0o700)
                let open = try runProgram(
                    "/usr/bin/env",
                    ["openssl", "pkey", "-in", path, "-pubout", "-out", "\(folder)/public/\(name).pem"])
                guard open.status == 0 else { throw TestFailure(open.output) }
                keys.recipients.append(try RSAKeyProvider(path: "\(folder)/public/\(name).pem"))
                keys.identities.append(try RSAKeyProvider(path: path))
            }
        }
        return keys
    }

    private func withDirectory(_ number: Int, _ kind: String, _ body: (String) throws -> Void) throws {
        let folder = "\(directory)/\(number)-\(kind)"
        mkdir(folder, 0o700)
        try body(folder)
    }

    /// Three sets of three tiers, newest last.
    func makeSets(_ clinic: Clinic) async throws -> [BackupKey] {
        var keys: [BackupKey] = []
        for tier in [Tier.daily, .weekly, .hourly] {
            keys.append(try #require(try await clinic.backup(tier).backupKey))
        }
        return keys
    }
}

extension Clinic {
    mutating func use(recipients: [any KeyProvider], identities: [any KeyProvider]) {
        workplace.writer.recipients = recipients
        workplace.reader.identities = identities
    }

    func rewrap(
        _ key: KeySelector? = nil, requestID: RequestID = .random("w"), store: StoreChoice = .both,
        dryRun: Bool = false
    ) async throws -> JobResult {
        try await Rewrap(
            RewrapJob(target: "clinic", key: key, requestID: requestID, store: store, dryRun: dryRun), at: workplace
        ).run()
    }

    /// The records of all sets in both stores.
    var records: [String] { (firstMemory.keys + secondMemory.keys).filter { $0.contains("/records/") } }

    /// Everything but locks, in both stores.
    var stored: [(MemoryStore, [String: [UInt8]])] {
        [firstMemory, secondMemory].map { store in
            let keys = store.keys.filter { !$0.hasPrefix("locks/") }
            return (store, Dictionary(uniqueKeysWithValues: keys.map { ($0, store.bytes($0) ?? []) }))
        }
    }
}

/// A key that wraps only while it is switched on, as one in a service does.
private final class SwitchedKey: KeyProvider {
    struct Off: Failure {
        var exitCode: ExitCode { .keys }
        var operation: String { "wrap the data key" }
        var object: String { "aes:switched" }
        var cause: String { "the key is switched off" }
        var hint: String { "switch it on" }
    }

    let isOn = Guarded(false)
    private let base: any KeyProvider

    init(_ base: any KeyProvider) { self.base = base }

    var capabilities: KeyCapabilities { base.capabilities }

    func wrap(_ dataKey: SecretBytes, context: [String: String]) async throws -> EncryptedDataKey {
        guard isOn.value else { throw Off() }
        return try await base.wrap(dataKey, context: context)
    }

    func unwrap(_ wrapped: EncryptedDataKey, context: [String: String]) async throws -> SecretBytes? {
        try await base.unwrap(wrapped, context: context)
    }
}
