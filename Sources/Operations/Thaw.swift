import Core
import Sets

/// A set whose bytes lie in an archive, in every copy there is.
struct ThawNeeded: Failure {
    let key: BackupKey
    let segments: [ArchivedSegment]

    /// `nil` where everything can be read now.
    init?(_ archived: [ArchivedSegment], of key: BackupKey) {
        guard !archived.isEmpty else { return nil }
        self.key = key
        segments = archived
    }

    var exitCode: ExitCode { .thawRequested }
    var operation: String { "read the set" }
    var object: String { key.description }
    var cause: String { "\(what); their thaw has been asked for and takes \(estimate)" }
    var hint: String {
        "run the same event again in \(estimate), or with waitForThaw (seconds) to have the job wait; the thaw goes on "
            + "by itself"
    }

    /// For a dry run, which asks for nothing.
    var note: String {
        "\(what): without dryRun their thaw is asked for first, which takes \(estimate), and nothing of them was read now"
    }

    private var what: String {
        "\(counted(segments.count, "object lies", "objects lie")) in \(classes.map(\.rawValue).sorted().joined(separator: " and "))"
    }

    private var classes: Set<StorageClass> { Set(segments.compactMap { $0.places.first?.storageClass }) }

    /// S3's Standard retrieval.
    private var estimate: String { classes.contains(.deepArchive) ? "up to 12 hours" : "3 to 5 hours" }

    var json: JSON {
        .object([
            "objects": .integer(Int64(segments.count)), "bytes": .exact(segments.reduce(0) { $0 + $1.size }),
            "storageClasses": .array(classes.map(\.rawValue).sorted().map { .string($0) }),
            "estimate": .string(estimate),
        ])
    }
}

extension Workplace {
    /// Seconds between two looks at what is being thawed.
    private static let thawInterval = 60.0

    /// Runs `body`. Where it finds that the set has to be thawed, asks for that and, with `seconds` to wait, runs it
    /// again afterwards; without them, or when they are over, throws ``ThawNeeded``. Nothing is held meanwhile: no lock,
    /// no connection, and no watchdog counts the hours.
    func afterThaw<Value: Sendable>(
        waiting seconds: Int, _ body: () async throws -> Value
    ) async throws -> Value {
        var left = Double(seconds)
        while true {
            do {
                return try await body()
            } catch let needed as ThawNeeded {
                for segment in needed.segments { try await ask(for: segment) }
                left = try await wait(for: needed, atMost: left)
            }
        }
    }

    /// In the first place that takes it; where it is under way nothing has to be asked.
    private func ask(for segment: ArchivedSegment) async throws {
        guard segment.places.first?.isThawing == false else { return }
        var failure: (any Error)?
        for place in segment.places {
            do {
                return try await place.copy.store.amend(segment.key, .thaw(days: thawDays))
            } catch let error as CancellationError {
                throw error
            } catch {
                failure = failure ?? error
            }
        }
        if let failure { throw failure }
    }

    /// Returns the seconds that are left of `seconds`.
    private func wait(for needed: ThawNeeded, atMost seconds: Double) async throws -> Double {
        guard seconds > 0 else { throw needed }
        await step("thaw")
        let began = clock.now()
        let meter = ProgressMeter(stage: "thaw")
        meter.begin("thaw", expected: needed.segments.reduce(0) { $0 + $1.size })
        var left = seconds
        var pending = needed.segments
        while true {
            await report(.progress(meter.reading, elapsed: clock.now().seconds(since: began)))
            guard left > 0 else { throw needed }
            let pause = min(Self.thawInterval, left)
            try await sleep(pause)
            left -= pause
            var still: [ArchivedSegment] = []
            for segment in pending {
                if try await isOnline(segment) { meter.add(Int(segment.size)) } else { still.append(segment) }
            }
            if still.isEmpty { return left }
            pending = still
        }
    }

    private func isOnline(_ segment: ArchivedSegment) async throws -> Bool {
        for place in segment.places {
            if try await place.copy.store.stat(segment.key)?.availability == .online { return true }
        }
        return false
    }
}
