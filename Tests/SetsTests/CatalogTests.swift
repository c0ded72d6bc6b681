import Core
import Sets
import TestSupport
import Testing

struct CatalogTests {
    @Test("Sets are chained over all tiers in the order of their commits, whatever their nominal times")
    func chain() async throws {
        try await Workbench.withKey { bench in
            let first = try await bench.makeSet(Workbench.key(.weekly, second: 50))
            let second = try await bench.makeSet(Workbench.key(.daily, second: 10))
            let third = try await bench.makeSet(Workbench.key(.safety, second: 30))
            #expect([first, second, third].map(\.manifest.sequence) == [1, 2, 3])
            #expect(first.manifest.previous == nil)
            #expect(second.manifest.previous == first.link)
            #expect(third.manifest.previous == second.link)
            #expect(
                try await bench.catalog.head(in: bench.catalog.listing()).stored?.manifest.key == third.manifest.key)
        }
    }

    @Test("An attempt that was left behind does not shift the chain, and is no set")
    func orphan() async throws {
        try await Workbench.withKey { bench in
            try await bench.makeSet(Workbench.key(second: 1))
            let stray = SetLayout.attempt(
                sequence: 9, requestDigest: [UInt8](repeating: 1, count: 32), random: [UInt8](repeating: 2, count: 8))
            try await bench.store.put("\(Workbench.key(second: 2))/\(stray)/database.sql.zst.encrypted", [1])
            try await bench.store.put("\(Workbench.key(second: 1))/\(stray)/database.sql.zst.encrypted", [1])
            let listing = try await bench.catalog.listing()
            #expect(listing.entries.filter(\.isCommitted).map(\.key) == [Workbench.key(second: 1)])
            #expect(try await bench.catalog.head(in: listing).stored?.manifest.sequence == 1)
            #expect(try await bench.makeSet(Workbench.key(second: 3)).manifest.sequence == 2)
        }
    }

    @Test("A damaged newest manifest stops no backup: the chain goes on behind it, and 'latest' names it")
    func damagedHead() async throws {
        let store = MemoryStore()
        try await Workbench.withKey(store: store) { bench in
            let first = try await bench.makeSet(Workbench.key(second: 1))
            try await bench.makeSet(Workbench.key(second: 2))
            store.damage("\(Workbench.key(second: 2))/manifest.json") { $0[5] ^= 1 }
            let third = try await bench.makeSet(Workbench.key(second: 3))
            #expect(third.manifest.sequence == 3)
            #expect(third.manifest.previous == first.link)
            store.damage("\(Workbench.key(second: 3))/manifest.json") { $0[5] ^= 1 }
            let error = await #expect(throws: SetError.self) {
                try await bench.catalog.resolve(
                    .latest(nil), for: .random("r"), action: "verify", random: bench.random)
            }
            #expect(error?.object == "\(Workbench.key(second: 3))/manifest.json")
        }
    }

    @Test("Orphans go once nothing has come to them for two days, and committed sets never")
    func sweep() async throws {
        let clock = ManualClock()
        try await Workbench.withKey(store: MemoryStore(clock: clock)) { bench in
            try await bench.makeSet(Workbench.key(second: 1))
            try await bench.store.put("\(Workbench.key(second: 2))/x/database.sql.zst.encrypted", [1])
            let catalog = bench.catalog
            clock.advance(seconds: 47 * 3600)
            #expect(try await catalog.sweepOrphans(in: catalog.listing(), now: clock.now()) == 0)
            clock.advance(seconds: 2 * 3600)
            #expect(try await catalog.sweepOrphans(in: catalog.listing(), now: clock.now()) == 1)
            #expect(try await catalog.listing().entries.map(\.key) == [Workbench.key(second: 1)])
            try await bench.readThrough(Workbench.key(second: 1))
        }
    }

    @Test("Foreign objects are named and change nothing")
    func foreign() async throws {
        try await Workbench.withKey { bench in
            try await bench.makeSet()
            try await bench.store.put("daily/notes.txt", [1])
            try await bench.store.put("daily/backup-yesterday/manifest.json", [1])
            let listing = try await bench.catalog.listing()
            #expect(listing.entries.count == 1)
            #expect(listing.foreign == ["daily/backup-yesterday/manifest.json", "daily/notes.txt"])
        }
    }

    @Test("The same request finds the set it made, another does not")
    func replay() async throws {
        try await Workbench.withKey { bench in
            try await bench.makeSet(requestID: .run("uid-1"))
            let listing = try await bench.catalog.listing()
            let found = try await bench.catalog.finished(.run("uid-1"), tier: .daily, in: listing)
            #expect(found?.manifest.key == Workbench.key())
            #expect(try await bench.catalog.finished(.run("uid-2"), tier: .daily, in: listing) == nil)
            #expect(try await bench.catalog.finished(.run("uid-1"), tier: .weekly, in: listing) == nil)
            #expect(try await bench.catalog.finished(.random("0123"), tier: .daily, in: listing) == nil)
        }
    }
}

