/// The table of contents of a set, and its commit: a set exists if and only if its manifest does.
///
/// In clear in the store, so nothing here may name a table, a person or a secret. `docs/manifest.schema.json` is
/// normative; ``ManifestJSON`` reads and writes it.
package struct Manifest: Equatable, Sendable {
    package static let formatVersion: Int64 = 1

    package var key: BackupKey
    package var target: String
    package var engine: String
    package var requestID: String
    /// The random name of the directory that the segments are in; late writers of another attempt cannot reach it.
    package var attempt: String
    /// When the picture was taken. Age, order and retention count from here.
    package var snapshotTime: Timestamp
    package var finishedTime: Timestamp
    /// The set's number in its target's chain, from 1.
    package var sequence: Int64
    /// The set before it in the chain; `nil` for the first.
    package var previous: ChainLink?
    /// Earlier sets without which this one cannot be restored, or not proven: they are kept as long as it is.
    package var needs: [BackupKey]
    /// Versions and settings of source and tools.
    package var details: [String: String]
    package var exceptions: [String]
    /// Bytes that the source took on its own disk.
    package var sourceSize: Int64
    package var compression: Compression
    package var parts: [StoredPart]
    package var contents: ContentsSummary
    package var encryption: EncryptionInfo
    package var retention: Retention
    /// HMAC-SHA-256 over the canonical manifest without `mac` and `signature`, under a key derived from the data key.
    package var mac: [UInt8]
    package var signature: Signature?

    package init(
        key: BackupKey, target: String, engine: String, requestID: String, attempt: String, snapshotTime: Timestamp,
        finishedTime: Timestamp, sequence: Int64, previous: ChainLink?, details: [String: String],
        exceptions: [String], sourceSize: Int64, compression: Compression, parts: [StoredPart],
        contents: ContentsSummary, encryption: EncryptionInfo, retention: Retention, needs: [BackupKey] = [],
        mac: [UInt8] = [], signature: Signature? = nil
    ) {
        self.key = key
        self.target = target
        self.engine = engine
        self.requestID = requestID
        self.attempt = attempt
        self.snapshotTime = snapshotTime
        self.finishedTime = finishedTime
        self.sequence = sequence
        self.previous = previous
        self.needs = needs
        self.details = details
        self.exceptions = exceptions
        self.sourceSize = sourceSize
        self.compression = compression
        self.parts = parts
        self.contents = contents
        self.encryption = encryption
        self.retention = retention
        self.mac = mac
        self.signature = signature
    }

    /// Bytes of all segments in the store.
    package var storedSize: Int64 { parts.reduce(0) { $0 + $1.storedSize } }
    /// Bytes of all parts before compression.
    package var plainSize: Int64 { parts.reduce(0) { $0 + $1.plainSize } }
}

package struct ChainLink: Equatable, Sendable {
    package var key: BackupKey
    /// SHA-256 of the manifest's stored bytes.
    package var sha256: [UInt8]

    package init(key: BackupKey, sha256: [UInt8]) {
        self.key = key
        self.sha256 = sha256
    }
}

package struct Compression: Equatable, Sendable {
    package enum Algorithm: String, CaseIterable, Sendable {
        case zstd, gzip, none

        /// What the names of compressed parts end in.
        package var suffix: String {
            switch self {
            case .zstd: ".zst"
            case .gzip: ".gz"
            case .none: ""
            }
        }
    }

    package var algorithm: Algorithm
    /// 1 to 19 for zstd, 1 to 9 for gzip, 0 for none.
    package var level: Int

    package init(algorithm: Algorithm, level: Int) {
        self.algorithm = algorithm
        self.level = level
    }

    /// zstd 1: on dump text nearly as small as 3, and the dump tool stays the slowest stage.
    package static let standard = Compression(algorithm: .zstd, level: 1)
}

/// A part as it lies in the store: one segment, or several for one longer than a store's largest object.
package struct StoredPart: Equatable, Sendable {
    package var name: String
    package var segments: [Segment]

    package init(name: String, segments: [Segment]) {
        self.name = name
        self.segments = segments
    }

    package var storedSize: Int64 { segments.reduce(0) { $0 + $1.storedSize } }
    package var plainSize: Int64 { segments.reduce(0) { $0 + $1.plainSize } }
}

package struct Segment: Equatable, Sendable {
    /// Relative to the set: `<attempt>/database.sql.zst.encrypted`.
    package var path: String
    /// The message's own id: another message of the same set, put in this one's place, is refused.
    package var messageID: [UInt8]
    package var plainSize: Int64
    package var storedSize: Int64
    package var storedSHA256: [UInt8]

    package init(path: String, messageID: [UInt8], plainSize: Int64, storedSize: Int64, storedSHA256: [UInt8]) {
        self.path = path
        self.messageID = messageID
        self.plainSize = plainSize
        self.storedSize = storedSize
        self.storedSHA256 = storedSHA256
    }
}

/// What may be said of the contents in clear. The contents themselves are an encrypted part.
package struct ContentsSummary: Equatable, Sendable {
    /// By what is counted, as ``Contents/counts`` names it; never empty.
    package var counts: [String: Int64]

    package init(_ counts: [String: Int64]) { self.counts = counts }

    package var json: [String: JSON] { counts.mapValues { .exact($0) } }
}

package struct EncryptionInfo: Equatable, Sendable {
    /// `AWS Encryption SDK v2, suite 0x0478, AES-256-GCM, frames of 1048576 bytes`.
    package var algorithm: String
    package var context: [String: String]
    package var dataKeys: [EncryptedDataKey]

    package init(algorithm: String, context: [String: String], dataKeys: [EncryptedDataKey]) {
        self.algorithm = algorithm
        self.context = context
        self.dataKeys = dataKeys
    }
}

/// How long and how a set is kept: what was asked for when it was made. Each store applies of it what it can.
package struct Retention: Equatable, Sendable {
    /// `nil`: until a person removes it.
    package var retainUntil: Timestamp?
    /// Every object of the set is locked until `retainUntil`; only where there is such a time.
    package var objectLock: ObjectLock.Mode?
    /// Every object of the set is held until a person lifts that.
    package var legalHold: Bool
    /// Of the segments; everything else of a set stays in ``StorageClass/standard``.
    package var storageClass: StorageClass
    /// Why it is kept longer than its tier's sets are; `nil` for a target of no class.
    package var dataClass: DataClass?

    package init(
        retainUntil: Timestamp?, objectLock: ObjectLock.Mode? = nil, legalHold: Bool = false,
        storageClass: StorageClass = .standard, dataClass: DataClass? = nil
    ) {
        self.dataClass = dataClass
        self.retainUntil = retainUntil
        self.objectLock = objectLock
        self.legalHold = legalHold
        self.storageClass = storageClass
    }
}

/// Ed25519 over the canonical manifest with its `mac`, without `signature`.
package struct Signature: Equatable, Sendable {
    package var publicKey: [UInt8]
    package var value: [UInt8]

    package init(publicKey: [UInt8], value: [UInt8]) {
        self.publicKey = publicKey
        self.value = value
    }
}

/// Whether a set's writer is known.
package enum Origin: String, Sendable {
    /// Signed by a trusted signer, or sealed only under keys that nobody else holds.
    case authenticated
    /// Anyone who holds a public key could have written it.
    case unauthenticated
}
