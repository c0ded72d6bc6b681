import Core
import Crypto

/// What every message of one timeline is bound to, and with it the wrapped data key of a run.
struct WALContext: Hashable, Sendable {
    static let segmentSizeKey = "lifeboat-wal-segment-size"

    var target: String
    var systemID: String
    var timeline: UInt32
    /// Bytes; `nil` for files that do not depend on it.
    var segmentSize: UInt64?

    /// `wal/<system identifier>/<timeline>`.
    var set: String { String(WALLayout.directory(of: systemID, timeline).dropLast()) }

    var pairs: [String: String] {
        var pairs = [
            "lifeboat-set": set, "lifeboat-target": target, "lifeboat-format": String(Manifest.formatVersion),
        ]
        pairs[Self.segmentSizeKey] = segmentSize.map { String($0) }
        return pairs
    }

    /// The message id of `file`: SHA-256 over what it is and the SHA-256 of its plaintext. So a message shows without
    /// a key whether it is of the same bytes under the same name, and with one that it is nothing else. A data key is
    /// for one run, in which a name is sealed once: no two messages share key and id but of the same bytes.
    func messageID(of file: StoredFileName, digest: [UInt8]) -> [UInt8] {
        var hash = SHA256()
        hash.update(data: Array("lifeboat wal\0\(target)\0\(set)\0\(file)\0".utf8))
        hash.update(data: digest)
        return Array(hash.finalize())
    }
}
