import Core
import Logging
import Sets

/// What came of copying sets to the second store.
struct Copying: Sendable {
    var count = CopyCount()
    /// By set, where it was about one.
    private(set) var failures: [(key: BackupKey?, error: any Error)] = []
    var notes: [String] = []

    mutating func add(_ error: any Error, of key: BackupKey?) {
        count.failed += 1
        failures.append((key, error))
    }

    /// The end of a backup whose set, or an earlier one, is not in the second store; `nil` where all are that can be.
    var failure: JobFailure? {
        guard let first = failures.first else { return nil }
        let named = failures.prefix(5).map { "\($0.key.map { "\($0): " } ?? "")\($0.error)" }
        let others = failures.count > 5 ? ["and \(failures.count - 5) more"] : []
        let hint = (first.error as? any Failure).map { "; \($0.hint)" } ?? ""
        return JobFailure(
            .notReplicated, "copy to the second store", object: first.key?.description ?? "",
            cause: (named + others).joined(separator: "; "),
            hint: "the set is kept in the first store, and the next backup makes up what is missing\(hint)")
    }
}

extension Workplace {
    /// Copies `own` to the second store, then, oldest first, every set that is not there and still to be kept. Ended by
    /// cancellation it goes on in the next run.
    func makeUpCopies(beginningWith own: StoredManifest, for requestID: RequestID) async -> Copying {
        await copying(for: requestID) { round in
            let result = try await round.copy(own)
            try await round.makeUp(besides: own.manifest.key, copies: result != .stop)
        }
    }

    /// Copies the one set, for a run that is about something else.
    func makeCopy(of key: BackupKey, for requestID: RequestID) async -> Copying {
        await copying(for: requestID) { round in
            _ = try await round.copy(try await catalog.manifest(key))
        }
    }

    private func copying(
        for requestID: RequestID, _ body: @escaping @Sendable (CopyRound) async throws -> Void
    ) async -> Copying {
        let copying = Guarded(Copying())
        guard let secondary else { return copying.value }
        await step("copy")
        let meter = ProgressMeter(stage: "copy")
        do {
            try await watching(meter) {
                try await body(
                    CopyRound(
                        workplace: self, second: secondary, requestID: requestID, copying: copying, meter: meter))
            }
        } catch {
            // An end from outside is the caller's to tell; the set is simply still missing.
            if !(error is CancellationError) { copying.withLock { $0.add(error, of: nil) } }
        }
        return copying.value
    }
}

/// One run's copying.
private struct CopyRound: Sendable {
    let workplace: Workplace
    let second: any Store
    let requestID: RequestID
    let copying: Guarded<Copying>
    let meter: ProgressMeter

    private var replication: Replication {
        Replication(from: workplace.store, to: second, bodies: workplace.writer.bodies)
    }

    enum Result {
        case done
        /// Something is wrong with this set; the next may fare better.
        case failed
        /// A store failed: no use in trying further sets.
        case stop
    }

    /// Copies `stored` and counts it.
    func copy(_ stored: StoredManifest) async throws -> Result {
        let key = stored.manifest.key
        meter.begin("copy", expected: stored.manifest.storedSize)
        do {
            let isNew = try await replication.copy(stored, now: workplace.clock.now(), meter: meter)
            guard isNew else { return .done }
            copying.withLock { $0.count.made += 1 }
            workplace.logger.info("copied to the second store", metadata: ["set": "\(key)"])
        } catch let error as CancellationError {
            throw error
        } catch {
            if Task.isCancelled { throw CancellationError() }
            return note(error, of: key)
        }
        do {
            try await replication.record(stored, now: workplace.clock.now(), requestID: requestID)
        } catch let error as CancellationError {
            throw error
        } catch {
            // The copy is there, whatever the record says.
            copying.withLock { $0.notes.append("the copy of \(key) was not recorded beside it: \(error)") }
        }
        return .done
    }

    /// Copies what earlier runs did not, unless `copies` is false, and counts what is missing after that.
    func makeUp(besides own: BackupKey, copies: Bool) async throws {
        let there: Catalog.Listing
        do {
            there = try await Catalog(second).listing()
        } catch let error where !copies && !(error is CancellationError) {
            // The store has failed and been named already.
            return
        }
        let here = try await workplace.catalog.listing()
        let missing = here.committed(notIn: there)
        copying.withLock { $0.count.missing = missing.count }
        guard copies else { return }
        // Oldest first: listings begin with the newest.
        for key in missing.reversed() where key != own {
            switch try await makeUp(key) {
            case .done: copying.withLock { $0.count.missing? -= 1 }
            case .failed: break
            case .stop: return noteStop()
            }
        }
        for key in here.rewrapped(beyond: there).reversed() {
            if try await makeUpRewraps(of: key) == .stop { return noteStop() }
        }
    }

    private func noteStop() {
        copying.withLock { $0.notes.append("further sets were not tried: a store failed") }
    }

    /// A copy that lacks what a rewrapping put beside the set would open for its old recipients only.
    private func makeUpRewraps(of key: BackupKey) async throws -> Result {
        do {
            let stored = try await workplace.catalog.manifest(key, of: workplace.target)
            guard try await replication.copyRewraps(of: stored, now: workplace.clock.now()) > 0 else { return .done }
            workplace.logger.info("gave the second store's copy its new recipients", metadata: ["set": "\(key)"])
            return .done
        } catch let error as CancellationError {
            throw error
        } catch {
            if Task.isCancelled { throw CancellationError() }
            return note(error, of: key)
        }
    }

    private func makeUp(_ key: BackupKey) async throws -> Result {
        let stored: StoredManifest
        do {
            stored = try await workplace.catalog.manifest(key, of: workplace.target)
        } catch let error as CancellationError {
            throw error
        } catch {
            return note(error, of: key)
        }
        // A set past its end may go any day: no use in keeping it twice, and it is not missed.
        if let end = stored.manifest.retention.retainUntil, end <= workplace.clock.now() { return .done }
        return try await copy(stored)
    }

    /// Takes down why a set was not copied.
    private func note(_ error: any Error, of key: BackupKey) -> Result {
        let code = (error as? any Failure)?.exitCode
        copying.withLock { copying in
            if code == .thawRequested {
                // It went into the archive before there was a second store: nobody would thaw it for this.
                copying.notes.append("\(key) is not in the second store: \(error)")
            } else {
                copying.add(error, of: key)
            }
        }
        return code == .verificationFailed || code == .thawRequested ? .failed : .stop
    }
}
