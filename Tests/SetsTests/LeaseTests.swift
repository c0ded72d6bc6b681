import Core
import Sets
import TestSupport
import Testing

/// Locks under a clock that the tests move: nothing here sleeps.
@Suite struct LeaseTests {
    let clock = ManualClock()
    let store: MemoryStore

    init() { store = MemoryStore(clock: clock) }

    /// A run that lives: its lease is renewed as the clock goes.
    private func living(_ holder: String, seconds: Int = 60) -> LeaseConfiguration {
        LeaseConfiguration(
            holder: holder, seconds: seconds, clock: clock, elapsed: { [clock] in clock.elapsed() },
            sleep: { [clock] in try await clock.sleep($0) }, random: randomBytes)
    }

    /// A run that has stopped: its own clock stands still, and nothing is renewed.
    private func dead(_ holder: String) -> LeaseConfiguration {
        let stopped = ManualClock()
        return LeaseConfiguration(
            holder: holder, clock: clock, elapsed: { stopped.elapsed() }, sleep: { try await stopped.sleep($0) },
            random: randomBytes)
    }

    private func acquire(_ configuration: LeaseConfiguration, in other: (any Store)? = nil) async throws -> Lease {
        try await Lease.acquire(in: other ?? store, configuration: configuration, requestID: "request-1")
    }

