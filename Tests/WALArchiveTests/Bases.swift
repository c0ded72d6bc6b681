import Core
import Crypto
import Sets
import TestSupport

extension LogSite {
    /// Puts the manifest of a base backup of a server into the first store, as a job reads it that looks for one.
    @discardableResult
    func addBase(
        _ number: Int = 1, end: LSN, timeline: UInt32 = 1, of systemID: String = testSystem
    ) async throws -> BackupKey {
        let time = clock.now()
        let key = BackupKey(tier: .daily, timestamp: time.adding(seconds: Int64(number)))
        let context = ["lifeboat-set": key.description, "lifeboat-target": "clinic", "lifeboat-format": "1"]
        var bytes = testRandom(32)
        let dataKey = SecretBytes(wiping: &bytes)
        let attempt = SetLayout.attempt(
            sequence: 1, requestDigest: testRandom(8), random: testRandom(8))
        let segment = Segment(
            path: "\(attempt)/base.tar.encrypted", messageID: [UInt8](repeating: 0, count: 32), plainSize: 1,
            storedSize: 1, storedSHA256: Array(SHA256.hash(data: [1])))
        var manifest = Manifest(
            key: key, target: "clinic", engine: "postgres", requestID: "r", attempt: attempt, snapshotTime: time,
            finishedTime: time, sequence: 1, previous: nil,
            details: [
                PhysicalBase.Detail.method: "physical", PhysicalBase.Detail.systemID: systemID,
                PhysicalBase.Detail.timeline: String(timeline), PhysicalBase.Detail.start: end.description,
                PhysicalBase.Detail.end: end.description, PhysicalBase.Detail.endTime: time.description,
                PhysicalBase.Detail.segmentSize: String(testSize),
            ], exceptions: [], sourceSize: 1, compression: Compression(algorithm: .none, level: 0),
            parts: [StoredPart(name: "base.tar", segments: [segment])], contents: ContentsSummary(["files": 1]),
            encryption: EncryptionInfo(
                algorithm: EncryptionInfo.messageAlgorithm, context: context,
                dataKeys: [try await self.key.base.wrap(dataKey, context: context)]),
            retention: Retention(
                retainUntil: time.adding(seconds: 86_400), objectLock: nil, legalHold: false),
            needs: [])
        manifest.mac = ManifestSeal.mac(
            manifest.json(includingMAC: false, includingSignature: false), purpose: ManifestSeal.manifestPurpose,
            dataKey: dataKey)
        try await firstMemory.put(SetLayout.manifest(key), manifest.json().canonicalBytes)
        return key
    }
}
