import AWS
import Core

/// What HEAD says of an object.
struct ObjectHead: Sendable, Equatable {
    /// Bytes.
    var size: Int64
    var modified: Timestamp
    var etag: String
    /// As the server names it; `STANDARD` where it says nothing.
    var storageClass: String
    /// `x-amz-restore`.
    var restore: String?
    var protection: Protection
    /// `x-amz-server-side-encryption`, and the key of SSE-KMS.
    var encryption: String?
    var encryptionKey: String?
    /// The id that the writer gave it.
    var writerID: String?
    /// `nil` where the server does not say, or we may not know.
    var tagCount: Int?

    static let writerHeader = "x-amz-meta-lifeboat-upload"

    /// `nil` for a head without a length or a time.
    init?(_ headers: HTTPFields) {
        guard let size = headers["Content-Length"].flatMap({ Int64($0) }), size >= 0,
            let modified = headers["Last-Modified"].flatMap(httpDate)
        else { return nil }
        self.size = size
        self.modified = modified
        etag = headers["ETag"] ?? ""
        storageClass = headers["x-amz-storage-class"] ?? StorageClass.standard.rawValue
        restore = headers["x-amz-restore"]
        protection = Protection(
            lock: Self.lock(
                mode: headers["x-amz-object-lock-mode"], until: headers["x-amz-object-lock-retain-until-date"]),
            legalHold: headers["x-amz-object-lock-legal-hold"]?.uppercased() == "ON")
        encryption = headers["x-amz-server-side-encryption"]
        encryptionKey = headers["x-amz-server-side-encryption-aws-kms-key-id"]
        writerID = headers[Self.writerHeader]
        tagCount = headers["x-amz-tagging-count"].flatMap { Int($0) }
    }

    private static func lock(mode: String?, until: String?) -> ObjectLock? {
        guard let mode = mode.flatMap({ ObjectLock.Mode(rawValue: $0.lowercased()) }),
            let until = until.flatMap({ Timestamp($0) })
        else { return nil }
        return ObjectLock(mode: mode, until: until)
    }

    /// By what the headers say. Servers that are not AWS' have the classes' names and no archive behind them: there only
    /// a reading shows it.
    var availability: ObjectInfo.Availability {
        if let restore {
            if restore.contains("ongoing-request=\"true\"") { return .thawing }
            if restore.contains("ongoing-request=\"false\"") { return .online }
        }
        return StorageClass(serverName: storageClass).isArchive ? .archived : .online
    }

    func info(_ key: String, availability: ObjectInfo.Availability) -> ObjectInfo {
        ObjectInfo(
            key: key, size: size, modified: modified, storageClass: StorageClass(serverName: storageClass),
            availability: availability, protection: protection)
    }
}

extension StorageClass {
    /// Classes that sets are not put into, and that lifecycle rules or other servers may use, are all readable at once.
    init(serverName: String) { self = StorageClass(rawValue: serverName) ?? .standard }
}

extension Timestamp {
    /// The whole second at or after it: locks are kept in seconds by some servers, and may only become longer.
    var roundedUpToSecond: Timestamp {
        let rest = milliseconds % 1000
        return rest > 0 ? Timestamp(milliseconds: milliseconds - rest + 1000) : self
    }

    /// The whole second before it: `Last-Modified` has no more, a listing may.
    var roundedDownToSecond: Timestamp {
        Timestamp(milliseconds: milliseconds - (milliseconds % 1000 + 1000) % 1000)
    }
}
