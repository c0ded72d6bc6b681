import Core
import Crypto
import Sets
import TestSupport
import Testing

struct SetTests {
    @Test("What goes in comes out: parts of any size, under every codec", arguments: Compression.Algorithm.allCases)
    func roundTrip(_ algorithm: Compression.Algorithm) async throws {
        try await Workbench.withKey { bench in
            var bench = bench
            bench.compression = Compression(algorithm: algorithm, level: algorithm == .none ? 0 : 1)
            let parts = [
                "empty.sql": [], "small.json": Array("{}".utf8), "frame.bin": patternBytes(1 << 20),
                "database.sql": patternBytes(5_000_000),
            ]
            let stored = try await bench.makeSet(parts: parts)
            #expect(try await bench.readThrough() == parts)
            #expect(stored.manifest.parts.map(\.name) == (parts.keys + [SetWriter.contentsPart]).sorted())
            #expect(stored.manifest.plainSize > 6_000_000)
        }
    }

    @Test("A part longer than the store's largest object goes on in segments and is joined again")
    func segments() async throws {
        let store = MemoryStore(largestObject: 5 << 20)
        try await Workbench.withKey(store: store) { bench in
            var bench = bench
            bench.compression = Compression(algorithm: .none, level: 0)
            let bytes = patternBytes(9_000_000)
            let stored = try await bench.makeSet(parts: ["database.sql": bytes])
            let segments = try #require(stored.manifest.parts.first { $0.name == "database.sql" }).segments
            #expect(segments.count > 2)
            #expect(segments.allSatisfy { $0.storedSize <= 5 << 20 })
            #expect(segments[1].path.hasSuffix("/database.sql.0002.encrypted"))
            #expect(try await bench.readThrough()["database.sql"] == bytes)
        }
    }

    @Test("A store that fails at any call, or dies there, leaves no set, or a whole one")
    func failingStore() async throws {
        for call in 1...12 {
            let faulty = FaultyStore(MemoryStore())
            try await Workbench.withKey(store: faulty) { bench in
                faulty.die(afterCalls: call)
                var isMade = true
                do { try await bench.makeSet() } catch { isMade = false }
                faulty.heal()
                let committed = try await bench.catalog.listing().entries.filter(\.isCommitted)
                #expect(!isMade || committed.count == 1)
                for entry in committed { try await bench.readThrough(entry.key) }
            }
        }
    }

    @Test("A source that fails at its very end leaves no set, and an abandoned one no object")
    func failingSource() async throws {
        try await Workbench.withKey { bench in
            let failure = JobFailure(.source, "dump", cause: "it exited 1", hint: "look")
            let set = try await SetWriter(
                key: Workbench.key(), attempt: "a", in: bench.store, configuration: bench.writer)
            let snapshot = MadeUpSnapshot(
                ["database.sql": [1, 2, 3]], time: Workbench.key().timestamp, failure: failure)
            await #expect(throws: JobFailure.self) { try await set.write(snapshot, meter: ProgressMeter()) }
            try await set.abandon()
            #expect(try await bench.objects().isEmpty)
        }
    }

    @Test("Of two runs that make a set of the same name one commits, and the other says so")
    func sameName() async throws {
        try await Workbench.withKey { bench in
            try await bench.makeSet()
            let error = await #expect(throws: SetError.self) { try await bench.makeSet() }
            #expect(error?.exitCode == .locked)
            try await bench.readThrough()
        }
    }

    @Test("Any one of several identities opens a set, and none of another's does")
    func recipients() async throws {
        try await withScratchDirectory { directory in
            let keys = try [1, 2, 3].map { try Workbench.key($0, in: directory) }
            var bench = Workbench(store: MemoryStore(), recipients: Array(keys[..<2]), identities: [])
            try await bench.makeSet()
            for key in keys[..<2] {
                bench.identities = [key]
                try await bench.readThrough()
            }
            bench.identities = [keys[2]]
            let error = await #expect(throws: (any Error).self) { try await bench.readThrough() }
            #expect((error as? any Failure)?.exitCode == .keys)
        }
    }
}

struct SignatureTests {
    @Test("A signed set is authenticated, and where signers are demanded an unsigned or strange one is refused")
    func signatures() async throws {
        try await Workbench.withKey { bench in
            let signer = Curve25519.Signing.PrivateKey()
            let stranger = Curve25519.Signing.PrivateKey()
            var bench = bench
            bench.signer = signer
            try await bench.makeSet(Workbench.key(second: 1))
            bench.signer = stranger
            try await bench.makeSet(Workbench.key(second: 2))
            bench.signer = nil
            try await bench.makeSet(Workbench.key(second: 3))

            bench.trustedSigners = [Array(signer.publicKey.rawRepresentation)]
            try await bench.readThrough(Workbench.key(second: 1))
            for second in [2, 3] {
                let error = await #expect(throws: SetError.self) {
                    try await bench.readThrough(Workbench.key(second: second))
                }
                #expect(error?.exitCode == .verificationFailed)
            }
        }
    }

    @Test("A set under symmetric keys alone says that its origin is known")
    func origin() async throws {
        try await Workbench.withKey { bench in
            let stored = try await bench.makeSet()
            let reader = try await SetReader.open(stored, in: bench.store, configuration: bench.reader)
            #expect(reader.origin == .authenticated)
        }
    }
}
