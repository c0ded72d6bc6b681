import AWS
import Core

/// One object on its way up in one request.
struct SingleUpload: Sendable {
    let bucket: S3Bucket
    let object: ObjectName
    let headers: ObjectHeaders
    let backoff: Backoff

    /// Throws ``StoreConflict`` where only a new object is wanted and another one is there.
    func run(_ piece: Piece) async throws {
        let fields = headers.fields(withLock: true)
        let createOnly = headers.options.createOnly
        let mayIgnoreCondition = createOnly && !bucket.isAWS
        // Where the server ignores the condition, this finds all but the other one of a race.
        if mayIgnoreCondition, try await bucket.head(object) != nil {
            if try await isThere(piece, nil) { return }
            throw StoreConflict(key: object.key)
        }
        do {
            let version = try await backoff.repeating {
                try await bucket.put(object, chunks: piece.chunks, fields: fields, createOnly: createOnly)
            }
            if mayIgnoreCondition, let version, version != "null" {
                let first = FirstVersion(
                    bucket: bucket, object: object, ownID: version, writerID: headers.writerID)
                try await first.settle()
            }
        } catch let error as AWSError where createOnly && (error.status == 412 || error.mayHaveArrived) {
            // An answer that was lost: the object may be ours.
            if try await isThere(piece, error) { return }
            throw error.status == 412 ? StoreConflict(key: object.key) : error
        } catch let error as AWSError where error.status == 400 && !headers.options.protection.isNone {
            guard try await bucket.hasObjectLock() else {
                throw S3StoreError.noObjectLock(bucket: bucket.settings.bucket)
            }
            throw error
        }
    }

    /// Whether the object that is there has the bytes of `piece`. Where nobody can be asked, `error` is thrown in place
    /// of what that gave.
    private func isThere(_ piece: Piece, _ error: AWSError?) async throws -> Bool {
        let fetch = RangeFetch(bucket: bucket, object: object, backoff: backoff)
        do {
            guard let head = try await bucket.head(object), head.size == piece.count else { return false }
            if head.writerID == headers.writerID || piece.count == 0 { return true }
            let found = try await fetch.fetch(0..<Int64(piece.count), of: nil).chunks
            return haveSameBytes(found, piece.chunks)
        } catch let failure as AWSError {
            throw error ?? failure
        }
    }
}

/// Whether two rows of chunks, cut anywhere, hold the same bytes.
func haveSameBytes(_ a: [Chunk], _ b: [Chunk]) -> Bool {
    guard a.reduce(0, { $0 + $1.count }) == b.reduce(0, { $0 + $1.count }) else { return false }
    var (a, b) = (a[...], b[...])
    var (offsetA, offsetB) = (0, 0)
    while let left = a.first, let right = b.first {
        let count = min(left.count - offsetA, right.count - offsetB)
        let isEqual =
            left.bytes[offsetA..<(offsetA + count)].elementsEqual(right.bytes[offsetB..<(offsetB + count)])
        if !isEqual { return false }
        offsetA += count
        offsetB += count
        if offsetA == left.count { (a, offsetA) = (a.dropFirst(), 0) }
        if offsetB == right.count { (b, offsetB) = (b.dropFirst(), 0) }
    }
    return true
}
