package import Core
import Crypto
import Streams

/// Copies committed sets from one store to another as the ciphertext they are. Needs no key, and holds a few chunks at
/// a time.
///
/// The manifest goes last, byte for byte, so that a set exists in the second store when all of it does. May be ended at
/// any point and called again, and by several runs at once.
package struct Replication: Sendable {
    private let source: any Store
    private let destination: any Store
    private let bodies: BodyGroup

    /// `bodies`: as the target's sets are written.
    package init(from source: any Store, to destination: any Store, bodies: BodyGroup = .byTier) {
        self.source = source
        self.destination = destination
        self.bodies = bodies
    }

    /// Copies the set `stored`, every segment's digest compared with the manifest's on the way: what is damaged or
    /// missing in the source is ``SetError``, and nothing is committed. Protects it there as its manifest asks and the
    /// kind of store can. False where it was there before.
    @discardableResult
    package func copy(_ stored: StoredManifest, now: Timestamp, meter: ProgressMeter) async throws -> Bool {
        let manifest = stored.manifest
        // As they are stored: only canonical bytes are taken for a manifest.
        let bytes = manifest.json().canonicalBytes
        guard Array(SHA256.hash(data: bytes)) == stored.sha256 else {
            throw SetError.unreadableManifest(key: manifest.key.description, problem: "it is not what was stored")
        }
        if try await isThere(manifest.key, bytes) { return false }
        for segment in manifest.parts.flatMap(\.segments) {
            try await copy(segment, of: manifest, meter: meter)
        }
        let protection = try await protection(of: manifest, at: now)
        try await protectSegments(of: manifest, in: destination, protection)
        do {
            _ = try await destination.put(
                SetLayout.manifest(manifest.key), from: MemorySource(bytes),
                options: PutOptions(createOnly: true, protection: protection))
        } catch let conflict as StoreConflict {
            // Another run copied the same set meanwhile.
            guard try await isThere(manifest.key, bytes) else { throw conflict }
            return false
        }
        try await copyRewraps(of: stored, now: now)
        return true
    }

    /// Copies the records that wrap the set's data key anew and are not there yet, oldest first, so that the second copy
    /// opens for whom the first one does. Without a key nothing tells a forged one; who opens the set will. Returns how
    /// many were copied.
    @discardableResult
    package func copyRewraps(of stored: StoredManifest, now: Timestamp) async throws -> Int {
        let own = try await RewrapRecord.all(of: stored, in: source)
        if own.isEmpty { return 0 }
        let there = Set(try await RewrapRecord.all(of: stored, in: destination).map(\.bytes))
        let lacking = own.filter { !there.contains($0.bytes) }
        for record in lacking {
            try await addRecord(
                RewrapRecord.kind, of: stored.manifest, bytes: record.bytes, to: destination, at: now)
        }
        return lacking.count
    }

    /// As the set is kept in the source by now: whoever held it there meant every copy.
    private func protection(of manifest: Manifest, at now: Timestamp) async throws -> Protection {
        guard destination.capabilities.protects else { return Protection() }
        var records: [String] = []
        for try await object in source.list(SetLayout.directory(manifest.key) + "records/") {
            records.append(object.key)
        }
        try Task.checkCancellation()
        return manifest.protection(in: destination, at: now, isHeld: manifest.isHeld(records: records))
    }

    private func isThere(_ key: BackupKey, _ bytes: [UInt8]) async throws -> Bool {
        do {
            let found = try await destination.read(SetLayout.manifest(key))
            guard found == bytes else { throw OtherSetThere(key: key) }
            return true
        } catch is ObjectNotFound {
            return false
        } catch is ObjectTooLarge {
            throw OtherSetThere(key: key)
        }
    }

    private func copy(_ segment: Segment, of manifest: Manifest, meter: ProgressMeter) async throws {
        let path = SetLayout.directory(manifest.key) + segment.path
        if try await isThere(segment, path) {
            meter.beat()
            return
        }
        guard segment.storedSize <= destination.capabilities.largestObject else {
            throw SegmentTooLarge(path: path, size: segment.storedSize, limit: destination.capabilities.largestObject)
        }
        let bytes = try await StoredSegment(segment, of: manifest, in: source)
        // What is read and what is written wait for each other no longer than a few chunks.
        let fetched = try PrefetchedSource(bytes, depth: 4, name: "copy")
        do {
            _ = try await destination.put(
                path, from: MeteredSource(fetched, meter: meter),
                options: segmentOptions(
                    manifest.key.tier, manifest.retention.storageClass, bodies, in: destination))
        } catch let conflict as StoreConflict {
            guard try await isThere(segment, path) else { throw conflict }
        }
    }

    /// A segment that an interrupted copy left there is taken for whole by its size: puts are all or nothing, the name
    /// of the attempt in its key is random, and nothing but a copy of these very bytes, compared with their digest on
    /// the way, is put there. Whether it still is what it was is for a verification to say.
    private func isThere(_ segment: Segment, _ path: String) async throws -> Bool {
        guard let info = try await destination.stat(path) else { return false }
        guard info.size == segment.storedSize else {
            throw OtherObjectThere(path: path, expected: segment.storedSize, found: info.size)
        }
        return true
    }

    /// Says in the source, beside the set, that it was copied. A hint for people and listings: whoever copies needs no
    /// key, so it has no MAC, and nothing that matters rests on it.
    package func record(_ stored: StoredManifest, now: Timestamp, requestID: RequestID) async throws {
        let manifest = stored.manifest
        let protection = try await protection(of: manifest, at: now)
        let hasClasses = destination.capabilities.hasStorageClasses && manifest.retention.storageClass != .standard
        let document = JSON.object(present: [
            "format": .integer(1), "kind": .string("copy"), "key": .string(manifest.key.description),
            "manifestSHA256": .string(hexText(stored.sha256)), "store": .string(CopyName.secondary.rawValue),
            "location": .string(destination.capabilities.location), "time": .string(now.description),
            "requestId": .string(requestID.description),
            "objectLock": protection.lock.map { .string($0.mode.rawValue) },
            "legalHold": protection.legalHold ? .bool(true) : nil,
            "storageClass": hasClasses ? .string(manifest.retention.storageClass.rawValue) : nil,
        ])
        try await addRecord("copy", of: manifest, document, to: source, at: now)
    }
}

/// The second store has another set under this name.
private struct OtherSetThere: Failure {
    let key: BackupKey

    var exitCode: ExitCode { .verificationFailed }
    var operation: String { "copy the set" }
    var object: String { SetLayout.manifest(key) }
    var cause: String { "another set lies under its name in the second store" }
    var hint: String { "give the second store a prefix that no other installation writes to" }
}

/// The second store has something else where a segment belongs.
private struct OtherObjectThere: Failure {
    let path: String
    let expected: Int64
    let found: Int64

    var exitCode: ExitCode { .verificationFailed }
    var operation: String { "copy the segment" }
    var object: String { path }
    var cause: String { "an object of \(found) bytes lies there in the second store, instead of \(expected)" }
    var hint: String { "find out who wrote it, then remove it from the second store; the next backup copies it anew" }
}

private struct SegmentTooLarge: Failure {
    let path: String
    let size: Int64
    let limit: Int64

    var exitCode: ExitCode { .configuration }
    var operation: String { "copy the segment" }
    var object: String { path }
    var cause: String { "it has \(size) bytes, and the second store takes \(limit)" }
    var hint: String { "use a second store that takes objects as large as the first store's" }
}
