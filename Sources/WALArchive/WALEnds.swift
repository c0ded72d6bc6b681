package import Core

/// Where the stored log of a server ends.
package struct WALStoredEnd: Equatable, Sendable {
    package var position: WALPosition
    /// The same by the index, which a job that was killed leaves behind what it stored.
    package var indexedTo: LSN
    /// Everything that had happened by then is stored; `nil` where that is not known.
    package var coveredUntil: Timestamp?
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

    package init(timeline: UInt32, begin: LSN, end: LSN) {
        self.timeline = timeline
        self.begin = begin
        self.end = end
    }
}

extension WALArchive {
    /// Where what is stored of this server's log ends: on its timeline, else on the newest that this came from; `nil`
    /// where nothing is. Costs the listing of a directory of days and one small object, and one look more.
    package func end(of server: WALServer) async throws -> WALStoredEnd? {
        for timeline in [server.timeline] + server.lineage.reversed().map(\.timeline) {
            if let end = try await end(of: server, on: timeline) { return end }
        }
        return nil
    }

    private func end(of server: WALServer, on timeline: UInt32) async throws -> WALStoredEnd? {
        guard let index = try await newestIndex(of: server.systemID, timeline), let indexed = index.end else {
            return nil
        }
        guard index.segmentSize == server.segmentSize else {
            throw WALArchiveError(
                .source, "go on with the stored log", object: "\(WALLayout.directory(of: server.systemID, timeline))",
                cause: "its segments have \(index.segmentSize) bytes, and the server's \(server.segmentSize)",
                hint: "give this target another keyPrefix, and take a base backup")
        }
        let reached = try await reach(from: indexed, server, timeline)
        var position = WALPosition(systemID: server.systemID, timeline: timeline, lsn: reached)
        if reached == indexed { position.mark = index.mark }
        return WALStoredEnd(
            position: position, indexedTo: indexed,
            coveredUntil: reached == indexed ? index.coveredUntil : nil)
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

    /// The last of the timeline's days; `nil` where there is none. One that cannot be read is passed over for the one
    /// before: then more is compared that is there already.
    func newestIndex(of systemID: String, _ timeline: UInt32) async throws -> WALIndex? {
        var keys: [String] = []
        for try await object in store.list(WALLayout.indexDirectory(of: systemID, timeline)) {
            if case .index? = WALKey(object.key) { keys.append(object.key) }
        }
        try Task.checkCancellation()
        for key in keys.reversed() {
            do {
                if let index = try await index(at: key), index.end != nil { return index }
            } catch is UnreadableIndex {
                continue
            }
        }
        return nil
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
        let fresh = WALIndex(
            systemID: origin.systemID, timeline: advance.timeline, segmentSize: origin.segmentSize)
        var index = fresh
        do {
            if let found = try await self.index(at: key), found.segmentSize == origin.segmentSize { index = found }
        } catch is UnreadableIndex {
            index = fresh
        }
        index.add(advance.begin.value..<advance.end.value)
        index.files += Int64(advance.files)
        index.bytes += advance.bytes
        index.storedBytes += advance.storedBytes
        index.coveredUntil = [index.coveredUntil, advance.coveredUntil].compactMap { $0 }.max()
        index.mark = index.end == advance.end ? advance.mark : nil
        try await store.put(key, index.json.canonicalBytes)
    }
}

/// An index that is damaged, or of another version.
struct UnreadableIndex: Error {}
