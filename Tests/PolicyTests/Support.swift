import Core
import Crypto
import LocalKeyring
import Logging
import Operations
import Sets
import Streams
import TestSupport
import Testing

/// A target whose sets are made by the test, in two stores in memory, with a clock that it moves: real manifests, MACs
/// and wrapped keys around segments of one byte.
final class Archive {
    let clock: ManualClock
    let first: FaultyStore
    let second: FaultyStore
    let firstMemory: MemoryStore
    let secondMemory: MemoryStore
    private let key: AESKeyProvider
    private var random: SeededRandom
    private var dataKeys: [BackupKey: [UInt8]] = [:]
    private var last: StoredManifest?
    private var sequence: Int64 = 0
    var workplace: Workplace

    static let start = Timestamp(milliseconds: 1_736_899_200_000)

    init(
        seed: UInt64 = 1, hasSecond: Bool = true, hasIdentity: Bool = true, isBucket: Bool = true,
        signer: Curve25519.Signing.PrivateKey? = nil, trusted: [[UInt8]] = []
    ) async throws {
        let clock = ManualClock(Self.start)
        self.clock = clock
        random = SeededRandom(seed: seed)
        firstMemory = MemoryStore(clock: clock, isBucket: isBucket, isVersioned: true)
        secondMemory = MemoryStore(clock: clock, isBucket: isBucket, isVersioned: true)
        first = FaultyStore(firstMemory)
        second = FaultyStore(secondMemory)
        key = try await withScratchDirectory { directory in
            try writeFile("\(directory)/clinic.hex", String(repeating: "07", count: 32))
            return try AESKeyProvider(path: "\(directory)/clinic.hex")
        }
        let bytes: RandomBytes = { count in (0..<count).map { _ in UInt8.random(in: 0...255) } }
        workplace = Workplace(
            target: "clinic", store: first, secondary: hasSecond ? second : nil, sweepUnfinishedWrites: { _ in 0 },
            engine: NoEngine(), destination: { _ in NoEngine() },
            writer: SetWriterConfiguration(
                target: "clinic", engine: "text", recipients: [key], signer: signer,
                compression: Compression(algorithm: .none, level: 0), parallelJobs: 1, rateLimit: nil,
                random: bytes, clock: BlockingClock(seconds: { 0 }, pause: { _ in })),
            reader: SetReaderConfiguration(
                identities: hasIdentity ? [key] : [], trustedSigners: trusted, symmetricProviders: ["lifeboat"]),
            lease: LeaseConfiguration(
                holder: "test", clock: clock, elapsed: clock.elapsed, sleep: clock.sleep, random: bytes),
            exceptions: [], stallTimeout: 300, onStall: {}, clock: clock, sleep: clock.sleep, random: bytes,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, report: { _ in })
    }

    /// Where a set lies.
    enum Places { case both, first, second }

    /// Makes the next set of the chain, its picture taken `days` after the start.
    @discardableResult
    func add(
        _ tier: Tier = .daily, day: Double, policy: RetentionPolicy = RetentionPolicy(), in places: Places = .both,
        needs: [BackupKey] = [], isHeld: Bool = false, lock: ObjectLock.Mode? = nil, details: [String: String] = [:]
    ) async throws -> BackupKey {
        sequence += 1
        let time = Self.start.adding(seconds: Int64(day * 86_400))
        let key = BackupKey(tier: tier, timestamp: time)
        let attempt = SetLayout.attempt(
            sequence: sequence, requestDigest: random.bytes(8), random: random.bytes(8))
        var bytes = random.bytes(32)
        dataKeys[key] = bytes
        let dataKey = SecretBytes(wiping: &bytes)
        let context = ["lifeboat-set": key.description, "lifeboat-target": "clinic", "lifeboat-format": "1"]
        let path = "\(attempt)/contents.json.encrypted"
        let segment = Segment(
            path: path, messageID: [UInt8](repeating: 0, count: 32), plainSize: 1, storedSize: 1,
            storedSHA256: Array(SHA256.hash(data: [1])))
        var manifest = Manifest(
            key: key, target: "clinic", engine: "text", requestID: "r", attempt: attempt, snapshotTime: time,
            finishedTime: time, sequence: sequence, previous: last?.link, details: details, exceptions: [],
            sourceSize: 1, compression: Compression(algorithm: .none, level: 0),
            parts: [StoredPart(name: "contents.json", segments: [segment])], contents: ContentsSummary(["rows": 1]),
            encryption: EncryptionInfo(
                algorithm: EncryptionInfo.messageAlgorithm, context: context,
                dataKeys: [try await self.key.wrap(dataKey, context: context)]),
            retention: Retention(
                retainUntil: policy.period(of: tier).end(from: time), objectLock: lock, legalHold: isHeld,
                dataClass: policy.dataClass), needs: needs)
        manifest.mac = ManifestSeal.mac(
            manifest.json(includingMAC: false, includingSignature: false), purpose: ManifestSeal.manifestPurpose,
            dataKey: dataKey)
        let stored = manifest.json().canonicalBytes
        var protection = Protection(legalHold: isHeld)
        if let lock, let until = manifest.retention.retainUntil {
            protection.lock = ObjectLock(mode: lock, until: until)
        }
        for store in stores(places) {
            for (path, bytes) in [("\(key)/\(path)", [1]), (SetLayout.manifest(key), stored)] {
                _ = try await store.put(
                    path, from: MemorySource(bytes), options: PutOptions(createOnly: true, protection: protection))
            }
        }
        last = StoredManifest(manifest: manifest, sha256: Array(SHA256.hash(data: stored)))
        return key
    }

