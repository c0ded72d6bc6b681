import AWS
import Core

/// Settles who has created an object in a bucket with versions whose server ignores the condition of a create-only
/// put there, as Ceph does: both racers store a version and both are told that all is well.
///
/// The versions stand in one order for everybody, so the oldest since the object was last deleted has won. Whoever
/// finds another's there takes its own version away again.
struct FirstVersion: Sendable {
    let bucket: S3Bucket
    let object: ObjectName
    /// That of the put which has just succeeded, as its answer has it.
    let ownID: String
    /// Every version of ours has it, also one whose answer was lost.
    let writerID: String

    /// Throws ``StoreConflict`` where another one was first.
    func settle() async throws {
        let versions = try await bucket.versionsSinceDeletion(of: object)
        guard let oldest = versions.last else { throw StoreConflict(key: object.key) }
        if oldest == ownID { return }
        if versions.contains(ownID),
            try await bucket.head(object, version: oldest)?.writerID == writerID
        {
            return
        }
        try await bucket.delete(object, version: ownID)
        throw StoreConflict(key: object.key)
    }
}

extension S3Bucket {
    /// The ids of the versions of `object` down to its last deletion, newest first.
    func versionsSinceDeletion(of object: ObjectName) async throws -> [String] {
        try await versions(of: object, downToDeletion: true).map(\.id)
    }
}
