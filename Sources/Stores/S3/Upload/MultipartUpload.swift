import AWS
import Core
import Logging

/// One object on its way up in pieces: begun, sent, completed, or else aborted.
struct MultipartUpload: Sendable {
    let bucket: S3Bucket
    let object: ObjectName
    let headers: ObjectHeaders
    /// Pieces on their way, over all uploads of the store.
    let slots: Slots
    let backoff: Backoff
    let logger: Logger

    /// Sends all that `reader` has, and returns how many bytes that was. Where it throws, no upload and no object of it
    /// stays behind, as far as the store can still be reached: what cannot be aborted is logged, and found by the next
    /// sweep. The error of the source is thrown unchanged.
    func run(from reader: PieceReader, source: any ByteSource) async throws -> Int64 {
        let mayHaveTwin = Guarded(false)
        do {
            let upload = try await create(mayHaveTwin)
            do {
                let (pieces, size) = try await sendAll(from: reader, source, upload)
                try await complete(upload, pieces, size: size)
                if mayHaveTwin.value { await abortAll() }
                return size
            } catch {
                // An id that the server does not know was spoilt on its way here: the upload has another.
                if await !abort(upload) { mayHaveTwin.withLock { $0 = true } }
                throw error
            }
        } catch {
            if mayHaveTwin.value { await abortAll() }
            throw error
        }
    }

    /// Where no answer came, the server may have begun an upload that nobody knows the id of.
    private func create(_ mayHaveTwin: Guarded<Bool>) async throws -> Upload {
        try await backoff.repeating {
            do {
                return try await bucket.createUpload(object, fields: headers.fields(withLock: false))
            } catch {
                let isRefused = (error as? AWSError).map { !$0.mayHaveArrived || $0.transport == .connect } ?? false
                if !isRefused { mayHaveTwin.withLock { $0 = true } }
                throw error
            }
        }
    }

    // MARK: Pieces

    private func sendAll(
        from reader: PieceReader, _ source: any ByteSource, _ upload: Upload
    ) async throws -> (pieces: [UploadedPiece], size: Int64) {
        // The first of all: it cancels what goes on elsewhere, and what that throws is only an echo.
        let failure = Guarded<(any Error)?>(nil)
        do {
            return try await withThrowingTaskGroup(of: UploadedPiece.self) { group in
                do {
                    let size = try await start(&group, from: reader, source, upload, failure)
                    let pieces = try await group.reduce(into: [UploadedPiece]()) { $0.append($1) }
                    return (pieces.sorted { $0.number < $1.number }, size)
                } catch {
                    failure.withLock { $0 = $0 ?? error }
                    throw error
                }
            }
        } catch {
            throw failure.value ?? error
        }
    }

    /// Gives each piece that is read to a task, as many at once as there are slots for, and returns the size of all.
    private func start(
        _ group: inout ThrowingTaskGroup<UploadedPiece, any Error>, from reader: PieceReader,
        _ source: any ByteSource, _ upload: Upload, _ failure: Guarded<(any Error)?>
    ) async throws -> Int64 {
        var size: Int64 = 0
        var number = 0
        var isLast = false
        while !isLast {
            let piece = try await next(reader)
            isLast = piece.isLast
            number += 1
            size += Int64(piece.count)
            guard size <= bucket.settings.largestObject else {
                throw S3StoreError.tooLarge(key: object.key, limit: bucket.settings.largestObject)
            }
            try await slots.acquire()
            group.addTask { [number] in
                defer { slots.release() }
                do {
                    return try await send(piece, number: number, upload)
                } catch {
                    failure.withLock { $0 = $0 ?? error }
                    source.cancel()
                    throw error
                }
            }
        }
        return size
    }

    private func next(_ reader: PieceReader) async throws -> Piece {
        let size = bucket.settings.pieceSize
        return try await onThread("s3-put") { try reader.next(size: size) }
    }

    /// One piece, again and alone after a fault.
    private func send(_ piece: Piece, number: Int, _ upload: Upload) async throws -> UploadedPiece {
        try await backoff.repeating {
            try await bucket.uploadPiece(upload, number: number, chunks: piece.chunks)
        }
    }

    // MARK: The end

    private func complete(_ upload: Upload, _ pieces: [UploadedPiece], size: Int64) async throws {
        // Some servers ignore the condition on this request and overwrite.
        if headers.options.createOnly, try await bucket.head(object) != nil { throw StoreConflict(key: object.key) }
        do {
            try await backoff.repeating {
                do {
                    try await bucket.completeUpload(upload, pieces: pieces, createOnly: headers.options.createOnly)
                } catch let error as AWSError where error.mayHaveArrived || error.isNotFound || error.status == 412 {
                    // An upload that is gone, or an object that is there, is what an answer that was lost leaves.
                    if try await isOurs() { return }
                    if error.status == 412 { throw StoreConflict(key: object.key) }
                    throw error
                }
            }
        } catch let error as AWSError where error.mayHaveArrived {
            if try await isOurs() { return }
            throw error
        }
        guard let head = try await bucket.head(object), head.size == size else {
            throw NotApplied(key: object.key, problem: "\(size) bytes were sent, and the object is not of them")
        }
    }

    private func isOurs() async throws -> Bool { try await bucket.head(object)?.writerID == headers.writerID }

    /// False where there was no such upload.
    private func abort(_ upload: Upload) async -> Bool {
        let wasThere = Guarded(true)
        await quietly {
            let found = try await bucket.abortUpload(of: upload.object, id: upload.id)
            wasThere.withLock { $0 = found }
        }
        return wasThere.value
    }

    /// Every upload of exactly this object: nobody else writes under a name that is drawn for one attempt.
    private func abortAll() async {
        await quietly {
            for upload in try await bucket.unfinishedUploads(prefix: object.full).uploads
            where upload.full.utf8.elementsEqual(object.full.utf8) {
                try await bucket.abortUpload(of: object, id: upload.id)
            }
        }
    }

    /// Also in a cancelled task. The error that led here is the one to be told; this one is only logged.
    private func quietly(_ body: @escaping @Sendable () async throws -> Void) async {
        var backoff = backoff
        // The process is about to end, and has ten seconds for it.
        if Task.isCancelled { backoff.attempts = 1 }
        await uncancelled { [backoff] in
            do {
                try await backoff.repeating(body)
            } catch {
                logger.warning(
                    "an unfinished upload stays until the next sweep",
                    metadata: ["key": "\(object.key)", "cause": "\(error)"])
            }
        }
    }
}
