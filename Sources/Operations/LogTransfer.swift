import Core
import Sets
import WALArchive

/// The log on its way from a server into the stores: several files at once, and what is noted and acknowledged always
/// a beginning of it without holes.
struct LogTransfer: Sendable {
    /// Files between two notes of how far it is. What was stored after the last one is found again by its names.
    private static let batch = 16

    let workplace: Workplace
    let stream: any WALStream
    let first: WALArchive
    let stored: WALStoredEnd?
    /// Before the server was asked where its log stands.
    let began: Timestamp
    /// What is lost, as far as is known by now.
    let gap: WALRange?
    let meter: ProgressMeter

    /// Files that are new, and such as the store had already.
    private(set) var files = 0
    private(set) var repeated = 0
    /// Bytes of the new ones, and of them as stored.
    private(set) var plainBytes: Int64 = 0
    private(set) var storedBytes: Int64 = 0
    /// Files brought to the second store.
    private(set) var copied = 0
    private(set) var secondFailure: JobFailure?

    private let second: WALArchive?
    /// All that the first store has is in the second too.
    private var isSecondWhole = true
    private var advance: WALAdvance?
    private var uncopied: [String] = []
    private var sinceNote = 0
    private var firstSegment: WALReceipt?

    init(
        workplace: Workplace, stream: any WALStream, first: WALArchive, stored: WALStoredEnd?, began: Timestamp,
        meter: ProgressMeter
    ) {
        self.workplace = workplace
        self.stream = stream
        self.first = first
        self.stored = stored
        self.began = began
        self.meter = meter
        gap = stream.gap ?? stored?.gap
        second = workplace.secondary.map { workplace.logArchive(in: $0) }
    }

    private var origin: WALOrigin {
        WALOrigin(systemID: stream.server.systemID, segmentSize: stream.server.segmentSize)
    }

    mutating func run() async throws {
        try await lookAtSecond()
        if let stored, !stored.listed.isEmpty {
            try await first.renew(stored, of: origin, day: workplace.clock.now().day)
        }
        do {
            try await storeAll()
        } catch let error as CancellationError {
            throw error
        } catch {
            // What is safe already need not be sent again. Where that fails as well, the first error says why.
            do { try await note() } catch {}
            throw error
        }
        if var last = advance {
            last.mark = stream.end.mark
            last.coveredUntil = began
            advance = last
        }
        try await makeUpSecond()
        try await note()
        try await stream.finish()
        try await removeSuperseded()
    }

    // MARK: The first store

    /// What has been taken from the server when something fails is stored all the same: else a job that meets the same
    /// fault again would never come any further.
    ///
    /// The first segment of a timeline is stored before any other. Of files behind a hole at the very beginning nobody
    /// could tell later that it is one.
    private mutating func storeAll() async throws {
        let limit = WALArchive.segmentsInMemory(ofSize: origin.segmentSize)
        let (first, origin, meter, stream) = (first, origin, meter, stream)
        var pending: [Int: WALReceipt] = [:]
        var asked = 0
        var done = 0
        var isAtEnd = false
        var held: WALPiece?
        var timeline = stored?.position.timeline
        var isFirst = false
        var failure: (any Error)?
        try await withThrowingTaskGroup(of: (Int, Result<WALReceipt, any Error>).self) { group in
            while true {
                while !isAtEnd, asked - done - pending.count < limit, asked - done < WALArchive.mostAhead,
                    asked == done || !(isFirst || held != nil)
                {
                    do {
                        guard let piece = try await Self.next(&held, stream) else {
                            isAtEnd = true
                            break
                        }
                        isFirst = piece.timeline.map { $0 != timeline } ?? false
                        if isFirst, asked > done {
                            held = piece
                            break
                        }
                        timeline = piece.timeline ?? timeline
                        let number = asked
                        asked += 1
                        group.addTask { (number, await Self.stored(piece, in: first, of: origin, meter)) }
                    } catch {
                        failure = error
                        isAtEnd = true
                    }
                }
                guard let (number, result) = try await group.next() else { return }
                switch result {
                case .success(let receipt): pending[number] = receipt
                case .failure(let error):
                    failure = failure ?? error
                    isAtEnd = true
                }
                while let receipt = pending.removeValue(forKey: done) {
                    done += 1
                    try await add(receipt)
                }
            }
        }
        held?.source.cancel()
        if let failure { throw failure }
    }

    private static func next(_ held: inout WALPiece?, _ stream: any WALStream) async throws -> WALPiece? {
        guard let piece = held else { return try await stream.next() }
        held = nil
        return piece
    }

