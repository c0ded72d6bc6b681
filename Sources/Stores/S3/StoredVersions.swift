import AWS
import Core

/// What lies under a key in a bucket with versions: an object's bytes, or the mark that hides those below it.
struct StoredVersion: Sendable, Equatable {
    /// `null` where the bucket has no versions, or had none then.
    var id: String
    var isDeletion: Bool
}

extension S3Bucket {
    /// Everything under the key of `object`, newest first; with `downToDeletion` no further than its last deletion,
    /// without that.
    func versions(of object: ObjectName, downToDeletion: Bool = false) async throws -> [StoredVersion] {
        var versions: [StoredVersion] = []
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
                let isDeletion = entry.name == "DeleteMarker"
                if isDeletion && downToDeletion { return versions }
                versions.append(StoredVersion(id: id, isDeletion: isDeletion))
            }
            guard tree.text("IsTruncated") == "true" else { return versions }
            guard let key = name(in: tree, of: tree, "NextKeyMarker"),
                let version = tree.text("NextVersionIdMarker"), marker?.key != key || marker?.version != version
            else { throw answerError(call, "there is to be more, and it does not say where") }
            marker = (key, version)
        }
    }
}