    private func stores(_ places: Places) -> [MemoryStore] {
        switch places {
        case .both: [firstMemory, secondMemory]
        case .first: [firstMemory]
        case .second: [secondMemory]
        }
    }

    /// Records a proof as a verification or a restore does; `isForged`: by somebody who has no key.
    func prove(
        _ key: BackupKey, _ depth: ProofDepth, _ verdict: Verdict = .proven, in places: Places = .first,
        isForged: Bool = false
    ) async throws {
        for store in stores(places) {
            let manifest = store.bytes(SetLayout.manifest(key)) ?? []
            var taken = 0
            for try await _ in store.list(SetLayout.directory(key) + "records/") { taken += 1 }
            var document: [String: JSON] = [
                "format": .integer(1), "kind": .string("proof"), "key": .string(key.description),
                "manifestSHA256": .string(hexText(Array(SHA256.hash(data: manifest)))),
                "depth": .string(depth.rawValue), "verdict": .string(verdict.rawValue),
                "time": .string(clock.now().description), "requestId": .string("v"),
                "contentsCompared": .bool(true),
            ]
            var bytes = isForged ? [UInt8](repeating: 9, count: 32) : dataKeys[key] ?? []
            let mac = ManifestSeal.mac(
                .object(document), purpose: ManifestSeal.recordPurpose, dataKey: SecretBytes(wiping: &bytes))
            document["mac"] = .string(hexText(mac))
            try await store.put(
                SetLayout.record(key, number: taken + 1, kind: "proof"), JSON.object(document).canonicalBytes,
                createOnly: true)
        }
    }

    /// Moves the clock to so many days after the start.
    func go(toDay day: Double) {
        clock.advance(seconds: day * 86_400 - clock.now().seconds(since: Self.start))
    }

    @discardableResult
    func prune(dryRun: Bool = false) async throws -> JobResult {
        try await Prune(
            PruneJob(target: "clinic", requestID: .random("p"), dryRun: dryRun), at: workplace
        ).run()
    }

    @discardableResult
    func change(
        _ change: HoldJob.Change, _ key: KeySelector, reason: String = "case 4711",
        requestID: RequestID = .random("h"), dryRun: Bool = false
    ) async throws -> JobResult {
        try await Hold(
            HoldJob(
                target: "clinic", key: key, requestID: requestID, change: change, reason: reason, dryRun: dryRun),
            at: workplace
        ).run()
    }

    func list(limit: Int = 100) async throws -> JobResult {
        try await List(ListJob(target: "clinic", requestID: .random("l"), limit: limit), at: workplace).run()
    }

    /// The keys of the sets in a store, oldest first.
    func sets(_ store: MemoryStore) -> [BackupKey] {
        store.keys.filter { $0.hasSuffix("/manifest.json") }.compactMap { BackupKey(String($0.dropLast(14))) }
            .sorted { $0.timestamp < $1.timestamp }
    }

    /// The segments whose set is there without them: none, whatever was killed where.
    func missingSegments(_ store: MemoryStore) throws -> [String] {
        var missing: [String] = []
        for key in sets(store) {
            let manifest = try Manifest(storedBytes: store.bytes(SetLayout.manifest(key)) ?? [])
            for segment in manifest.parts.flatMap(\.segments) where store.bytes("\(key)/\(segment.path)") == nil {
                missing.append("\(key)/\(segment.path)")
            }
        }
        return missing
    }
}

/// Nothing here takes a picture.
private struct NoEngine: Engine {
    var capabilities: EngineCapabilities { EngineCapabilities(name: "text", endpoint: "nothing") }
    func snapshot(_ request: SnapshotRequest) async throws -> SnapshotAnswer { throw TestFailure("no source") }
    func examine(_ request: ExamineRequest) async throws -> Examined { throw TestFailure("no source") }
    func plan(_ request: RestoreRequest) async throws -> any RestorePlan { throw TestFailure("no source") }
}

extension JobResult {
    func keys(_ field: String) -> [String] {
        guard case .array(let array)? = details[field] else { return [] }
        return array.map { json in
            switch json {
            case .string(let text): text
            case .object(let members): members["key"].map { if case .string(let key) = $0 { key } else { "" } } ?? ""
            default: ""
            }
        }
    }

    /// A member of what is said about a set in `field`.
    func said(_ member: String, of key: BackupKey, in field: String) -> JSON? {
        guard case .array(let array)? = details[field] else { return nil }
        for case .object(let members) in array where members["key"] == .string(key.description) {
            return members[member]
        }
        return nil
    }

    /// Why a set is named in `field`.
    func why(_ key: BackupKey, _ field: String) -> String? {
        if case .string(let why)? = said("why", of: key, in: field) { why } else { nil }
    }
}

func texts(_ keys: BackupKey...) -> [String] { keys.map(\.description) }
