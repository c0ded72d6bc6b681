import CLinux
import Core
import Glibc
import Streams

/// Gives files of the stored log to a server in recovery, over a socket and through memory only.
///
/// The server's `restore_command` is a program that asks for one file and writes it where the server says
/// (``fetch(socket:name:path:)``); it is told nothing but the socket. The next two segments are opened ahead. What cannot
/// be read for any other reason than that it is not stored ends the recovery: a server takes a missing file for the end
/// of the log, and would be ready with less than there is.
package final class WALHandOver: Sendable {
    /// Segments that are opened ahead, and how many mebibytes of each lie ready.
    private static let ahead = 2
    private static let depth = 8

    let socketPath: String
    private let listener: Int32
    private let reader: WALReader
    private let meter: ProgressMeter
    private let isClosed = Guarded(false)
    private let task = Guarded<Task<Void, Never>?>(nil)

    /// Listens in `directory`, for its owner. `held` is the stretch that the server has already, with its base backup.
    init(
        _ library: any WALLibrary, systemID: String, segmentSize: UInt64, held: WALRange,
        in directory: SocketDirectory, meter: ProgressMeter
    ) throws {
        socketPath = "\(directory.path)/wal"
        self.meter = meter
        reader = WALReader(
            library, systemID: systemID, segmentSize: segmentSize, held: held, ahead: Self.ahead, depth: Self.depth)
        listener = try UnixSocket.listen(socketPath)
        try ClusterDirectory.give(socketPath, to: directory.owner)
        let work = Task { [listener, reader, meter, isClosed] in
            while let descriptor = await Self.accept(listener, reader, isClosed) {
                await Self.serve(descriptor, reader, meter, isClosed)
            }
            reader.interrupt()
            // Whoever asks from now on is turned away at once, and the recovery with it.
            shutdown(listener, Int32(SHUT_RDWR))
        }
        task.withLock { $0 = work }
    }

    deinit { Glibc.close(listener) }

    /// What reading the log failed with; `nil` while all is well.
    var failure: (any Error)? { reader.failure }

    /// Ends it; a file that is being given is broken off. Harmless twice.
    func close() async {
        isClosed.withLock { $0 = true }
        reader.interrupt()
        let work = task.withLock { $0 }
        work?.cancel()
        await work?.value
    }

    private static func accept(
        _ listener: Int32, _ reader: WALReader, _ isClosed: Guarded<Bool>
    ) async -> Int32? {
        do {
            return try await onThread("wal accept") { try UnixSocket.accept(listener) { isClosed.value } }
        } catch {
            if !isClosed.value { reader.fail(error) }
            return nil
        }
    }

    private static func serve(
        _ descriptor: Int32, _ reader: WALReader, _ meter: ProgressMeter, _ isClosed: Guarded<Bool>
    ) async {
        _ = await unthrowing {
            let name = try await onThread("wal ask") { try HandOverProtocol.readName(descriptor) { isClosed.value } }
            let answer = await reader.open(name)
            try await onThread("wal give") {
                do {
                    try HandOverProtocol.answer(answer, to: descriptor, meter: meter) { isClosed.value }
                } catch let error as HandOverProtocol.SourceFailed {
                    // The client sees a file that breaks off, and ends the recovery.
                    reader.fail(error.cause)
                }
            }
        }
        Glibc.close(descriptor)
    }

    /// A client that went away, or an end that was asked for, is nobody's failure: the next one is served.
    private static func unthrowing<Value>(_ body: () async throws -> Value) async -> Value? {
        do {
            return try await body()
        } catch {
            return nil
        }
    }
}

/// The stored log, read ahead.
final class WALReader: Sendable {
    enum Answer: Sendable {
        case found(any ByteSource)
        case notThere
        case failed
    }

    private struct State {
        var ahead: [WALSegment: Task<(any ByteSource)?, any Error>] = [:]
        var failure: (any Error)?
        /// What is being given.
        var current: (any ByteSource)?
        var isOver = false
    }

    private let library: any WALLibrary
    private let systemID: String
    private let segmentSize: UInt64
    private let held: WALRange
    private let count: Int
    private let depth: Int
    private let state = Guarded(State())

