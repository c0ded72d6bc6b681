package import Core

/// The lock of one target, held for as long as it is renewed: `docs/locks.md`.
///
/// Generations are objects `locks/<n>` that are created create-only, so of any number of racers one wins. A lock
/// whose holder has stopped renewing is taken over by creating the next generation; a holder that meets one has lost.
/// ``check()`` stands before every commit.
package final class Lease: Sendable {
    private struct State {
        /// When the last renewal that succeeded was begun, by the machine's own clock: the store stamps it later, so
        /// counting from here ends too early rather than too late.
        var renewed: Double
        var loss: LeaseError?
        var watchers: [@Sendable (LeaseError) -> Void] = []
        var renewal: Task<Void, Never>?
    }

    /// Grows with every acquisition of the target's lock.
    package let generation: Int64
    private let objects: LockObjects
    private let configuration: LeaseConfiguration
    private let record: LockRecord
    private let state: Guarded<State>

    private init(
        generation: Int64, objects: LockObjects, configuration: LeaseConfiguration, record: LockRecord, since: Double
    ) {
        self.generation = generation
        self.objects = objects
        self.configuration = configuration
        self.record = record
        state = Guarded(State(renewed: since))
    }

    /// Tells `tell` when the lease is lost; at once where it already is. From any thread.
    package func whenLost(_ tell: @escaping @Sendable (LeaseError) -> Void) {
        let loss = state.withLock { state in
            if state.loss == nil { state.watchers.append(tell) }
            return state.loss
        }
        if let loss { tell(loss) }
    }

    /// Throws ``LeaseError/lost(generation:_:)`` where a higher generation exists, or where the lease was not renewed
    /// within its time by this machine's clock. To be called before a commit.
    package func check() async throws {
        if let loss = state.withLock({ $0.loss }) { throw loss }
        try await checkStanding()
        // After the store has answered, however long that took.
        if configuration.elapsed() - state.withLock({ $0.renewed }) >= Double(configuration.seconds) {
            throw lose(.notRenewed)
        }
    }

    /// Stops renewing and marks the lock as free. The generation stays, so that numbers only grow. Also works in a
    /// cancelled task, for that is how jobs end. Throws what the store throws; the lock then runs out by itself.
    package func release() async throws {
        let renewal = state.withLock { state in
            let renewal = state.renewal
            state.renewal = nil
            return renewal
        }
        renewal?.cancel()
        // A renewal under way would otherwise be written over the release.
        await renewal?.value
        let wasLost = state.withLock { state in
            defer { if state.loss == nil { state.loss = .lost(generation: generation, .released) } }
            return state.loss != nil
        }
        if wasLost { return }
        var record = record
        record.state = .released
        // A task of its own is not cancelled when this one is.
        try await Task { [objects, generation, record] in
            guard try await objects.highest() == generation else { return }
            try await objects.store.put(lockKey(generation), record.bytes)
        }.value
    }

    /// Runs `body`, cancels it when the lease is lost, and then throws the loss in place of the `CancellationError`.
    /// Does not release.
    package func guarding<Value: Sendable>(
        _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        let work = Task { try await body() }
        whenLost { _ in work.cancel() }
        let result = await withTaskCancellationHandler {
            await work.result
        } onCancel: {
            work.cancel()
        }
        if case .failure(let error) = result, error is CancellationError, let loss = state.withLock({ $0.loss }) {
            throw loss
        }
        return try result.get()
    }

    private func checkStanding() async throws {
        let highest = try await objects.highest()
        guard let highest, highest >= generation else { throw lose(.removed) }
        if highest > generation { throw lose(.takenOver(by: await objects.holderName(highest))) }
    }

    private func lose(_ loss: LeaseLoss) -> LeaseError {
        let error = LeaseError.lost(generation: generation, loss)
        let (first, watchers) = state.withLock { state in
            let watchers = state.watchers
            state.watchers = []
            if state.loss == nil { state.loss = error }
            return (state.loss ?? error, watchers)
        }
        for tell in watchers { tell(first) }
        return first
    }
}

// MARK: Renewing

extension Lease {
    /// Before the lease runs out by so many seconds, a holder that could not renew it stops: what it was about to
    /// send may take that long to arrive.
    private var margin: Double { Double(configuration.seconds) / 12 }
    private var deadline: Double {
        state.withLock { $0.renewed } + Double(configuration.seconds) - margin
    }

