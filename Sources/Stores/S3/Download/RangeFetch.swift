import AWS
import Core

/// What a download knows of its object from the first answer on.
struct ObjectVersion: Sendable, Equatable {
    var etag: String
    /// Bytes of the whole object.
    var size: Int64
}

/// What came of a range.
struct Fetched: Sendable {
    var chunks: [Chunk]
    var version: ObjectVersion
}

/// Fetches a range of an object into memory, going on where a broken answer has ended.
struct RangeFetch: Sendable {
    let bucket: S3Bucket
    let object: ObjectName
    let backoff: Backoff

    /// The bytes of `range`, or those of it that there are, and of which version. A `version` that is known has to be
    /// the same still: ``S3StoreError/changed(key:)``. Throws `AWSError` where it goes on failing; for a range that
    /// begins at or behind the end, its status is 416.
    func fetch(_ range: Range<Int64>, of version: ObjectVersion?) async throws -> Fetched {
        let buffer = RangeBuffer(range)
        var failures = 0
        while true {
            let reached = buffer.end
            do {
                return try await attempt(buffer, of: version)
            } catch {
                try Task.checkCancellation()
                let isForward = version != nil && buffer.end > reached
                // Before the first whole answer nobody knows which version the bytes so far are of.
                if version == nil { buffer.clear() }
                failures = isForward ? 1 : failures + 1
                guard failures < backoff.attempts, Self.isPassing(error) else { throw error }
            }
            try await backoff.wait(after: failures)
        }
    }

    private static func isPassing(_ error: any Error) -> Bool {
        switch error {
        case let error as AWSError: error.isTransient
        case S3StoreError.short, S3StoreError.checksum: true
        default: false
        }
    }

    private func attempt(_ buffer: RangeBuffer, of version: ObjectVersion?) async throws -> Fetched {
        let missing = buffer.missing
        // The answer broke after its last byte.
        if missing.isEmpty, let version { return Fetched(chunks: buffer.chunks, version: version) }
        var call = S3Bucket.Call(operation: "GetObject", method: "GET", object: object)
        call.headers["Range"] = "bytes=\(missing.lowerBound)-\(missing.upperBound - 1)"
        if let version, !version.etag.isEmpty { call.headers["If-Match"] = version.etag }
        call.headers["x-amz-checksum-mode"] = "ENABLED"
        call.take = { buffer.append($0) }
        let answer: HTTPAnswer
        do {
            answer = try await bucket.send(call)
        } catch let error as AWSError where version != nil && (error.status == 412 || error.status == 416) {
            throw S3StoreError.changed(key: object.key)
        }
        let found = try Self.version(bucket, answer, call, from: missing.lowerBound)
        guard version.map({ $0 == found }) ?? true else { throw S3StoreError.changed(key: object.key) }
        let end = min(buffer.range.upperBound, found.size)
        guard buffer.end == end, !buffer.isOverfull else {
            throw S3StoreError.short(
                key: object.key, expected: end - buffer.range.lowerBound,
                found: buffer.end - buffer.range.lowerBound)
        }
        // Where the object went up in pieces, its checksum is one of theirs and ends in their number.
        if missing.lowerBound == 0, end == found.size, let checksum = answer.headers[Checksum.header],
            !checksum.contains("-"), Checksum(buffer.chunks).text != checksum
        {
            buffer.clear()
            throw S3StoreError.checksum(key: object.key)
        }
        return Fetched(chunks: buffer.chunks, version: found)
    }

    /// From `Content-Range`, which some servers send with status 200, or, for an answer with the whole object, its length.
    private static func version(
        _ bucket: S3Bucket, _ answer: HTTPAnswer, _ call: S3Bucket.Call, from begin: Int64
    ) throws(S3StoreError) -> ObjectVersion {
        let etag = answer.headers["ETag"] ?? ""
        if let range = answer.headers["Content-Range"] {
            // bytes 0-8388607/9000000
            let fields = range.split { " -/".contains($0) }
            if fields.count == 4, fields[0] == "bytes", Int64(fields[1]) == begin, let size = Int64(fields[3]) {
                return ObjectVersion(etag: etag, size: size)
            }
        } else if answer.status == 200, begin == 0,
            let size = answer.headers["Content-Length"].flatMap({ Int64($0) })
        {
            return ObjectVersion(etag: etag, size: size)
        }
        throw bucket.answerError(call, "it is not of the range that was asked for")
    }
}

/// The bytes of a range as they come. Filled by one exchange at a time.
final class RangeBuffer: Sendable {
    private struct State {
        var chunks: [Chunk] = []
        var count: Int64 = 0
        var isOverfull = false
    }

    let range: Range<Int64>
    private let state = Guarded(State())

    init(_ range: Range<Int64>) { self.range = range }

    var chunks: [Chunk] { state.withLock { $0.chunks } }
    /// How far it has got, in bytes of the object.
    var end: Int64 { range.lowerBound + state.withLock { $0.count } }
    var missing: Range<Int64> { end..<range.upperBound }
    /// More came than was asked for.
    var isOverfull: Bool { state.withLock { $0.isOverfull } }

    func clear() { state.withLock { $0 = State() } }

    func append(_ bytes: UnsafeRawBufferPointer) {
        nonisolated(unsafe) let bytes = bytes
        let length = Int64(range.count)
        state.withLock { state in
            var rest = bytes
            let room = length - state.count
            if rest.count > room {
                state.isOverfull = true
                rest = UnsafeRawBufferPointer(rebasing: rest[..<Int(room)])
            }
            state.count += Int64(rest.count)
            while !rest.isEmpty {
                if state.chunks.last.map({ $0.remaining == 0 }) ?? true {
                    let missing = Int(length) - state.chunks.count * Chunk.size
                    state.chunks.append(Chunk(capacity: min(Chunk.size, missing)))
                }
                let taken = state.chunks[state.chunks.count - 1].append(rest)
                rest = UnsafeRawBufferPointer(rebasing: rest[taken...])
            }
        }
    }
}
