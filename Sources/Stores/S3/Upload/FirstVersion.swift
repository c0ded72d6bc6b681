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
        var versions: [String] = []
        var marker: (key: String, version: String)?
        while true {
            var call = Call(operation: "ListObjectVersions", method: "GET")
            call.query = [
                (name: "versions", value: nil), (name: "prefix", value: object.full),
                (name: "encoding-type", value: "url"),
            ]
            if let marker {
                call.query += [
                    (name: "key-marker", value: marker.key), (name: "version-id-marker", value: marker.version),
                ]
            }
            let tree = try xml(try await send(call), call)
            for entry in tree.children where entry.name == "Version" || entry.name == "DeleteMarker" {
                guard let full = name(in: entry, of: tree, "Key"), let id = entry.text("VersionId") else {
                    throw answerError(call, "a version has no key or id")
                }
                // Names that begin with this one's come after it.
                guard full.utf8.elementsEqual(object.full.utf8) else { return versions }
                if entry.name == "DeleteMarker" { return versions }
                versions.append(id)
            }
            guard tree.text("IsTruncated") == "true" else { return versions }
            guard let key = name(in: tree, of: tree, "NextKeyMarker"),
                let version = tree.text("NextVersionIdMarker"), marker?.key != key || marker?.version != version
            else { throw answerError(call, "there is to be more, and it does not say where") }
            marker = (key, version)
        }
    }
}
