/// A bucket, how it is reached, and how objects are kept in it.
package struct S3Settings: Sendable, Equatable {
    package enum Addressing: String, CaseIterable, Sendable {
        /// Virtual-host style for AWS, path style for every other endpoint and for names with dots.
        case automatic
        case path
        case virtualHost
    }

    /// What the bucket is asked to encrypt objects with on its own disks, beside our own encryption.
    package enum ServerSideEncryption: Sendable, Equatable {
        /// SSE-S3.
        case aes256
        /// SSE-KMS, under this key or the bucket's default one.
        case kms(keyID: String?)
    }

    package var bucket: String
    /// Without slashes at its ends; empty for the bucket itself.
    package var prefix: String
    /// A URL that wins over every other endpoint: `S3_ENDPOINT`.
    package var endpoint: String?
    /// Wins over `AWS_REGION`.
    package var region: String?
    package var addressing: Addressing
    package var encryption: ServerSideEncryption?
    /// Bytes from which an object goes up in pieces; at most ``pieceSize``.
    package var multipartThreshold: Int
    /// Bytes of a piece: 5 MiB at least.
    package var pieceSize: Int
    /// Pieces on their way at once, over all parts. Each holds ``pieceSize`` bytes of memory.
    package var piecesInFlight: Int
    /// Bytes that one request of a download asks for.
    package var downloadPieceSize: Int
    /// Pieces of one download that are fetched before they are asked for. Each holds ``downloadPieceSize`` bytes.
    package var downloadsAhead: Int
    /// Bytes; 960 pieces, for some servers take no more than 1,000.
    package var largestObject: Int64

    package init(
        bucket: String, prefix: String = "", endpoint: String? = nil, region: String? = nil,
        addressing: Addressing = .automatic, encryption: ServerSideEncryption? = nil,
        multipartThreshold: Int = 16 << 20, pieceSize: Int = 16 << 20, piecesInFlight: Int = 3,
        downloadPieceSize: Int = 8 << 20, downloadsAhead: Int = 2, largestObject: Int64 = 15 << 30
    ) {
        self.bucket = bucket
        self.prefix = prefix
        self.endpoint = endpoint
        self.region = region
        self.addressing = addressing
        self.encryption = encryption
        self.multipartThreshold = multipartThreshold
        self.pieceSize = pieceSize
        self.piecesInFlight = piecesInFlight
        self.downloadPieceSize = downloadPieceSize
        self.downloadsAhead = downloadsAhead
        self.largestObject = largestObject
    }
}