struct SelectionTests {
    private func resolve(
        _ bench: Workbench, _ selector: KeySelector, _ requestID: RequestID = .random("r")
    ) async throws -> BackupKey {
        try await bench.catalog.resolve(selector, for: requestID, action: "verify", random: bench.random)
    }

    @Test("Symbolic keys mean the newest of what they name, and never a safety set")
    func symbolic() async throws {
        try await Workbench.withKey { bench in
            await #expect(throws: SetError.self) { try await resolve(bench, .latest(nil)) }
            try await bench.makeSet(Workbench.key(.daily, second: 1))
            try await bench.makeSet(Workbench.key(.weekly, second: 2))
            try await bench.makeSet(Workbench.key(.safety, second: 3))
            #expect(try await resolve(bench, .latest(.daily)) == Workbench.key(.daily, second: 1))
            #expect(try await resolve(bench, .latest(nil)) == Workbench.key(.weekly, second: 2))
            #expect(try await resolve(bench, .day(.daily, "2025-01-15")) == Workbench.key(.daily, second: 1))
            await #expect(throws: SetError.self) { try await resolve(bench, .day(.daily, "2025-01-14")) }
            for _ in 0..<20 { #expect(try await resolve(bench, .random).tier != .safety) }
        }
    }

    @Test("A replayed request keeps the set that 'latest' meant at first; a new request sees the new one")
    func onceForARequest() async throws {
        try await Workbench.withKey { bench in
            try await bench.makeSet(Workbench.key(second: 1))
            #expect(try await resolve(bench, .latest(nil), .run("uid-1")) == Workbench.key(second: 1))
            try await bench.makeSet(Workbench.key(second: 2))
            #expect(try await resolve(bench, .latest(nil), .run("uid-1")) == Workbench.key(second: 1))
            #expect(try await resolve(bench, .latest(nil), .run("uid-2")) == Workbench.key(second: 2))
        }
    }

    @Test("'random' takes an unverified set before a verified one")
    func longestUnverified() async throws {
        try await Workbench.withKey { bench in
            let proven = try await bench.makeSet(Workbench.key(second: 1))
            try await bench.makeSet(Workbench.key(second: 2))
            let reader = try await SetReader.open(proven, in: bench.store, configuration: bench.reader)
            try await reader.add(
                Proof(
                    depth: .integrity, verdict: .proven, time: bench.clock.now(), requestID: "r",
                    contentsCompared: false))
            for _ in 0..<20 { #expect(try await resolve(bench, .random) == Workbench.key(second: 2)) }
        }
    }
}

struct ProofTests {
    private let proof = Proof(
        depth: .integrity, verdict: .proven, time: Timestamp(milliseconds: 1_736_924_400_000), requestID: "r",
        contentsCompared: true)

    @Test("Proofs are kept in order, and a changed, foreign or misplaced one is refused by name")
    func records() async throws {
        let store = MemoryStore()
        try await Workbench.withKey(store: store) { bench in
            let stored = try await bench.makeSet(Workbench.key(second: 1))
            let other = try await bench.makeSet(Workbench.key(second: 2))
            let reader = try await SetReader.open(stored, in: store, configuration: bench.reader)
            try await reader.add(proof)
            try await reader.add(
                Proof(
                    depth: .restore, verdict: .failed, time: proof.time, requestID: "s", contentsCompared: true))
            let paths = try await bench.objects().filter { $0.contains("/records/") }
            #expect(paths.count == 2)
            #expect(try await reader.proofs(paths).map(\.verdict) == [.proven, .failed])

            let elsewhere = try await SetReader.open(other, in: store, configuration: bench.reader)
            await #expect(throws: SetError.self) { try await elsewhere.proofs(paths) }

            let bytes = try #require(store.bytes(paths[0]))
            for index in bytes.indices {
                store.damage(paths[0]) { $0[index] ^= 1 }
                await #expect(throws: SetError.self) { try await reader.proofs(paths) }
                store.damage(paths[0]) { $0[index] ^= 1 }
            }
            #expect(try await reader.proofs(paths).count == 2)
            store.damage(paths[0]) { $0 += [UInt8](repeating: 0x20, count: 1 << 16) }
            await #expect(throws: SetError.self) { try await reader.proofs(paths) }
        }
    }
}
