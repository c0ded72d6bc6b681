package import Core
import Sets
import Streams

/// A log in one store or more: what the first does not have, or what does not open there, is taken from the next.
///
/// Where a file breaks off midway the next store goes on with it from there, if it has the very same file: what was given
/// already is compared. Of a segment of which a store says that all of it is there, no beginning is taken from another.
package struct WALReserve: WALLibrary {
    private let archives: [WALArchive]
    private let tell: @Sendable (String, any Error) -> Void

    /// `tell` hears which file another store than the first had to give, and why.
    package init(_ archives: [WALArchive], tell: @escaping @Sendable (String, any Error) -> Void = { _, _ in }) {
        self.archives = archives
        self.tell = tell
    }

    package func ranges(of systemID: String) async throws -> [WALRange] {
        Self.joined(try await answers { try await $0.ranges(of: systemID) })
    }

    package func open(_ file: WALFile, of systemID: String) async throws -> (any ByteSource)? {
        switch file {
        case .history(let timeline): return try await open(.history(timeline: timeline), nil, of: systemID)
        case .segment(let segment): return try await open(segment, of: systemID)
        }
    }

    /// The system identifiers of which something is stored in any of the stores that answer. Lists everything.
    package func systems() async throws -> [String] {
        Set(try await answers { try await $0.systems() }).sorted()
    }

    /// A file by the name that the server's restore_command asks for; `nil` where it is not stored.
    package func open(named name: String, of systemID: String) async throws -> (any ByteSource)? {
        switch StoredFileName(name) {
        case .history(let timeline)?: return try await open(.history(timeline: timeline), nil, of: systemID)
        case .backupNote(let note)?: return try await open(.backupNote(note), nil, of: systemID)
        case .segment(let name)?:
            guard let segment = try await segment(named: name, of: systemID) else { return nil }
            return try await open(segment, of: systemID)
        case .partial?, nil: throw WALArchiveError.notAName(name)
        }
    }

    /// What touches or overlaps is one, on each timeline.
    static func joined(_ ranges: [WALRange]) -> [WALRange] {
        var joined: [WALRange] = []
        for range in ranges.sorted(by: { ($0.timeline, $0.begin) < ($1.timeline, $1.begin) }) {
            guard let last = joined.indices.last, joined[last].timeline == range.timeline,
                range.begin <= joined[last].end
            else {
                joined.append(range)
                continue
            }
            if range.end == joined[last].end {
                // The same log: it holds nothing later than the earlier of the two says.
                joined[last].stored = [joined[last].stored, range.stored].compactMap { $0 }.min()
            } else if range.end > joined[last].end {
                joined[last].end = range.end
                joined[last].stored = range.stored
            }
        }
        return joined
    }

    // MARK: Segments

    /// How long it is says any file of its name.
    private func segment(named name: String, of systemID: String) async throws -> WALSegment? {
        try await firstAnswer { try await $0.segment(named: name, of: systemID) }
    }

    private func open(_ segment: WALSegment, of systemID: String) async throws -> (any ByteSource)? {
        var unreachable: (any Error)?
        do {
            if let whole = try await open(.segment(segment.name), segment, of: systemID) { return whole }
        } catch let failure as any Failure where failure.exitCode == .store {
            // A store that does not answer does not say that it has the whole: the others may have what there is.
            unreachable = failure
        }
        guard let longest = try await longestBeginning(of: segment, systemID),
            let source = try await open(longest, segment, of: systemID)
        else {
            if let unreachable { throw unreachable }
            return nil
        }
        return PaddedSource(source, to: Int64(segment.size))
    }

    func longestBeginning(of segment: WALSegment, _ systemID: String) async throws -> StoredFileName? {
        var longest: (end: LSN, name: StoredFileName)?
        var failure: (any Error)?
        for archive in archives {
            do {
                for name in try await archive.beginnings(of: segment, systemID) {
                    guard case .partial(_, let end) = name, end > longest?.end ?? LSN(0) else { continue }
                    longest = (end, name)
                }
            } catch let error as CancellationError {
                throw error
            } catch {
                failure = failure ?? error
            }
        }
        if let failure, longest == nil { throw failure }
        return longest?.name
    }

    // MARK: Files

    /// A file from the first store that gives it, the others behind it.
    private func open(
        _ name: StoredFileName, _ segment: WALSegment?, of systemID: String
    ) async throws -> (any ByteSource)? {
        var failure: (any Error)?
        for (index, archive) in archives.enumerated() {
            do {
                guard let source = try await archive.open(name, segment, of: systemID) else { continue }
                if let failure { tell("\(name)", failure) }
                let rest = archives[(index + 1)...]
                guard !rest.isEmpty else { return source }
                let places = rest.map {
                    Place(archive: $0, name: name, segment: segment, systemID: systemID)
                }
                return ResumedSource(source, next: places) { [tell] in tell("\(name)", $0) }
            } catch let error as CancellationError {
                throw error
            } catch {
                failure = failure ?? error
            }
        }
        if let failure { throw failure }
        return nil
    }

    /// What each store that answers says: what one alone says is there is there. Throws where none answers.
    private func answers<Answer: Sendable>(
        _ ask: (WALArchive) async throws -> [Answer]
    ) async throws -> [Answer] {
        var answers: [Answer] = []
        var failures: [any Error] = []
        for archive in archives {
            do {
                answers += try await ask(archive)
            } catch let error as CancellationError {
                throw error
            } catch {
                failures.append(error)
            }
        }
        if failures.count == archives.count, let failure = failures.first { throw failure }
        return answers
    }

    private func firstAnswer<Answer: Sendable>(
        _ ask: (WALArchive) async throws -> Answer?
    ) async throws -> Answer? {
        var failure: (any Error)?
        for archive in archives {
            do {
                if let answer = try await ask(archive) { return answer }
            } catch let error as CancellationError {
                throw error
            } catch {
                failure = failure ?? error
            }
        }
        if let failure { throw failure }
        return nil
    }
}

