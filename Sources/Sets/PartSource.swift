import Core
import Streams

/// The plaintext of a part: its segments opened one after another, each to its end, and where a copy of one fails from
/// the next copy on from there.
///
/// Opening a segment is asynchronous and pulling it is not, so a task of its own does both and a queue stands between.
final class PartSource: ByteSource {
    private let queue = ChunkQueue(capacity: 4)
    private let task: Task<Void, Never>

    init(
        _ part: StoredPart, _ opening: SegmentOpening, pieces: PieceList?, from places: SegmentPlaces,
        notes: ReadingNotes
    ) {
        let queue = queue
        let reading = SegmentReading(opening: opening, pieces: pieces, notes: notes, queue: queue)
        task = Task {
            do {
                for segment in part.segments {
                    try await reading.read(segment, from: places.places[segment.path] ?? SegmentPlaces.Place())
                }
                queue.finish(.success(()))
            } catch {
                queue.finish(.failure(error))
            }
        }
    }

    deinit { cancel() }

    func next() throws -> Chunk? { try queue.pop() }

    func cancel() {
        queue.cancel()
        task.cancel()
    }
}

/// Opens segments into a queue.
private struct SegmentReading: Sendable {
    let opening: SegmentOpening
    /// `nil` where they are not needed: for messages, and for the part that holds them.
    let pieces: PieceList?
    let notes: ReadingNotes
    let queue: ChunkQueue
    private var manifest: Manifest { opening.manifest }

    /// Reads `segment` from the first of its copies that gives it whole.
    func read(_ segment: Segment, from place: SegmentPlaces.Place) async throws {
        guard let first = place.copies.first else {
            throw SetError.missingSegment(key: manifest.key.description, path: segment.path)
        }
        if let reason = place.reason { note(segment, first, reason) }
        let handed = HandedOn(keepsDigest: place.copies.count > 1)
        var refusals = CopyRefusals()
        for copy in place.copies {
            if let reason = refusals.reason { note(segment, copy, reason) }
            do {
                try await open(segment, from: copy.store, after: handed)
                return
            } catch let error as CancellationError {
                throw error
            } catch {
                refusals.add(copy, error)
            }
        }
        throw refusals.error
    }

    private func note(_ segment: Segment, _ copy: SetCopy, _ reason: String) {
        notes.add("segment \(segment.path) read from the \(copy.name.text): \(reason)")
    }

    private func open(_ segment: Segment, from store: any Store, after handed: HandedOn) async throws {
        // A segment that the list does not name has no pieces, and none of its bytes is taken.
        let opened = try await opening.open(
            segment, from: store, pieces: pieces.map { $0.digests[segment.path] ?? [] })
        let again = handed.beginAgain()
        let plainSize = Guarded<Int64>(0)
        try await pull(opened, named: "open") { chunk in
            plainSize.withLock { $0 += Int64(chunk.count) }
            guard let rest = try again.rest(of: chunk) else { return }
            guard queue.push(rest) else { throw CancellationError() }
            handed.add(rest)
        }
        guard plainSize.value == segment.plainSize, again.isDone else {
            throw SetError.damagedSegment(
                key: manifest.key.description, path: segment.path, problem: "it holds another number of bytes")
        }
    }
}

/// The bytes of a segment as a store has them. Its end is only reported where they are those that the manifest
/// promises; otherwise it throws there.
final class StoredSegment: ByteSource {
    private let source: DigestingSource
    private let segment: Segment
    private let key: String

    init(_ segment: Segment, of manifest: Manifest, in store: any Store) async throws {
        self.segment = segment
        key = manifest.key.description
        source = DigestingSource(try await store.get("\(key)/\(segment.path)", range: nil))
    }

    func next() throws -> Chunk? {
        if let chunk = try source.next() { return chunk }
        guard source.count == segment.storedSize else {
            throw SetError.wrongSize(
                key: key, path: segment.path, recorded: segment.storedSize, found: source.count)
        }
        guard source.sha256 == segment.storedSHA256 else {
            throw SetError.damagedSegment(
                key: key, path: segment.path, problem: "its bytes are not those that were stored")
        }
        return nil
    }

    func cancel() { source.cancel() }
}
