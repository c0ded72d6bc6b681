import Core
import Streams

/// Follows the log, leg by leg, on a thread of its own: one segment is put together whenever somebody asks.
///
/// The thread stays until ``finish()`` or ``close()``, for what is acknowledged goes to the server over its session.
final class LogFollower: @unchecked Sendable {
    /// Seconds in which a server that has something to send sends it.
    private static let patience = 60
    /// The server ends a session from which it hears nothing for a minute.
    private static let heartbeat: Duration = .seconds(10)
    private static let purpose = "follow the server's log"

    private let connection: ReplicationConnection
    private let slot: String
    private let server: WALServer
    private let legs: [LogLeg]
    private let histories: [UInt32: [UInt8]]
    private let meter: ProgressMeter
    private let first: [UInt8]

    private let monitor = Monitor()
    // Guarded by `monitor`.
    private var wanted = 0
    private var ready: WALPiece?
    private var outcome: Result<Void, any Error>?
    private var farewell: Result<Void, any Error>?
    private var isFinishing = false
    private var isCancelled = false
    private var isCopying = true
    private var received = LSN(0)
    private var safe: LSN?
    private var heartbeat: Task<Void, Never>?

    /// Begins with the first of `legs`, and returns when the server has begun to send it: one that has it no longer
    /// says so here, with SQLSTATE 58P01. Blocks.
    ///
    /// `histories` are those of the timelines that the store has not seen.
    init(
        on connection: ReplicationConnection, slot: String, server: WALServer, legs: [LogLeg],
        histories: [UInt32: [UInt8]], meter: ProgressMeter
    ) throws {
        self.connection = connection
        self.slot = slot
        self.server = server
        self.legs = legs
        self.histories = histories
        self.meter = meter
        guard let leg = legs.first else {
            throw PostgresError.protocolViolation(Self.purpose, on: connection.label)
        }
        try Self.start(leg, on: connection, slot: slot)
        first = try Self.firstMessage(on: connection)
        heartbeat = Task { [weak self] in
            while !Task.isCancelled {
                do { try await Task.sleep(for: Self.heartbeat) } catch { return }
                self?.beat()
            }
        }
        do {
            try startThread("log") { self.run() }
        } catch {
            heartbeat?.cancel()
            throw error
        }
    }

    private static func start(_ leg: LogLeg, on connection: ReplicationConnection, slot: String) throws {
        try connection.send(
            "START_REPLICATION SLOT \(quoted(name: slot)) PHYSICAL \(leg.begin) TIMELINE \(leg.timeline)",
            to: purpose)
        guard case .copyBoth? = try connection.nextAnswer(within: patience, to: purpose) else {
            throw PostgresError.protocolViolation(purpose, on: connection.label)
        }
    }

    private static func firstMessage(on connection: ReplicationConnection) throws -> [UInt8] {
        guard let first = try connection.message(within: patience, to: purpose, { Array($0) }) else {
            throw try endedEarly(connection)
        }
        return first
    }

    /// What the server says of why it stopped.
    private static func endedEarly(_ connection: ReplicationConnection) throws -> PostgresError {
        while try connection.nextAnswer(within: patience, to: purpose) != nil {}
        return .lostConnection(purpose, on: connection.label)
    }

    // MARK: For who reads

    func next() async throws -> WALPiece? {
        try await withTaskCancellationHandler {
            try await onThread("log piece") { try self.take() }
        } onCancel: {
            cancel()
        }
    }

    private func take() throws -> WALPiece? {
        try monitor.locked {
            wanted += 1
            monitor.changed()
            while true {
                if let piece = ready {
                    ready = nil
                    return piece
                }
                if isCancelled { throw CancellationError() }
                if let outcome {
                    try outcome.get()
                    return nil
                }
                monitor.wait()
            }
        }
    }

    func acknowledge(_ lsn: LSN) { monitor.locked { safe = max(safe ?? lsn, lsn) } }

    func finish() async throws {
        try await withTaskCancellationHandler {
            try await onThread("log end") {
                try self.monitor.locked {
                    self.isFinishing = true
                    self.monitor.changed()
                    while self.farewell == nil { self.monitor.wait() }
                    try self.farewell?.get()
                }
            }
        } onCancel: {
            cancel()
        }
    }

    func close() async {
        cancel()
        await withCheckedContinuation { continuation in
            do {
                try startThread("log end") {
                    self.monitor.locked { while self.farewell == nil { self.monitor.wait() } }
                    continuation.resume()
                }
            } catch {
                // It ends by itself all the same.
                continuation.resume()
            }
        }
    }

    private func cancel() {
        connection.cancel()
        monitor.locked {
            isCancelled = true
            monitor.changed()
        }
    }

    private func beat() {
        do { try sendStatus() } catch {
            // The thread that reads meets the same, and tells.
        }
    }

    private func sendStatus() throws {
        let status: [UInt8]? = monitor.locked { isCopying ? LogMessage.status(received: received, safe: safe) : nil }
        if let status { try connection.put(status, to: Self.purpose) }
    }

    // MARK: The thread