/// Where a file may be.
private struct Place: Sendable {
    var archive: WALArchive
    var name: StoredFileName
    var segment: WALSegment?
    var systemID: String

    func open() async throws -> (any ByteSource)? { try await archive.open(name, segment, of: systemID) }
}

/// A file of one store, and where it breaks off the same of the next from there.
///
/// Opening is asynchronous and pulling it is not, so a task of its own does both and a queue stands between.
private final class ResumedSource: ByteSource {
    private let queue = ChunkQueue(capacity: 2)
    private let task: Task<Void, Never>

    init(_ first: any ByteSource, next: [Place], tell: @escaping @Sendable (any Error) -> Void) {
        let queue = queue
        task = Task {
            do {
                try await Self.read(first, next, into: queue, tell)
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

    private static func read(
        _ first: any ByteSource, _ next: [Place], into queue: ChunkQueue, _ tell: @Sendable (any Error) -> Void
    ) async throws {
        let handed = HandedOn(keepsDigest: true)
        let failure: any Error
        do {
            try await pass(first, after: handed, into: queue)
            return
        } catch let error as CancellationError {
            throw error
        } catch {
            failure = error
        }
        for place in next {
            do {
                guard let source = try await place.open() else { continue }
                tell(failure)
                try await pass(source, after: handed, into: queue)
                return
            } catch let error as CancellationError {
                throw error
            } catch {
                // The first one's error says what is wrong with the file that was chosen.
                continue
            }
        }
        throw failure
    }

    private static func pass(_ source: any ByteSource, after handed: HandedOn, into queue: ChunkQueue) async throws {
        let again = handed.beginAgain()
        try await pull(source, named: "wal open") { chunk in
            guard let rest = try again.rest(of: chunk) else { return }
            guard queue.push(rest) else { throw CancellationError() }
            handed.add(rest)
        }
        guard again.isDone else { throw ShorterCopy() }
    }
}

/// Ends before what was given of the one before it.
private struct ShorterCopy: Error {}
