package import Core

/// Where the stored log of a server ends.
package struct WALStoredEnd: Equatable, Sendable {
    package var position: WALPosition
    /// The same by the index, which a job that was killed leaves behind what it stored.
    package var indexedTo: LSN
    /// Everything that had happened by then is stored; `nil` where that is not known.
    package var coveredUntil: Timestamp?
    /// What was lost before it, for as long as no base backup from after it is known.
    package var gap: WALRange?
    /// What there is of the timeline by its names, where the index did not say it: to be noted anew.
    package var listed: [WALRange] = []
}

/// What a job, or a part of it, has added to a timeline.
package struct WALAdvance: Sendable {
    package var timeline: UInt32
    package var begin: LSN
    package var end: LSN
    package var files = 0
    package var bytes: Int64 = 0
    package var storedBytes: Int64 = 0
    package var coveredUntil: Timestamp?
    package var mark: String?
    /// Known to be lost before it; `nil` leaves what is noted.
    package var gap: WALRange?

    package init(timeline: UInt32, begin: LSN, end: LSN) {
        self.timeline = timeline
        self.begin = begin
        self.end = end
    }
}

extension WALArchive {
    /// Where what is stored of this server's log ends: on its timeline, else on the newest that this came from; `nil`
    /// where nothing is. Costs the listing of a directory of days and one small object, and two looks more.
    ///
    /// The index is believed where the object that it ends with is there. Else, and where it is damaged, of another place
    /// or gone, the files are listed.
    package func end(of server: WALServer) async throws -> WALStoredEnd? {
        for timeline in [server.timeline] + server.lineage.reversed().map(\.timeline) {
            if let end = try await end(of: server, on: timeline) { return end }
        }
        return nil
    }

    /// Until when everything that the server had written is stored, by the index of a timeline of which all up to `end` is
    /// there; `nil` where that says nothing, or speaks of more than is there. The index is not sealed: good for a figure,
    /// and for no decision.
    package func coveredUntil(
        of systemID: String, _ timeline: UInt32, storedTo end: LSN
    ) async throws -> Timestamp? {
        guard let index = try await newestIndex(of: systemID, timeline)?.index, let indexed = index.end,
            indexed <= end
        else { return nil }
        return index.coveredUntil
    }

    private func end(of server: WALServer, on timeline: UInt32) async throws -> WALStoredEnd? {
        guard let index = try await newestIndex(of: server.systemID, timeline)?.index, let indexed = index.end else {
            return try await listedEnd(of: server, on: timeline)
        }
        try check(index.segmentSize, server, timeline)
        guard try await holds(before: indexed, server, timeline) else {
            return try await listedEnd(of: server, on: timeline)
        }
        let reached = try await reach(from: indexed, server, timeline)
        var position = WALPosition(systemID: server.systemID, timeline: timeline, lsn: reached)
        if reached == indexed { position.mark = index.mark }
        return WALStoredEnd(
            position: position, indexedTo: indexed,
            coveredUntil: reached == indexed ? index.coveredUntil : nil, gap: index.gap)
    }

    private func check(_ segmentSize: UInt64, _ server: WALServer, _ timeline: UInt32) throws {
        guard segmentSize == server.segmentSize else {
            throw WALArchiveError(
                .source, "go on with the stored log", object: "\(WALLayout.directory(of: server.systemID, timeline))",
                cause: "its segments have \(segmentSize) bytes, and the server's \(server.segmentSize)",
                hint: "give this target another keyPrefix, and take a base backup")
        }
    }

    /// Whether there is an object that ends at `end`.
    private func holds(before end: LSN, _ server: WALServer, _ timeline: UInt32) async throws -> Bool {
        let last = WALSegment(timeline: timeline, holding: LSN(end.value - 1), size: server.segmentSize)
        let name = end == last.end ? StoredFileName.segment(last.name) : .partial(last.name, end: end)
        return try await store.stat(WALLayout.object(name, of: server.systemID)) != nil
    }

    /// By the names of the files. A timeline whose history is not there does not count: it comes first, and whoever
    /// stored the rest was ended before it was safe.
    private func listedEnd(of server: WALServer, on timeline: UInt32) async throws -> WALStoredEnd? {
        let files = try await files(below: WALLayout.directory(of: server.systemID, timeline))
        guard timeline == 1 || files.contains(where: \.name.isHistory), let size = try await segmentSize(of: files)
        else { return nil }
        try check(size, server, timeline)
        var ranges = Self.ranges(of: files, timeline: timeline, segmentSize: size)
        // A hole just before the end is what a killed job had on its way, and the server has it still.
        while ranges.count > 1, let last = ranges.last,
            last.end.value - ranges[ranges.count - 2].end.value <= UInt64(Self.mostAhead + 1) * size
        {
            ranges.removeLast()
        }
        guard let last = ranges.last else { return nil }
        var end = WALStoredEnd(
            position: WALPosition(systemID: server.systemID, timeline: timeline, lsn: last.end), indexedTo: last.end)
        end.listed = ranges
        // Whether a base backup was made since shows among the sets.
        if let before = ranges.dropLast().last {
            end.gap = WALRange(timeline: timeline, begin: before.end, end: last.begin)
        }
        return end
    }