    init(
        _ library: any WALLibrary, systemID: String, segmentSize: UInt64, held: WALRange, ahead: Int, depth: Int
    ) {
        self.held = held
        self.library = library
        self.systemID = systemID
        self.segmentSize = segmentSize
        count = ahead
        self.depth = depth
    }

    var failure: (any Error)? { state.withLock { $0.failure } }

    func fail(_ error: any Error) { state.withLock { if $0.failure == nil { $0.failure = error } } }

    /// The file that the server calls `name`.
    func open(_ name: String) async -> Answer {
        guard failure == nil else { return .failed }
        do {
            guard let file = WALFile(name: name, segmentSize: segmentSize) else { return .notThere }
            guard case .segment(let segment) = file else {
                return try await library.open(file, of: systemID).map { begin($0) } ?? .notThere
            }
            let waiting = state.withLock { $0.ahead.removeValue(forKey: segment) }
            let source: (any ByteSource)?
            if let waiting { source = try await waiting.value } else { source = try await opened(segment) }
            guard let source else { return try await missing(segment) }
            defer { readAhead(of: segment) }
            return begin(source)
        } catch {
            fail(error)
            return .failed
        }
    }

    private func begin(_ source: any ByteSource) -> Answer {
        let isOver = state.withLock { state in
            state.current = source
            return state.isOver
        }
        guard !isOver else {
            source.cancel()
            return .failed
        }
        return .found(source)
    }

    private func opened(_ segment: WALSegment) async throws -> (any ByteSource)? {
        guard let source = try await library.open(.segment(segment), of: systemID) else { return nil }
        let checked = CheckedSegment(source, segment, systemID: systemID)
        return try PrefetchedSource(checked, depth: depth, name: "wal ahead")
    }

    /// The end of a timeline's log looks like a file that is not there; so does a hole in it, and that must not pass.
    private func missing(_ segment: WALSegment) async throws -> Answer {
        // Asked for first, and then taken from where the base backup put it.
        if segment.timeline == held.timeline, segment.begin < held.end { return .notThere }
        let later = try await library.ranges(of: systemID).filter {
            $0.timeline == segment.timeline && $0.end > segment.begin
        }
        guard let next = later.min(by: { $0.begin < $1.begin }) else { return .notThere }
        throw PostgresError.recovery(
            "the stored log of timeline \(segment.timeline) has a gap: segment \(segment.name) is missing, and it goes on "
                + "at \(max(next.begin, segment.begin))",
            hint: "take a target before \(segment.begin), or a base backup from after the gap", on: segment.name)
    }

    private func readAhead(of segment: WALSegment) {
        var wanted: [WALSegment] = []
        for _ in 0..<count { wanted.append((wanted.last ?? segment).next) }
        let dropped: [Task<(any ByteSource)?, any Error>] = state.withLock { state in
            guard !state.isOver else { return [] }
            let dropped = state.ahead.filter { !wanted.contains($0.key) }.map(\.value)
            state.ahead = state.ahead.filter { wanted.contains($0.key) }
            for segment in wanted where state.ahead[segment] == nil {
                state.ahead[segment] = Task { try await self.opened(segment) }
            }
            return dropped
        }
        for task in dropped { Self.drop(task) }
    }

    /// Breaks off what is being given, and lets go of what was read ahead.
    func interrupt() {
        let (current, waiting) = state.withLock { state in
            defer { state.ahead = [:] }
            state.isOver = true
            return (state.current, Array(state.ahead.values))
        }
        current?.cancel()
        for task in waiting { Self.drop(task) }
    }

    private static func drop(_ task: Task<(any ByteSource)?, any Error>) {
        task.cancel()
        Task { if case .success(let source?) = await task.result { source.cancel() } }
    }
}

extension WALFile {
    /// From the server's name of the file; `nil` for what a stored log does not have.
    init?(name: String, segmentSize: UInt64) {
        if let segment = WALSegment(name: name, size: segmentSize) {
            self = .segment(segment)
        } else if name.utf8.count == 16, name.hasSuffix(".history"),
            let segment = WALSegment(name: name.prefix(8) + "0000000000000000", size: segmentSize)
        {
            self = .history(timeline: segment.timeline)
        } else {
            return nil
        }
    }
}
