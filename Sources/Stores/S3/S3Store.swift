package import AWS
package import Core
package import Logging

/// A store in a bucket of S3, or of a server that speaks its language.
///
/// A key is an object's name below the prefix. An object of up to ``S3Settings/multipartThreshold`` bytes goes up in
/// one request, a longer one in pieces, of which each is held in memory until the server has it. What was asked for
/// beside the bytes (lock, hold, class, encryption, tags) is read back; an object that is not kept so is removed again
/// and ``NotApplied`` thrown. Deleting in a bucket with versions hides the object and keeps its bytes until the
/// bucket's rules let them go. Times are the server's.
package final class S3Store: Store {
    package let capabilities: StoreCapabilities
    private let bucket: S3Bucket
    private let random: RandomBytes
    private let clock: any WallClock
    private let logger: Logger
    private let slots: Slots
    private let backoff: Backoff

    /// `sleep` takes seconds. Throws `AWSError` where no region or endpoint is known, and ``S3StoreError`` for settings
    /// that cannot be meant. Nothing is sent.
    package init(
        settings: S3Settings, client: AWSClient, configuration: AWSConfiguration, random: @escaping RandomBytes,
        clock: any WallClock, sleep: @escaping @Sendable (Double) async throws -> Void, logger: Logger
    ) throws {
        bucket = try S3Bucket(
            settings: settings, client: client, configuration: configuration, random: random, logger: logger)
        self.random = random
        self.clock = clock
        self.logger = logger
        slots = Slots(settings.piecesInFlight)
        backoff = Backoff(random: random, sleep: sleep)
        capabilities = StoreCapabilities(
            location: bucket.location, largestObject: settings.largestObject, protects: true,
            hasStorageClasses: true)
    }

    // MARK: Writing

    package func put(_ key: String, from source: any ByteSource, options: PutOptions) async throws -> Int64 {
        try await withTaskCancellationHandler {
            do {
                let object = try bucket.name(key)
                try Task.checkCancellation()
                let reader = PieceReader(source)
                let threshold = bucket.settings.multipartThreshold
                if let whole = try await onThread("s3-put", { try reader.whole(upTo: threshold) }) {
                    return try await putWhole(object, whole, options)
                }
                return try await putPieces(object, reader, source, options)
            } catch {
                source.cancel()
                throw Task.isCancelled ? CancellationError() : error
            }
        } onCancel: {
            source.cancel()
        }
    }

    private func putPieces(
        _ object: ObjectName, _ reader: PieceReader, _ source: any ByteSource, _ options: PutOptions
    ) async throws -> Int64 {
        let headers = headers(options)
        let upload = MultipartUpload(
            bucket: bucket, object: object, headers: headers, slots: slots, backoff: backoff, logger: logger)
        let size = try await upload.run(from: reader, source: source)
        try await confirm(object, options, isMultipart: true)
        return size
    }

    private func putWhole(_ object: ObjectName, _ piece: Piece, _ options: PutOptions) async throws -> Int64 {
        // Small objects do not wait behind large ones: a lease that is not renewed in time is lost.
        let isLarge = piece.count > Chunk.size
        if isLarge { try await slots.acquire() }
        defer { if isLarge { slots.release() } }
        let upload = SingleUpload(bucket: bucket, object: object, headers: headers(options), backoff: backoff)
        try await upload.run(piece)
        try await confirm(object, options, isMultipart: false)
        return Int64(piece.count)
    }

    private func headers(_ options: PutOptions) -> ObjectHeaders {
        ObjectHeaders(settings: bucket.settings, options: options, writerID: hexText(random(16)))
    }

    /// Sees that the object is kept as asked, and removes it where it is not: nobody is to take it for one that is.
    private func confirm(_ object: ObjectName, _ options: PutOptions, isMultipart: Bool) async throws {
        let readBack = ReadBack(key: object.key, encryption: bucket.settings.encryption, options: options)
        guard readBack.isNeeded else { return }
        do {
            if isMultipart { try await protect(object, options.protection) }
            guard var head = try await bucket.head(object) else {
                throw NotApplied(key: object.key, problem: "it was stored, and it is not there")
            }
            // Some servers forget the tags of an upload in pieces.
            if let count = head.tagCount, count != options.tags.count {
                try await bucket.putTags(object, options.tags)
                head = try await bucket.head(object) ?? head
            }
            try readBack.check(head)
        } catch {
            try await remove(object, after: error)
        }
    }

    private func remove(_ object: ObjectName, after error: any Error) async throws -> Never {
        let problem: (any Error)? = await {
            do {
                try await uncancelled { [bucket] in try await bucket.delete(object) }
                return nil
            } catch {
                return error
            }
        }()
        if let problem {
            logger.warning(
                "an object that is not kept as it should be could not be removed",
                metadata: ["key": "\(object.key)", "cause": "\(problem)"])
        }
        throw error
    }

    // MARK: Reading

    package func get(_ key: String, range: Range<Int64>?) async throws -> any ByteSource {
        let object = try bucket.name(key)
        try Task.checkCancellation()
        if let range, range.isEmpty { return try await empty(object, range) }
        let settings = bucket.settings
        let fetch = RangeFetch(bucket: bucket, object: object, backoff: backoff)
        let begin = range?.lowerBound ?? 0
        let firstEnd = min(begin + Int64(settings.downloadPieceSize), range?.upperBound ?? .max)
        do {
            let first = try await fetch.fetch(begin..<firstEnd, of: nil)
            let end = range?.upperBound ?? first.version.size
            guard end <= first.version.size else {
                throw S3StoreError.pastEnd(key: key, size: first.version.size, wanted: end)
            }
            return RangedDownload(
                first: first, rest: min(firstEnd, end)..<end, fetch: fetch, pieceSize: settings.downloadPieceSize,
                ahead: settings.downloadsAhead)
        } catch let error as AWSError where error.isNotFound {
            throw ObjectNotFound(key: key)
        } catch let error as AWSError where error.status == 416 {
            // An empty object has no byte that a range could begin at.
            return try await empty(object, range ?? 0..<0, isWhole: range == nil)
        } catch let error as AWSError where error.code == "InvalidObjectState" {
            throw try await archived(object)
        }
    }

    private func empty(
        _ object: ObjectName, _ range: Range<Int64>, isWhole: Bool = false
    ) async throws -> any ByteSource {
        guard let head = try await bucket.head(object) else { throw ObjectNotFound(key: object.key) }
        guard range.upperBound <= head.size else {
            throw S3StoreError.pastEnd(key: object.key, size: head.size, wanted: range.upperBound)
        }
        guard range.isEmpty, !isWhole || head.size == 0 else { throw S3StoreError.changed(key: object.key) }
        return MemorySource([])
    }

    private func archived(_ object: ObjectName) async throws -> any Error {
        guard let head = try await bucket.head(object) else { return ObjectNotFound(key: object.key) }
        return ObjectArchived(
            key: object.key, storageClass: StorageClass(serverName: head.storageClass),
            isThawing: head.availability == .thawing)
    }

    package func stat(_ key: String) async throws -> ObjectInfo? {
        let object = try bucket.name(key)
        try Task.checkCancellation()
        guard let head = try await bucket.head(object) else { return nil }
        return head.info(key, availability: try await availability(of: object, head))
    }

    private func availability(of object: ObjectName, _ head: ObjectHead) async throws -> ObjectInfo.Availability {
        guard head.availability == .archived, !bucket.isAWS, head.size > 0 else { return head.availability }
        do {
            let fetch = RangeFetch(bucket: bucket, object: object, backoff: backoff)
            _ = try await fetch.fetch(0..<1, of: nil)
            return .online
        } catch let error as AWSError where error.code == "InvalidObjectState" {
            return .archived
        }
    }

    package func list(_ prefix: String) -> AsyncThrowingStream<ObjectInfo, any Error> {
        let listing = Listing(bucket: bucket, prefix: prefix)
        return AsyncThrowingStream { try await listing.next() }
    }

    // MARK: Changing

    package func amend(_ key: String, _ amendment: Amendment) async throws {
        let object = try bucket.name(key)
        try Task.checkCancellation()
        switch amendment {
        case .protect(let protection):
            try await protect(object, protection)
            guard let head = try await bucket.head(object) else { throw ObjectNotFound(key: key) }
            let missing = ReadBack.missing(protection, in: head.protection)
            guard missing.isEmpty else { throw NotApplied(key: key, problem: missing.joined(separator: "; ")) }
        case .liftHold: try await liftHold(object)
        case .thaw(let days): try await thaw(object, days: days)
        }
    }

    /// Adds what is not there yet. Whoever calls reads it back.
    private func protect(_ object: ObjectName, _ protection: Protection) async throws {
        guard !protection.isNone else { return }
        guard let found = try await bucket.head(object)?.protection else { throw ObjectNotFound(key: object.key) }
        do {
            if let asked = protection.lock, let change = LockChange(from: found.lock, to: asked, now: clock.now()) {
                try await bucket.putRetention(object, change.lock, bypassingGovernance: change.isStricter)
            }
            if protection.legalHold && !found.legalHold { try await bucket.putLegalHold(object, isOn: true) }
        } catch let error as AWSError where error.status == 400 {
            guard try await bucket.hasObjectLock() else {
                throw S3StoreError.noObjectLock(bucket: bucket.settings.bucket)
            }
            throw error
        }
    }

    private func liftHold(_ object: ObjectName) async throws {
        guard let found = try await bucket.head(object) else { throw ObjectNotFound(key: object.key) }
        guard found.protection.legalHold else { return }
        try await bucket.putLegalHold(object, isOn: false)
        guard let after = try await bucket.head(object) else { throw ObjectNotFound(key: object.key) }
        guard !after.protection.legalHold else {
            throw NotApplied(key: object.key, problem: "the legal hold was to be lifted; it is still there")
        }
    }

    private func thaw(_ object: ObjectName, days: Int) async throws {
        guard let head = try await bucket.head(object) else { throw ObjectNotFound(key: object.key) }
        let storageClass = StorageClass(serverName: head.storageClass)
        guard storageClass.isArchive, head.availability != .thawing else { return }
        if head.availability == .archived, try await availability(of: object, head) == .online { return }
        do {
            try await bucket.restore(object, days: days)
        } catch let error as AWSError where error.code == "RestoreAlreadyInProgress" {
            return
        }
        guard let after = try await bucket.head(object) else { throw ObjectNotFound(key: object.key) }
        guard after.availability != .archived else {
            throw NotApplied(
                key: object.key, problem: "a thaw from \(head.storageClass) was asked for; there is none under way")
        }
    }

    package func delete(_ key: String, allVersions: Bool) async throws {
        let object = try bucket.name(key)
        try Task.checkCancellation()
        guard !allVersions else { return try await deleteVersions(of: object) }
        // A bucket with locks has versions, and deleting there only hides: it would say yes to everything.
        guard let head = try await bucket.head(object) else { return }
        try refuseProtected(object, head)
        try await bucket.delete(object)
    }

    private func refuseProtected(_ object: ObjectName, _ head: ObjectHead) throws(S3StoreError) {
        let isLocked = head.protection.lock.map { $0.until > clock.now() } ?? false
        guard !isLocked, !head.protection.legalHold else {
            throw .locked(key: object.key, protection: head.protection)
        }
    }

    /// The current version goes last: killed before that, the object is still seen, and can be deleted again.
    private func deleteVersions(of object: ObjectName) async throws {
        let versions = try await bucket.versions(of: object)
        for version in versions where !version.isDeletion {
            if let head = try await bucket.head(object, version: version.id) { try refuseProtected(object, head) }
        }
        for version in versions.reversed() { try await bucket.delete(object, version: version.id) }
    }

    /// Ends uploads under `prefix` that have been begun `seconds` (two days) ago by the server's clock, and returns how
    /// many: killed runs leave them, no listing of objects shows them, and their pieces are paid for. A younger one
    /// may belong to a run that goes on.
    package func abortAbandonedUploads(
        under prefix: String = "", olderThan seconds: Int64 = 48 * 3600
    ) async throws -> Int {
        try Task.checkCancellation()
        let (uploads, time) = try await bucket.unfinishedUploads(prefix: bucket.full(prefix))
        let latest = (time ?? clock.now()).adding(seconds: -seconds)
        var count = 0
        for upload in uploads where upload.initiated <= latest {
            guard let key = bucket.key(upload.full) else { continue }
            try await bucket.abortUpload(of: ObjectName(key: key, full: upload.full), id: upload.id)
            count += 1
        }
        return count
    }
}

/// The lock to ask for so that neither the one that is there nor the one that is wanted is fallen short of.
struct LockChange: Equatable {
    var lock: ObjectLock
    /// The mode goes from governance to compliance, which S3 counts as a bypass of governance.
    var isStricter: Bool

    /// `nil` where what is there will do.
    init?(from found: ObjectLock?, to asked: ObjectLock, now: Timestamp) {
        guard let found, found.until > now else {
            self.init(lock: asked, isStricter: false)
            return
        }
        let mode: ObjectLock.Mode = found.mode.isAsStrict(as: asked.mode) ? found.mode : asked.mode
        let lock = ObjectLock(mode: mode, until: max(found.until, asked.until))
        guard lock != found else { return nil }
        self.init(lock: lock, isStricter: mode != found.mode)
    }

    private init(lock: ObjectLock, isStricter: Bool) {
        self.lock = lock
        self.isStricter = isStricter
    }
}