    @Test("a lock is taken, given back, and taken again under the next number")
    func numbersGrow() async throws {
        // Looks at the store's keys after each step: the last generation stays, those before it go, no probe remains.
        for number in 1...3 {
            let lease = try await acquire(living("host-a pid 1 backup"))
            #expect(lease.generation == Int64(number))
            #expect(store.keys == ["locks/000000000\(number)"])
            try await lease.check()
            try await lease.release()
            #expect(store.keys == ["locks/000000000\(number)"])
        }
        let json = try JSON(parsing: try #require(store.bytes("locks/0000000003")))
        var fields = try JSONFields(json, path: "")
        #expect(try fields.string("state") == "released")
        #expect(try fields.string("holder") == "host-a pid 1 backup")
        #expect(try fields.string("requestId") == "request-1")
        #expect(try fields.integer("leaseSeconds") == 60)
        #expect(try fields.timestamp("acquired") == clock.now())
    }

    @Test("a second run is refused with exit code 75 and told who holds the lock")
    func held() async throws {
        let lease = try await acquire(living("host-a pid 7 backup"))
        let error = await #expect(throws: LeaseError.self) { try await acquire(living("host-b pid 1 backup")) }
        let failure = try #require(error)
        #expect(failure.exitCode == .locked)
        #expect(failure.description.contains("host-a pid 7 backup"))
        #expect(failure.description.contains("request-1"))
        guard case .held(let holder) = failure else { throw failure }
        #expect(holder.since == clock.now())
        #expect(holder.expires == clock.now().adding(seconds: 60))
        try await lease.release()
        try await acquire(living("host-b pid 1 backup")).release()
    }

    @Test("a lease is renewed every third of its time, and so outlasts it")
    func renewal() async throws {
        let lease = try await acquire(living("a"))
        for _ in 0..<10 {
            await clock.waitForSleepers(2)
            clock.advance(seconds: 20)
            await clock.waitForSleepers(2)
            #expect(try await store.stat("locks/0000000001")?.modified == clock.now())
            try await lease.check()
        }
        await #expect(throws: LeaseError.self) { try await acquire(living("b")) }
        try await lease.release()
    }

    @Test("a lock whose holder has died is taken over when it runs out by the store's clock, not before")
    func takeover() async throws {
        let lost = try await acquire(dead("a"))
        clock.advance(seconds: 59.9)
        await #expect(throws: LeaseError.self) { try await acquire(living("b")) }
        clock.advance(seconds: 0.1)
        let lease = try await acquire(living("b"))
        #expect(lease.generation == 2)
        // The first holder wakes up, knows nothing of the time that passed, and still may not commit.
        let error = await #expect(throws: LeaseError.self) { try await lost.check() }
        #expect(error == .lost(generation: 1, .takenOver(by: "b")))
        #expect(error?.exitCode == .locked)
        // Nor does its release touch the lock of the other.
        try await lost.release()
        try await lease.check()
        try await lease.release()
    }

    @Test("clocks of machines that are hours off do not matter")
    func skew() async throws {
        let early = ManualClock(clock.now().adding(seconds: -7200))
        var configuration = living("b")
        configuration.clock = early
        let lease = try await acquire(living("a"))
        await #expect(throws: LeaseError.self) { try await acquire(configuration) }
        configuration.clock = ManualClock(clock.now().adding(seconds: 7200))
        await #expect(throws: LeaseError.self) { try await acquire(configuration) }
        try await lease.release()
    }

    @Test("of eight racers for a lock that has run out exactly one wins, ten times")
    func race() async throws {
        for _ in 0..<10 {
            _ = try await acquire(dead("a"))
            clock.advance(seconds: 61)
            let winners = try await withThrowingTaskGroup(of: Lease?.self) { group in
                for racer in 0..<8 {
                    group.addTask {
                        do {
                            return try await acquire(dead("racer \(racer)"))
                        } catch LeaseError.held { return nil }
                    }
                }
                return try await group.reduce(into: [Lease]()) { if let lease = $1 { $0.append(lease) } }
            }
            #expect(winners.count == 1)
            try await #require(winners.first).check()
            try await #require(winners.first).release()
        }
    }

    @Test("a racer that was slow to create a number which has come and gone gives it up")
    func slowRacer() async throws {
        // While B stands before its create-only put, C takes the same number, releases it, takes the next one and
        // clears the number away: B's put then succeeds, and must not count.
        _ = try await acquire(dead("a"))
        clock.advance(seconds: 61)
        let faulty = FaultyStore(store)
        let current = Guarded<Lease?>(nil)
        faulty.fail(
            .put, keyContaining: "locks/0000000002",
            with: .interleave { [self] in
                try await acquire(living("c")).release()
                let lease = try await acquire(living("c"))
                current.withLock { $0 = lease }
            })
        let error = await #expect(throws: LeaseError.self) { try await acquire(dead("b"), in: faulty) }
        guard case .held(let holder) = try #require(error) else { throw try #require(error) }
        #expect(holder.name == "c")
        #expect(store.keys == ["locks/0000000003"])
        try await #require(current.value).check()
        try await #require(current.value).release()
    }

    @Test("a create that the network sends twice meets itself, and knows itself by its nonce")
    func sentTwice() async throws {
        let lease = try await acquire(living("a"), in: SentTwice(inner: store))
        try await lease.check()
        try await lease.release()
    }

    @Test("a create whose reply was lost holds others up no longer than a lease")
    func lostReply() async throws {
        let faulty = FaultyStore(store)
        faulty.fail(.put, keyContaining: "locks/0000000001", with: .loseReply)
        await #expect(throws: InjectedFault.self) { try await acquire(living("a"), in: faulty) }
        // That run is over; its lock holds others up no longer than a lease.
        await #expect(throws: LeaseError.self) { try await acquire(living("b")) }
        clock.advance(seconds: 60)
        try await acquire(living("b")).release()
    }

    @Test("where the store fails the lease is lost before it runs out, and the job is told")
    func storeDown() async throws {
        let faulty = FaultyStore(store)
        let lease = try await acquire(living("a"), in: faulty)
        let told = AsyncStream<LeaseError>.makeStream()
        lease.whenLost {
            told.continuation.yield($0)
            told.continuation.finish()
        }
        faulty.fail(nil, times: 1_000)
        await clock.waitForSleepers(2)
        clock.advance(seconds: 20)
        // The renewal has failed and waits for its next try; the deadline stands at 55 seconds.
        await clock.waitForSleepers(2)
        await #expect(throws: InjectedFault.self) { try await lease.check() }
        clock.advance(seconds: 35)
        var losses: [LeaseError] = []
        for await loss in told.stream { losses.append(loss) }
        #expect(losses == [.lost(generation: 1, .notRenewed)])
        #expect(losses.first?.exitCode == .store)
        faulty.heal()
        await #expect(throws: LeaseError.lost(generation: 1, .notRenewed)) { try await lease.check() }
        try await lease.release()
    }

    @Test("a store that fails for a while costs nothing")
    func storeBack() async throws {
        let faulty = FaultyStore(store)
        let lease = try await acquire(living("a"), in: faulty)
        faulty.fail(nil, times: 2)
        await clock.waitForSleepers(2)
        for step in [20.0, 5, 5] {
            clock.advance(seconds: step)
            await clock.waitForSleepers(2)
        }
        #expect(try await store.stat("locks/0000000001")?.modified == clock.now())
        try await lease.check()
        try await lease.release()
    }

    @Test("a holder that stood still does not trust its lease, even where nobody has taken it over")
    func stoodStill() async throws {
        let stopped = ManualClock()
        var configuration = living("a")
        configuration.sleep = { try await stopped.sleep($0) }
        let lease = try await acquire(configuration)
        clock.advance(seconds: 59)
        try await lease.check()
        clock.advance(seconds: 1)
        await #expect(throws: LeaseError.lost(generation: 1, .notRenewed)) { try await lease.check() }
        try await lease.release()
    }

    @Test("a lock that somebody removed is lost")
    func removed() async throws {
        let lease = try await acquire(living("a"))
        try await store.delete("locks/0000000001")
        await #expect(throws: LeaseError.lost(generation: 1, .removed)) { try await lease.check() }
        try await lease.release()
        #expect(store.keys.isEmpty)
    }

    @Test("a guarded job is cancelled when the lease is lost, and the loss is what it ends with")
    func guarding() async throws {
        let lease = try await acquire(living("a"))
        await clock.waitForSleepers(2)
        let job = Task {
            try await lease.guarding { [clock] in try await clock.sleep(1_000_000) }
        }
        await clock.waitForSleepers(3)
        try await store.put("locks/0000000002", Array("{}".utf8))
        clock.advance(seconds: 20)
        await #expect(throws: LeaseError.lost(generation: 1, .takenOver(by: nil))) { try await job.value }
        try await lease.release()
        // And one that ends by itself ends with what it ended with.
        let other = try await acquire(living("b"), in: MemoryStore(clock: clock))
        #expect(try await other.guarding { 42 } == 42)
        await #expect(throws: ObjectNotFound.self) { try await other.guarding { throw ObjectNotFound(key: "x") } }
        try await other.release()
    }

    @Test("a run that waits says for whom, once, and goes on as soon as it can")
    func waiting() async throws {
        _ = try await acquire(dead("host-a pid 7 backup"))
        let heard = Guarded<[String]>([])
        let waiter = Task {
            try await Lease.acquire(
                in: store, configuration: living("b"), requestID: "r", waiting: 300
            ) { holder in heard.withLock { $0.append(holder.name) } }
        }
        for _ in 0..<12 {
            await clock.waitForSleepers(1)
            clock.advance(seconds: 5)
        }
        let lease = try await waiter.value
        #expect(lease.generation == 2)
        #expect(heard.value == ["host-a pid 7 backup"])
        try await lease.release()
    }

    @Test("waiting ends after the time it was given")
    func waitingEnds() async throws {
        let lease = try await acquire(living("a"))
        await clock.waitForSleepers(2)
        let waiter = Task {
            try await Lease.acquire(in: store, configuration: living("b"), requestID: "r", waiting: 12)
        }
        for step in [5.0, 5, 2] {
            await clock.waitForSleepers(3)
            clock.advance(seconds: step)
        }
        await #expect(throws: LeaseError.self) { try await waiter.value }
        try await lease.release()
    }

    @Test("a release works in a task that has been cancelled, for that is how jobs end")
    func releaseWhenCancelled() async throws {
        let lease = try await acquire(living("a"))
        let begun = AsyncStream<Void>.makeStream()
        let task = Task {
            for await _ in begun.stream {}
            try await lease.release()
        }
        task.cancel()
        begun.continuation.finish()
        try await task.value
        try await acquire(living("b")).release()
    }

    @Test("killed after any call to the store, the lock is free again a lease later", arguments: 0..<16)
    func killed(afterCalls calls: Int) async throws {
        // The second acquisition also has the take-over and the clearing of the first to do.
        _ = try await acquire(dead("before"))
        clock.advance(seconds: 61)
        let faulty = FaultyStore(store)
        faulty.die(afterCalls: calls)
        do {
            let lease = try await acquire(dead("killed"), in: faulty)
            try await lease.check()
            try await lease.release()
        } catch is InjectedFault {}
        clock.advance(seconds: 61)
        let lease = try await acquire(living("after"))
        try await lease.check()
        try await lease.release()
        #expect(store.keys.filter { $0.hasPrefix("locks/0") } == ["locks/000000000\(lease.generation)"])
    }

    @Test("what stands under locks/ and is no lock neither breaks nor blocks anything")
    func foreign() async throws {
        for key in ["locks/README", "locks/1", "locks/00000000x1", "locks/00000000001"] {
            try await store.put(key, [1])
        }
        let lease = try await acquire(living("a"))
        #expect(lease.generation == 1)
        try await lease.release()
        // A lock that cannot be read is somebody's, for as long as a lease lasts.
        store.damage("locks/0000000001") { $0 = Array("garbage".utf8) }
        await #expect(throws: LeaseError.self) { try await acquire(living("b")) }
        clock.advance(seconds: 60)
        try await acquire(living("b")).release()
    }

    @Test("probes that a killed run left are removed when they are old")
    func probes() async throws {
        try await store.put("locks/probe-0123456789abcdef", [1])
        try await acquire(living("a")).release()
        #expect(store.keys.count == 2)
        clock.advance(seconds: 601)
        try await acquire(living("a")).release()
        #expect(store.keys == ["locks/0000000002"])
    }
}

private let randomBytes: RandomBytes = { count in (0..<count).map { _ in UInt8.random(in: 0...255) } }

/// A store whose every create-only put is carried out and then reported as a conflict.
private struct SentTwice: Store {
    let inner: any Store
    var capabilities: StoreCapabilities { inner.capabilities }

    func put(_ key: String, from source: any ByteSource, options: PutOptions) async throws -> Int64 {
        let size = try await inner.put(key, from: source, options: options)
        if options.createOnly { throw StoreConflict(key: key) }
        return size
    }

    func get(_ key: String, range: Range<Int64>?) async throws -> any ByteSource {
        try await inner.get(key, range: range)
    }
    func stat(_ key: String) async throws -> ObjectInfo? { try await inner.stat(key) }
    func list(_ prefix: String) -> AsyncThrowingStream<ObjectInfo, any Error> { inner.list(prefix) }
    func amend(_ key: String, _ amendment: Amendment) async throws { try await inner.amend(key, amendment) }
    func delete(_ key: String, allVersions: Bool) async throws {
        try await inner.delete(key, allVersions: allVersions)
    }
}