    private func run() {
        let outcome = Result { try followAll() }.mapError { explained($0) }
        monitor.locked {
            self.outcome = outcome
            monitor.changed()
            if case .success = outcome { while !isFinishing && !isCancelled { monitor.wait() } }
        }
        let farewell: Result<Void, any Error>
        switch outcome {
        case .success: farewell = Result { try endLeg() }
        case .failure(let error): farewell = .failure(error)
        }
        heartbeat?.cancel()
        connection.close()
        monitor.locked {
            self.farewell = farewell
            monitor.changed()
        }
    }

    /// What a server means that cannot go on sending.
    private func explained(_ error: any Error) -> any Error {
        guard var failure = error as? PostgresError else { return error }
        let place = monitor.locked { received }
        switch failure.sqlState {
        case "58P01":
            failure.cause = "the server no longer has the file of its log that comes after \(place)"
            failure.hint = "run the job again: it says what is gone, and goes on after it"
        case "XX001", "XX002", "58030":
            failure.cause = "the server cannot read its own log after \(place)"
            failure.hint = "see its disk and its own messages, and take a base backup; what came before is stored"
        default: break
        }
        return failure
    }

    private func followAll() throws {
        for (index, leg) in legs.enumerated() {
            if let history = histories[leg.timeline] {
                try waitUntilWanted()
                try offer(WALPiece(file: .history(timeline: leg.timeline), end: nil, source: MemorySource(history)))
            }
            var message = first
            if index > 0 {
                try endLeg()
                try Self.start(leg, on: connection, slot: slot)
                monitor.locked { isCopying = true }
                message = try Self.firstMessage(on: connection)
            }
            try follow(leg, beginningWith: message)
        }
    }

    private func follow(_ leg: LogLeg, beginningWith first: [UInt8]) throws {
        var pending: PendingSegment?
        var position = leg.begin
        try first.withUnsafeBytes { position = try take($0, at: position, of: leg, into: &pending) }
        while position < leg.end {
            let reached = try connection.message(within: Self.patience, to: Self.purpose) { bytes in
                try take(bytes, at: position, of: leg, into: &pending)
            }
            guard let reached else { throw try Self.endedEarly(connection) }
            position = reached
        }
    }

    /// Takes one message up and returns how far the log has come.
    private func take(
        _ bytes: UnsafeRawBufferPointer, at position: LSN, of leg: LogLeg, into pending: inout PendingSegment?
    ) throws -> LSN {
        switch LogMessage(bytes) {
        case nil: throw PostgresError.protocolViolation(Self.purpose, on: connection.label)
        case .keepalive(let wantsReply):
            if wantsReply { try sendStatus() }
            return position
        case .data(let begin, let data):
            guard begin == position else { throw PostgresError.protocolViolation(Self.purpose, on: connection.label) }
            meter.add(data.count)
            return try split(data, at: position, of: leg, into: &pending)
        }
    }

    /// Deals data out to segments. What comes after the leg's end belongs to another day.
    private func split(
        _ data: UnsafeRawBufferPointer, at begin: LSN, of leg: LogLeg, into pending: inout PendingSegment?
    ) throws -> LSN {
        var rest = data
        var position = begin
        while !rest.isEmpty, position < leg.end {
            if pending == nil {
                try waitUntilWanted()
                pending = PendingSegment(
                    segment: WALSegment(timeline: leg.timeline, holding: position, size: server.segmentSize))
            }
            guard var segment = pending else { break }
            let stop = min(segment.segment.end, leg.end)
            let part = UnsafeRawBufferPointer(rebasing: rest.prefix(Int(stop.value - position.value)))
            segment.append(part)
            rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(part.count))
            position = LSN(position.value + UInt64(part.count))
            if position == stop {
                pending = nil
                try offer(
                    WALPiece(
                        file: .segment(segment.segment), end: position, source: HeldSource(segment.chunks)))
            } else {
                pending = segment
            }
        }
        monitor.locked { received = max(received, position) }
        return position
    }

    private func waitUntilWanted() throws {
        try monitor.locked {
            while wanted == 0 && !isCancelled { monitor.wait() }
            if isCancelled { throw CancellationError() }
        }
    }

    private func offer(_ piece: WALPiece) throws {
        try monitor.locked {
            while ready != nil && !isCancelled { monitor.wait() }
            if isCancelled { throw CancellationError() }
            wanted -= 1
            ready = piece
            monitor.changed()
        }
    }

    /// Ends a copy from our side, with the last word on what is safe, and takes what the server still sends.
    private func endLeg() throws {
        try sendStatus()
        monitor.locked { isCopying = false }
        try connection.endCopy(to: Self.purpose)
        while try connection.message(within: Self.patience, to: Self.purpose, { _ in true }) != nil {}
        while try connection.nextAnswer(within: Self.patience, to: Self.purpose) != nil {}
    }
}

/// A segment being put together in memory.
private struct PendingSegment {
    var segment: WALSegment
    var chunks: [Chunk] = []

    mutating func append(_ bytes: UnsafeRawBufferPointer) {
        var rest = bytes
        while !rest.isEmpty {
            let chunk: Chunk
            if let last = chunks.last, last.remaining > 0 {
                chunk = last
            } else {
                chunk = Chunk(capacity: Int(min(UInt64(Chunk.size), segment.size)))
                chunks.append(chunk)
            }
            rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(chunk.append(rest)))
        }
    }
}
