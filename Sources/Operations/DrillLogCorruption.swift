package import Core
import Sets
import WALArchive

/// What can happen to the files of a server's stored log.
enum LogCorruptionKind: String, CaseIterable, Sendable {
    case bitFlip = "LOG_BIT_FLIP"
    case truncation = "LOG_TRUNCATION"
    case missingSegment = "LOG_MISSING_SEGMENT"
    case swappedSegments = "LOG_SWAPPED_SEGMENTS"
}

/// A few files of the stored log, one after the other: what damage is done to, for a month of it would take hours to read
/// again for each kind.
package struct LogStretch: Equatable, Sendable {
    static let most: UInt64 = 4

    var systemID: String
    var segments: [WALSegment]
    /// The end of what is stored of the last of them.
    var end: LSN

    var text: String {
        "\(counted(segments.count, "segment")) of the log from \(segments.first?.name ?? "") on"
    }

    func lies(in range: WALRange) -> Bool {
        segments.allSatisfy { $0.timeline == range.timeline && $0.begin >= range.begin } && end <= range.end
    }
}

extension Drill {
    /// Finds whether a stretch of the log in `store` is what a recovery can be brought forward with; throws what is wrong.
    package typealias LogVerification =
        @Sendable (Workplace, LogStretch, any Store, ProgressMeter) async throws -> Void

    /// Reads it as a recovery does: without a gap, every byte authenticated, every file the one that its name says.
    package static let verifyLog: LogVerification = { workplace, stretch, store, meter in
        let archive = workplace.logArchive(in: store)
        let ranges = try await archive.ranges(of: stretch.systemID)
        guard ranges.contains(where: { stretch.lies(in: $0) }) else {
            throw Drill.lost("a part of \(stretch.text)", workplace)
        }
        for segment in stretch.segments {
            guard let source = try await archive.open(.segment(segment), of: stretch.systemID) else {
                throw Drill.lost(segment.name, workplace)
            }
            try await Drill.drain(source, meter)
        }
    }

    private static func lost(_ what: String, _ workplace: Workplace) -> JobFailure {
        JobFailure(
            .verificationFailed, "read the stored log", object: workplace.target,
            cause: "the stored log lacks \(what)", hint: "a base backup is due")
    }

    private static func drain(_ source: any ByteSource, _ meter: ProgressMeter) async throws {
        try await withTaskCancellationHandler {
            try await onThread("read the log") {
                while let chunk = try source.next() { meter.add(chunk.count) }
            }
        } onCancel: {
            source.cancel()
        }
    }

    /// Every kind of damage is done to a copy of a stretch of the log that the set is brought forward with. Returns the
    /// kinds that were not found.
    func corruptLog(
        after reader: SetReader, in home: any Store, _ course: DrillCourse, _ meter: ProgressMeter
    ) async throws -> [String] {
        guard workplace.log != nil, let base = PhysicalBase(reader.manifest),
            let stretch = try await chosenStretch(of: base, in: home)
        else {
            if workplace.log != nil {
                course.change { $0.notes.append("no log after the set is stored, so none of it could be damaged") }
            }
            return []
        }
        course.change { $0.components.append("write-ahead log") }
        // That it is sound before shows that it is the damage that is found.
        try await course.step("RETRIEVE_LOG", shows: "LOG_AVAILABILITY") { findings in
            meter.begin("read the log")
            try await Self.verifyLog(workplace, stretch, home, meter)
            findings.say("\(stretch.text) can be read")
        }
        var missed: [String] = []
        for kind in LogCorruptionKind.allCases where kind != .swappedSegments || stretch.segments.count > 1 {
            meter.begin("detect \(kind.rawValue)")
            let isFound = try await detect(kind.rawValue, of: reader.manifest.key, course) {
                try await damage(kind, of: stretch, in: home)
            } by: { store in
                try await logVerification(workplace, stretch, store, meter)
            }
            if !isFound { missed.append(kind.rawValue) }
        }
        return missed
    }

    /// A random stretch of what is stored after the set's begin, on its timeline or a later one; `nil` where nothing is.
    private func chosenStretch(of base: PhysicalBase, in home: any Store) async throws -> LogStretch? {
        let size = base.segmentSize
        let runs = try await workplace.logArchive(in: home).ranges(of: base.systemID).filter {
            $0.timeline >= base.timeline && $0.end > base.start
        }.map { range in
            (
                timeline: range.timeline, end: range.end,
                first: max(range.begin, WALSegment(timeline: 1, holding: base.start, size: size).begin).value / size,
                last: (range.end.value - 1) / size
            )
        }
        let total = runs.reduce(0) { $0 + $1.last - $1.first + 1 }
        guard total > 0 else { return nil }
        var drawn = draw(total)
        for run in runs {
            let count = run.last - run.first + 1
            guard drawn < count else {
                drawn -= count
                continue
            }
            let length = min(count, LogStretch.most)
            let first = min(run.first + drawn, run.last - length + 1)
            let segments = (first..<first + length).map {
                WALSegment(timeline: run.timeline, number: $0, size: size)
            }
            return LogStretch(
                systemID: base.systemID, segments: segments, end: min(run.end, LSN((first + length) * size)))
        }
        return nil
    }

    private func damage(
        _ kind: LogCorruptionKind, of stretch: LogStretch, in home: any Store
    ) async throws -> Damaged {
        let place = Int(draw(UInt64(stretch.segments.count)))
        let object = try await object(stretch, place, in: home)
        switch kind {
        case .bitFlip:
            let offset = Int64(draw(UInt64(object.size)))
            let bit = UInt8(draw(8))
            return Damaged(
                store: DamagedStore(base: home, damage: [object.key: .flip(offset: offset, bit: bit)]),
                text: "bit \(bit) of byte \(offset) of \(object.key) turned over")
        case .truncation:
            let end = Int64(draw(UInt64(object.size)))
            return Damaged(
                store: DamagedStore(base: home, damage: [object.key: .cut(to: end)]),
                text: "\(object.key) cut to \(end) of \(object.size) bytes")
        case .missingSegment:
            return Damaged(
                store: DamagedStore(base: home, damage: [object.key: .missing]), text: "\(object.key) taken away")
        case .swappedSegments:
            let step = 1 + Int(draw(UInt64(stretch.segments.count - 1)))
            let other = try await self.object(stretch, (place + step) % stretch.segments.count, in: home)
            return Damaged(
                store: DamagedStore(
                    base: home,
                    damage: [object.key: .exchanged(with: other.key), other.key: .exchanged(with: object.key)]),
                text: "\(object.key) and \(other.key) exchanged")
        }
    }

    private func object(_ stretch: LogStretch, _ place: Int, in home: any Store) async throws -> ObjectInfo {
        let segment = stretch.segments[place]
        let found = try await workplace.logArchive(in: home).object(of: segment, systemID: stretch.systemID)
        guard let found, found.size > 0 else { throw Self.lost(segment.name, workplace) }
        return found
    }
}