    private static func stored(
        _ piece: WALPiece, in archive: WALArchive, of origin: WALOrigin, _ meter: ProgressMeter
    ) async -> Result<WALReceipt, any Error> {
        do {
            return .success(try await archive.store(piece, of: origin, meter: meter))
        } catch {
            return .failure(error)
        }
    }

    private mutating func add(_ receipt: WALReceipt) async throws {
        count(receipt)
        guard case .segment(let segment)? = receipt.file, let end = receipt.end else {
            uncopied.append(receipt.key)
            return
        }
        if advance?.timeline != segment.timeline {
            try await note()
            var begin = segment.begin
            // What a job that was killed had stored after its last note is noted now.
            if let stored, stored.position.timeline == segment.timeline, begin <= stored.position.lsn {
                begin = min(begin, stored.indexedTo)
            }
            advance = WALAdvance(timeline: segment.timeline, begin: begin, end: end)
        }
        uncopied.append(receipt.key)
        advance?.end = end
        advance?.files += receipt.isNew ? 1 : 0
        advance?.bytes += receipt.isNew ? receipt.plainSize : 0
        advance?.storedBytes += receipt.storedSize
        if firstSegment == nil { firstSegment = receipt }
        sinceNote += 1
        if sinceNote >= Self.batch { try await note() }
    }

    private mutating func count(_ receipt: WALReceipt) {
        guard receipt.isNew else {
            repeated += 1
            return
        }
        files += 1
        plainBytes += receipt.plainSize
        storedBytes += receipt.storedSize
    }

    /// Notes how far the log is stored, brings the same to the second store, and lets the server forget it where that
    /// is done.
    private mutating func note() async throws {
        guard var made = advance else { return }
        made.gap = gap
        let day = workplace.clock.now().day
        try await first.note(made, of: origin, day: day)
        sinceNote = 0
        advance = WALAdvance(timeline: made.timeline, begin: made.end, end: made.end)
        try await copyToSecond(made, day)
        if isSecondWhole, secondFailure == nil { stream.acknowledge(made.end) }
    }

    /// A beginning of the segment that this run has stored further.
    private mutating func removeSuperseded() async throws {
        guard let stored, let receipt = firstSegment, stored.position.lsn.value % origin.segmentSize != 0 else {
            return
        }
        for archive in [first] + (secondFailure == nil ? second.map { [$0] } ?? [] : []) {
            _ = try await archive.removeSuperseded(by: receipt, of: origin.systemID)
        }
    }

    // MARK: The second

    private mutating func lookAtSecond() async throws {
        guard let second else { return }
        try await tryingSecond { transfer in
            transfer.isSecondWhole =
                try await second.end(of: transfer.stream.server)?.position == transfer.stored?.position
        }
    }

    private mutating func copyToSecond(_ made: WALAdvance, _ day: String) async throws {
        guard let second, secondFailure == nil else { return }
        let copying = WALCopying(from: first, to: second)
        try await tryingSecond { transfer in
            while let key = transfer.uncopied.first {
                try await copying.copy(key, meter: transfer.meter)
                transfer.uncopied.removeFirst()
                transfer.copied += 1
            }
            // With a hole before it the second store's own end would be past what it has.
            if transfer.isSecondWhole { try await second.note(made, of: transfer.origin, day: day) }
        }
    }

    private mutating func makeUpSecond() async throws {
        guard let second, secondFailure == nil, !isSecondWhole else { return }
        let copying = WALCopying(from: first, to: second)
        try await tryingSecond { transfer in
            transfer.copied += try await copying.makeUp(of: transfer.origin.systemID, meter: transfer.meter)
            transfer.isSecondWhole = true
        }
    }

    /// What fails there ends the copying, not the job.
    private mutating func tryingSecond(_ body: (inout LogTransfer) async throws -> Void) async throws {
        guard secondFailure == nil else { return }
        do {
            try await body(&self)
        } catch let error as CancellationError {
            throw error
        } catch let failure as any Failure {
            secondFailure = JobFailure(failure, as: .notReplicated)
        } catch {
            secondFailure = JobFailure(
                .notReplicated, "copy the log", cause: "it failed with \(type(of: error))", hint: "run again")
        }
    }
}

extension WALPiece {
    /// Of a segment.
    fileprivate var timeline: UInt32? {
        guard case .segment(let segment) = file else { return nil }
        return segment.timeline
    }
}