    /// What lies next to the indexed end counts: whoever put it there was ended before it could say so.
    private func reach(from indexed: LSN, _ server: WALServer, _ timeline: UInt32) async throws -> LSN {
        var segment = WALSegment(timeline: timeline, holding: indexed, size: server.segmentSize)
        let key = { (segment: WALSegment) in WALLayout.object(.segment(segment.name), of: server.systemID) }
        guard try await store.stat(key(segment)) != nil else { return indexed }
        let directory = WALLayout.directory(of: server.systemID, timeline)
        var listed: (prefix: Substring, names: Set<String>)?
        while true {
            let prefix = segment.name.prefix(16)
            if listed?.prefix != prefix {
                let files = try await files(below: directory + prefix)
                listed = (
                    prefix,
                    Set(files.compactMap { if case .segment(let name) = $0.name { name } else { nil } })
                )
            }
            guard listed?.names.contains(segment.name) == true else { return segment.begin }
            segment = segment.next
        }
    }

    /// The last of the timeline's days; `nil` where there is none, and where it cannot be read: the one before it would
    /// not know of a gap since.
    func newestIndex(of systemID: String, _ timeline: UInt32) async throws -> (key: String, index: WALIndex)? {
        var newest: String?
        for try await object in store.list(WALLayout.indexDirectory(of: systemID, timeline)) {
            if case .index? = WALKey(object.key) { newest = object.key }
        }
        try Task.checkCancellation()
        guard let newest else { return nil }
        do {
            guard let index = try await index(at: newest), index.systemID == systemID, index.timeline == timeline
            else { return nil }
            return (newest, index)
        } catch is UnreadableIndex {
            return nil
        }
    }

    func index(at key: String) async throws -> WALIndex? {
        let bytes: [UInt8]
        do {
            bytes = try await store.read(key)
        } catch is ObjectNotFound {
            return nil
        }
        do {
            return try WALIndex(reading: bytes)
        } catch {
            throw UnreadableIndex()
        }
    }

    /// Notes what was stored in the index of `day`. What is there already stays noted, unless it cannot be read.
    package func note(_ advance: WALAdvance, of origin: WALOrigin, day: String) async throws {
        let key = WALLayout.index(of: origin.systemID, advance.timeline, day: day)
        var index = try await begun(at: key, origin, advance.timeline)
        index.add(advance.begin.value..<advance.end.value)
        index.files += Int64(advance.files)
        index.bytes += advance.bytes
        index.storedBytes += advance.storedBytes
        index.coveredUntil = [index.coveredUntil, advance.coveredUntil].compactMap { $0 }.max()
        index.mark = index.end == advance.end ? advance.mark : nil
        index.gap = advance.gap ?? index.gap
        try await store.put(key, index.json.canonicalBytes)
    }

    /// What the day has so far; a new one knows of the gap that the one before it knew.
    private func begun(at key: String, _ origin: WALOrigin, _ timeline: UInt32) async throws -> WALIndex {
        var fresh = WALIndex(systemID: origin.systemID, timeline: timeline, segmentSize: origin.segmentSize)
        do {
            if let found = try await index(at: key) {
                return found.systemID == origin.systemID && found.timeline == timeline
                    && found.segmentSize == origin.segmentSize ? found : fresh
            }
        } catch is UnreadableIndex {
            return fresh
        }
        fresh.gap = try await newestIndex(of: origin.systemID, timeline)?.index.gap
        return fresh
    }

    /// Writes the index of `day` anew from what there is by its names, where none could be believed.
    package func renew(_ end: WALStoredEnd, of origin: WALOrigin, day: String) async throws {
        let timeline = end.position.timeline
        var index = WALIndex(systemID: origin.systemID, timeline: timeline, segmentSize: origin.segmentSize)
        for range in end.listed { index.add(range.begin.value..<range.end.value) }
        index.gap = end.gap
        let key = WALLayout.index(of: origin.systemID, timeline, day: day)
        try await store.put(key, index.json.canonicalBytes)
        // One of a day to come would be the newest again.
        var later: [String] = []
        for try await object in store.list(WALLayout.indexDirectory(of: origin.systemID, timeline)) {
            if case .index? = WALKey(object.key), object.key > key { later.append(object.key) }
        }
        try Task.checkCancellation()
        for key in later { try await store.delete(key) }
    }

    /// Forgets a gap: there is a base backup from after it.
    package func settle(_ gap: WALRange, of server: WALServer) async throws {
        for timeline in [server.timeline] + server.lineage.map(\.timeline) {
            guard let (key, found) = try await newestIndex(of: server.systemID, timeline),
                found.gap.map({ $0.isSame(as: gap) }) == true
            else { continue }
            var index = found
            index.gap = nil
            try await store.put(key, index.json.canonicalBytes)
        }
    }
}

extension WALRange {
    fileprivate func isSame(as other: WALRange) -> Bool {
        timeline == other.timeline && begin == other.begin && end == other.end
    }
}

/// An index that is damaged, or of another version.
struct UnreadableIndex: Error {}
