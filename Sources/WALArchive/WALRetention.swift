package import Core

/// A base backup that a log goes on from.
package struct WALBase: Hashable, Sendable {
    package var systemID: String
    package var timeline: UInt32
    /// Where its recovery begins to read.
    package var start: LSN
    /// Bytes of a segment there; `nil` where that is not known.
    package var segmentSize: UInt64?

    package init(systemID: String, timeline: UInt32, start: LSN, segmentSize: UInt64? = nil) {
        self.systemID = systemID
        self.timeline = timeline
        self.start = start
        self.segmentSize = segmentSize
    }
}

/// What no base backup needs, oldest first.
package struct WALExpired: Sendable {
    package var objects: [ObjectInfo] = []
    package var notes: [String] = []
}

extension WALArchive {
    /// What is younger is left alone, whatever it is: seconds.
    private static let shelter: Double = 48 * 3600

    /// What of the stored log none of `bases` needs, and beginnings of segments of which more is stored.
    ///
    /// A timeline with a base is needed from the oldest one's start on; all of it where there is a base on an earlier
    /// timeline, for that may lead here. One that only has bases on later timelines leads nowhere any more. Of a server
    /// without any base nothing expires.
    package func expired(bases: [WALBase], now: Timestamp, meter: ProgressMeter) async throws -> WALExpired {
        var expired = WALExpired()
        var timelines: [String: [UInt32: TimelineObjects]] = [:]
        for try await object in store.list(WALLayout.directory) {
            meter.beat()
            switch WALKey(object.key) {
            case .file(let systemID, let name)?:
                timelines[systemID, default: [:]][name.timeline, default: TimelineObjects()].files.append(
                    StoredFile(name: name, info: object))
            case .index(let systemID, let timeline, _)?:
                timelines[systemID, default: [:]][timeline, default: TimelineObjects()].indexes.append(object)
            case nil: break
            }
        }
        try Task.checkCancellation()
        for (systemID, timelines) in timelines.sorted(by: { $0.key < $1.key }) {
            let own = bases.filter { $0.systemID == systemID }
            if own.isEmpty {
                expired.notes.append(
                    "the log of system \(systemID) stays whole: no base backup of it is here, and without one it is "
                        + "of no use")
            }
            let sizes = Set(own.compactMap(\.segmentSize))
            for (timeline, objects) in timelines.sorted(by: { $0.key < $1.key }) {
                guard let size = try await segmentSize(of: objects.files) else { continue }
                // Where segments end follows from it, and nothing goes on the word of a file alone.
                guard sizes.isEmpty || sizes.contains(size) else {
                    expired.notes.append(
                        "the log of system \(systemID) on timeline \(timeline) stays whole: its segments say that they "
                            + "have \(size) bytes, and the base backups say otherwise")
                    continue
                }
                let needed = own.isEmpty ? LSN(0) : Self.needed(of: timeline, by: own)
                expired.objects += try await self.expired(objects, of: size, before: needed).filter {
                    now.seconds(since: $0.modified) > Self.shelter
                }
            }
        }
        return expired
    }

    private struct TimelineObjects {
        var files: [StoredFile] = []
        var indexes: [ObjectInfo] = []
    }

    /// From where on a timeline is needed.
    static func needed(of timeline: UInt32, by bases: [WALBase]) -> LSN {
        if bases.contains(where: { $0.timeline < timeline }) { return LSN(0) }
        return bases.filter { $0.timeline == timeline }.map(\.start).min() ?? LSN(UInt64.max)
    }

    private func expired(
        _ objects: TimelineObjects, of size: UInt64, before needed: LSN
    ) async throws -> [ObjectInfo] {
        var longest: [String: LSN] = [:]
        for file in objects.files {
            switch file.name {
            case .segment(let name): longest[name] = LSN(UInt64.max)
            case .partial(let name, let end): longest[name] = max(longest[name] ?? end, end)
            case .history, .backupNote: break
            }
        }
        let isPast = { (name: String) in
            WALSegment(name: String(name.prefix(24)), size: size).map { $0.end <= needed } ?? false
        }
        var expired = objects.files.filter { file in
            switch file.name {
            case .segment(let name), .backupNote(let name): isPast(name)
            case .partial(let name, let end): isPast(name) || end < longest[name] ?? end
            // Small, and what every later timeline is understood by.
            case .history: false
            }
        }.map(\.info)
        if !expired.isEmpty { expired += try await pastIndexes(objects.indexes, needed) }
        return expired
    }

    /// Days of which nothing is left; never the last, which says where to go on.
    private func pastIndexes(_ indexes: [ObjectInfo], _ needed: LSN) async throws -> [ObjectInfo] {
        var past: [ObjectInfo] = []
        for object in indexes.dropLast() {
            do {
                guard let end = try await index(at: object.key)?.end, end <= needed else { break }
                past.append(object)
            } catch is UnreadableIndex {
                past.append(object)
            }
        }
        return past
    }
}