    private func startRenewing() {
        let task = Task {
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await self.renewUntilLost() }
                group.addTask { await self.watchDeadline() }
                // Whichever ends first ends the other: both have ended for good reason.
                await group.next()
                group.cancelAll()
            }
        }
        state.withLock { $0.renewal = task }
    }

    private func renewUntilLost() async {
        var pause = Double(configuration.seconds) / 3
        while true {
            do {
                try await configuration.sleep(pause)
                try await renew()
                pause = Double(configuration.seconds) / 3
            } catch is CancellationError {
                return
            } catch is LeaseError {
                return
            } catch {
                // The store is in trouble. Tried again until the deadline, which the other task watches.
                pause = margin
            }
        }
    }

    private func renew() async throws {
        let begun = configuration.elapsed()
        // First the look, for a generation that has been taken over must not be made to look alive.
        try await checkStanding()
        try await objects.store.put(lockKey(generation), record.bytes)
        state.withLock { $0.renewed = begun }
    }

    /// A renewal may hang instead of failing; this one does not wait for it.
    private func watchDeadline() async {
        while true {
            let left = deadline - configuration.elapsed()
            if left <= 0 {
                _ = lose(.notRenewed)
                return
            }
            do { try await configuration.sleep(left) } catch { return }
        }
    }
}

// MARK: Acquiring

extension Lease {
    private enum Attempt {
        case won(Lease)
        case held(LeaseHolder)
        /// Something changed while it was looked at: look again.
        case raced
    }

    /// Takes the lock of the target that `store` belongs to, and renews it from then on. Waits up to `waiting`
    /// seconds for another holder, telling `onWait` at first and whenever that changes; then throws
    /// ``LeaseError/held(_:)``.
    package static func acquire(
        in store: any Store, configuration: LeaseConfiguration, requestID: String, waiting: Int = 0,
        onWait: @Sendable (LeaseHolder) -> Void = { _ in }
    ) async throws -> Lease {
        let begun = configuration.elapsed()
        var told: String?
        var races = 0
        while true {
            switch try await attempt(in: store, configuration, requestID) {
            case .won(let lease):
                lease.startRenewing()
                return lease
            case .raced:
                races += 1
                guard races < 100 else { throw tooManyRaces(in: store) }
            case .held(let holder):
                let left = Double(waiting) - (configuration.elapsed() - begun)
                guard left > 0 else { throw LeaseError.held(holder) }
                let name = "\(holder.name) \(holder.since)"
                if told != name { onWait(holder) }
                told = name
                try await configuration.sleep(min(left, max(1, Double(configuration.seconds) / 12)))
            }
        }
    }

    private static func attempt(
        in store: any Store, _ configuration: LeaseConfiguration, _ requestID: String
    ) async throws -> Attempt {
        let objects = LockObjects(store: store, random: configuration.random)
        let top = try await objects.highest()
        if let top {
            guard let standing = try await objects.standing(top) else { return .raced }
            if standing.record?.state != .released {
                let now = try await objects.storeTime()
                // Looked at again: a renewal since then counts.
                guard let standing = try await objects.standing(top) else { return .raced }
                let holder = holder(standing, configuration)
                if standing.record?.state != .released && now < holder.expires { return .held(holder) }
            }
        }
        let generation = (top ?? 0) + 1
        let record = LockRecord(
            state: .held, holder: configuration.holder, requestID: requestID,
            acquired: configuration.clock.now(), seconds: configuration.seconds,
            nonce: hexText(configuration.random(16)))
        let begun = configuration.elapsed()
        guard try await objects.create(generation, record) else { return .raced }
        // Between the look and the creation others may have taken, released and cleared away this very number.
        guard try await objects.highest() == generation else {
            try await store.delete(lockKey(generation))
            return .raced
        }
        guard let own = try await objects.standing(generation), own.record == record else { return .raced }
        try await objects.clear(before: generation, now: own.modified)
        return .won(
            Lease(
                generation: generation, objects: objects, configuration: configuration, record: record, since: begun))
    }

    /// A lock that cannot be read is held by somebody for as long as one of ours would be.
    private static func holder(_ standing: LockObjects.Standing, _ configuration: LeaseConfiguration) -> LeaseHolder {
        let seconds = standing.record?.seconds ?? configuration.seconds
        return LeaseHolder(
            name: standing.record?.holder ?? "a run of another version", requestID: standing.record?.requestID ?? "-",
            since: standing.record?.acquired ?? standing.modified,
            expires: standing.modified.adding(seconds: Int64(seconds)))
    }

    private static func tooManyRaces(in store: any Store) -> JobFailure {
        JobFailure(
            .store, "lock the target", object: "\(store.capabilities.location) \(lockPrefix)",
            cause: "what is there changed a hundred times while it was looked at",
            hint: "find out what else writes there; run again")
    }
}
