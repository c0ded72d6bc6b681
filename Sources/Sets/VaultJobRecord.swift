package import Core

/// Says beside a set which copy a vault was asked for with it, so that its end can be looked up later.
///
/// A hint, as the record of a copy is: whoever asks holds no key of the set, so it has no MAC. Who reads it asks the
/// vault, which says what is there, and of which resource.
package enum VaultJobRecord {
    static let kind = "vault-job"
    private static let suffix = "-\(kind).json"

    package static func add(
        _ job: VaultJob, of stored: StoredManifest, to store: any Store, at now: Timestamp, requestID: RequestID
    ) async throws {
        let document = JSON.object(
            [
                "format": .integer(1), "kind": .string(kind), "key": .string(stored.manifest.key.description),
                "manifestSHA256": .string(hexText(stored.sha256)), "time": .string(now.description),
                "requestId": .string(requestID.description),
            ].merging(job.members) { $1 })
        try await addRecord(kind, of: stored.manifest, document, to: store, at: now)
    }

    /// The newest; `nil` where there is none. ``SetError/damagedRecord(path:problem:)`` where it cannot be read or is
    /// about another set.
    package static func newest(of stored: StoredManifest, in store: any Store) async throws -> VaultJob? {
        var paths: [String] = []
        for try await object in store.list(SetLayout.directory(stored.manifest.key) + "records/")
        where object.key.hasSuffix(suffix) {
            paths.append(object.key)
        }
        try Task.checkCancellation()
        guard let path = paths.max() else { return nil }
        let document = try await SetRecords(stored: stored, store: store, dataKey: nil).document(path)
        do {
            return try job(in: document, of: stored)
        } catch {
            throw SetError.damagedRecord(path: path, problem: "\(error)")
        }
    }

    private static func job(in json: JSON, of stored: StoredManifest) throws(JSONFieldError) -> VaultJob {
        var fields = try JSONFields(json, path: "")
        guard try fields.integer("format") == 1 else { throw fields.error("format", "is none that is known") }
        guard try fields.string("kind") == kind else { throw fields.error("kind", "is not '\(kind)'") }
        guard try fields.string("key") == stored.manifest.key.description else {
            throw fields.error("key", "is of another set")
        }
        guard try fields.string("manifestSHA256") == hexText(stored.sha256) else {
            throw fields.error("manifestSHA256", "is of another manifest")
        }
        _ = try fields.timestamp("time")
        _ = try fields.string("requestId")
        let job = VaultJob(
            id: try fields.string("jobId"), vault: try fields.string("vault"),
            resource: try fields.string("resource"), recoveryPoint: try fields.optionalString("recoveryPoint"))
        try fields.finish()
        return job
    }
}
