import Core
import Crypto
import Envelope
import LocalKeyring
import RSAKeyring
import Sets
import TestSupport
import Testing

/// Records that wrap a set's data key anew, as readers meet them: ours, and those of others.
@Suite("Rewrap records")
struct RewrapRecordTests {
    /// A set under key 1 and three records, for keys 2, 3 and 4.
    private struct Shelf {
        var bench: Workbench
        let memory: MemoryStore
        let stored: StoredManifest
        let keys: [AESKeyProvider]
        let dataKey: SecretBytes

        /// Opens and reads the set as the holder of key `number`, or of none.
        func open(as identity: (any KeyProvider)?) async throws -> SetReader {
            try await SetReader.open(
                stored, in: bench.store,
                configuration: SetReaderConfiguration(
                    identities: identity.map { [$0] } ?? [], trustedSigners: bench.trustedSigners,
                    symmetricProviders: ["lifeboat"]))
        }

        func recordPath(_ number: Int) -> String { "\(stored.manifest.key)/records/00000\(number)-rewrap.json" }

        var recordPaths: [String] { memory.keys.filter { $0.hasSuffix("-rewrap.json") } }
    }

    private static func withShelf<Result>(_ body: (Shelf) async throws -> Result) async throws -> Result {
        try await withScratchDirectory { directory in
            let keys = try (1...4).map { try Workbench.key($0, in: directory) }
            let memory = MemoryStore()
            let bench = Workbench(store: memory, recipients: [keys[0]], identities: [keys[0]])
            let stored = try await bench.makeSet()
            let manifest = stored.manifest
            let dataKey = try await openDataKey(
                manifest.encryption.dataKeys, context: manifest.encryption.context, with: [keys[0]])
            let shelf = Shelf(bench: bench, memory: memory, stored: stored, keys: keys, dataKey: dataKey)
            for number in 1...3 { try await add(number, for: [keys[number]], to: shelf) }
            return try await body(shelf)
        }
    }

    /// Puts a record for `recipients` beside the set; `dataKey` is the set's own where none is given.
    private static func add(
        _ number: Int, for recipients: [any KeyProvider], to shelf: Shelf, dataKey: SecretBytes? = nil,
        signer: Curve25519.Signing.PrivateKey? = nil
    ) async throws {
        let dataKey = dataKey ?? shelf.dataKey
        let wrapped = try await sealDataKey(
            dataKey, for: recipients, context: shelf.stored.manifest.encryption.context)
        let record = try RewrapRecord(
            wrapped, of: shelf.stored, dataKey: dataKey, signer: signer, time: shelf.bench.clock.now(),
            requestID: .run("rotation"))
        try await shelf.memory.put(shelf.recordPath(number), record.bytes)
    }

    /// Shows that a set opens for whom it was made and for whom any of its records is, that nobody else opens it, and
    /// that its parts are then read as before.
    @Test func everyRecordOpens() async throws {
        try await Self.withShelf { shelf in
            for key in shelf.keys {
                let reader = try await shelf.open(as: key)
                #expect(reader.notes.all.isEmpty)
                #expect(try await reader.contents() == Workbench.contents)
                try await reader.checkRewraps(shelf.recordPaths)
            }
            let stranger = try await withScratchDirectory { try Workbench.key(9, in: $0) }
            let error = await #expect(throws: EnvelopeError.self) { try await shelf.open(as: stranger) }
            #expect(error?.exitCode == .keys && error?.lacksIdentity == true)
            // It says for whom the set could be opened, the records' recipients too.
            #expect(["key1", "key2", "key3", "key4"].allSatisfy { error?.hint.contains("lifeboat/\($0)") == true })
        }
    }

    /// Shows that a reader begins with the newest record: with the key of the oldest it passes two by, and with an
    /// identity that all of them are for it asks for one wrapping only.
    @Test func newestFirst() async throws {
        try await Self.withShelf { shelf in
            for number in 4...11 {
                let wrapped = try await sealDataKey(
                    shelf.dataKey, for: [shelf.keys[1]], context: shelf.stored.manifest.encryption.context)
                let record = try RewrapRecord(
                    wrapped, of: shelf.stored, dataKey: shelf.dataKey, signer: nil, time: shelf.bench.clock.now(),
                    requestID: .run("r\(number)"))
                let padded = number < 10 ? "00000\(number)" : "0000\(number)"
                try await shelf.memory.put("\(shelf.stored.manifest.key)/records/\(padded)-rewrap.json", record.bytes)
            }
            let store = FaultyStore(shelf.memory)
            var bench = shelf.bench
            bench.store = store
            bench.identities = [shelf.keys[1]]
            try await bench.readThrough()
            let read = store.log.filter { $0.call == .get && $0.key.contains("/records/") }.map(\.key)
            #expect(read == ["\(shelf.stored.manifest.key)/records/000011-rewrap.json"])
        }
    }

    /// Shows that no byte of a record can be changed without the record being refused: whoever has another key opens the
    /// set all the same and is told, whoever has only this one does not.
    @Test func everyByteCounts() async throws {
        try await Self.withShelf { shelf in
            for number in [1, 2] { try await shelf.memory.delete(shelf.recordPath(number)) }
            let path = shelf.recordPath(3)
            let sound = try #require(shelf.memory.bytes(path))
            for offset in sound.indices {
                shelf.memory.damage(path) {
                    $0 = sound
                    $0[offset] ^= 1
                }
                let reader = try await shelf.open(as: shelf.keys[0])
                let error = await #expect(throws: SetError.self) { try await reader.checkRewraps([path]) }
                #expect(error?.exitCode == .verificationFailed, "byte \(offset)")
                let refusal = await #expect(throws: (any Error).self) { try await shelf.open(as: shelf.keys[3]) }
                let code = (refusal as? any Failure)?.exitCode
                #expect(code == .verificationFailed || code == .keys, "byte \(offset): \(code as Any)")
            }
            for length in [0, 1, sound.count - 1] {
                shelf.memory.damage(path) { $0 = Array(sound.prefix(length)) }
                let reader = try await shelf.open(as: shelf.keys[0])
                await #expect(throws: SetError.self) { try await reader.checkRewraps([path]) }
            }
        }
    }

    /// Shows what a stranger gets who puts a record for the readers' keys beside a set, with a data key of his own: it
    /// is passed over by name, the set opens as before, verify refuses it, and who has no other way in is told that
    /// something is forged and not that a key is missing.
    @Test func forged() async throws {
        try await Self.withShelf { shelf in
            var own = [UInt8](repeating: 5, count: 32)
            try await Self.add(4, for: shelf.keys, to: shelf, dataKey: SecretBytes(wiping: &own))
            for key in shelf.keys {
                let reader = try await shelf.open(as: key)
                #expect(try await reader.contents() == Workbench.contents)
                #expect(reader.notes.all.count == 1)
                #expect(reader.notes.all.first?.contains("000004-rewrap.json was passed over: ") == true)
                let error = await #expect(throws: SetError.self) {
                    try await reader.checkRewraps(shelf.recordPaths)
                }
                #expect(error?.object == shelf.recordPath(4))
            }
            for number in [1, 2, 3] { try await shelf.memory.delete(shelf.recordPath(number)) }
            let error = await #expect(throws: SetError.self) { try await shelf.open(as: shelf.keys[3]) }
            #expect(error?.exitCode == .verificationFailed)
            #expect(error?.cause.contains("changed or forged") == true)
        }
    }

    /// Shows that records of another set are refused, also where both are sealed for the same keys, and one that was
    /// made for another manifest of this name.
    @Test func foreign() async throws {
        try await Self.withShelf { shelf in
            let other = try await shelf.bench.makeSet(Workbench.key(second: 1))
            let manifest = other.manifest
            let dataKey = try await openDataKey(
                manifest.encryption.dataKeys, context: manifest.encryption.context, with: [shelf.keys[0]])
            let wrapped = try await sealDataKey(
                dataKey, for: [shelf.keys[3]], context: manifest.encryption.context)
            let record = try RewrapRecord(
                wrapped, of: other, dataKey: dataKey, signer: nil, time: shelf.bench.clock.now(),
                requestID: .run("r"))
            try await shelf.memory.put(shelf.recordPath(4), record.bytes)
            let reader = try await shelf.open(as: shelf.keys[3])
            #expect(reader.notes.all.first?.contains("'key' is another set's") == true)

            let changed = StoredManifest(manifest: shelf.stored.manifest, sha256: [UInt8](repeating: 1, count: 32))
            let older = try RewrapRecord(
                try await sealDataKey(
                    shelf.dataKey, for: [shelf.keys[3]], context: shelf.stored.manifest.encryption.context),
                of: changed, dataKey: shelf.dataKey, signer: nil, time: shelf.bench.clock.now(),
                requestID: .run("r"))
            shelf.memory.damage(shelf.recordPath(4)) { $0 = older.bytes }
            let again = try await shelf.open(as: shelf.keys[3])
            #expect(again.notes.all.first?.contains("another manifest") == true)
        }
    }

    /// Shows that a changed manifest is not believed with the key that a record gives: exit code 13, and not 12.
    @Test func changedManifest() async throws {
        try await Self.withShelf { shelf in
            var manifest = shelf.stored.manifest
            manifest.sourceSize += 1
            let bytes = manifest.json().canonicalBytes
            let path = "\(manifest.key)/manifest.json"
            shelf.memory.damage(path) { $0 = bytes }
            for key in shelf.keys {
                var bench = shelf.bench
                bench.identities = [key]
                let error = await #expect(throws: SetError.self) { try await bench.readThrough() }
                #expect(error?.exitCode == .verificationFailed)
            }
        }
    }

    /// Shows that where the records cannot be listed or read the manifest still opens for its own recipients, and that
    /// others are told of the store, which may have what they need.
    @Test(arguments: [FaultyStore.Call.list, .get])
    func unreadable(_ call: FaultyStore.Call) async throws {
        try await Self.withShelf { shelf in
            let store = FaultyStore(shelf.memory)
            store.fail(call, times: 99, keyContaining: "/records/")
            var bench = shelf.bench
            bench.store = store
            try await bench.readThrough()
            bench.identities = [shelf.keys[2]]
            let error = await #expect(throws: InjectedFault.self) { try await bench.readThrough() }
            #expect(error?.exitCode == .store)
        }
    }

    /// Shows that records without end cost no more than a hundred reads, and hide nothing from the manifest's own
    /// recipients; and that other kinds of records are left alone.
    @Test func flood() async throws {
        try await Self.withShelf { shelf in
            let key = shelf.stored.manifest.key
            for number in 100..<400 {
                try await shelf.memory.put("\(key)/records/000\(number)-rewrap.json", Array("{}".utf8))
            }
            try await shelf.memory.put("\(key)/records/000999-unknown.json", Array("{}".utf8))
            try await shelf.memory.put("\(key)/records/rewrap.json", Array("{}".utf8))
            let store = FaultyStore(shelf.memory)
            var bench = shelf.bench
            bench.store = store
            let reader = try await SetReader.open(shelf.stored, in: store, configuration: bench.reader)
            #expect(store.log.count { $0.call == .get && $0.key.contains("/records/") } == 100)
            #expect(reader.notes.all.contains { $0.contains("only the newest 100 of 303") })
            #expect(!store.log.contains { $0.key.hasSuffix("unknown.json") })
        }
    }

    /// Shows that a record's signature has to be right where there is one, and that the set's own decides whom a reader
    /// trusts.
    @Test func signatures() async throws {
        try await Self.withShelf { shelf in
            let signer = Curve25519.Signing.PrivateKey()
            try await Self.add(4, for: [shelf.keys[3]], to: shelf, signer: signer)
            let path = shelf.recordPath(4)
            try await shelf.open(as: shelf.keys[3]).checkRewraps([path])
            let text = String(decoding: try #require(shelf.memory.bytes(path)), as: UTF8.self)
            #expect(text.contains(hexText(signer.publicKey.rawRepresentation)))
            let forged = text.replacing(
                hexText(signer.publicKey.rawRepresentation),
                with: hexText(Curve25519.Signing.PrivateKey().publicKey.rawRepresentation))
            shelf.memory.damage(path) { $0 = Array(forged.utf8) }
            let reader = try await shelf.open(as: shelf.keys[3])
            #expect(reader.notes.all.first?.contains("'signature' is wrong") == true)

            var trusting = shelf
            trusting.bench.trustedSigners = [Array(signer.publicKey.rawRepresentation)]
            let error = await #expect(throws: SetError.self) { try await trusting.open(as: shelf.keys[3]) }
            #expect(error?.cause.contains("not signed") == true)
        }
    }

    /// Shows that nobody becomes known by a record: a stranger forges a whole set, whose manifest names an AES key that
    /// he does not have, and lets it open by a record for our public key; a rewrapping then makes one for our AES key
    /// of it. At no point is its origin authenticated. Of a set that is ours it is, as long as the manifest itself
    /// opens.
    @Test func originOfAForgery() async throws {
        try await withScratchDirectory { directory in
            let aes = try Workbench.key(1, in: directory)
            let fixtures = repositoryRoot + "/Tests/EnvelopeTests/Fixtures"
            let rsa = try RSAKeyProvider(path: fixtures + "/rsa-private.pem")
            let imposter = try Workbench.key(7, in: directory)
            let memory = MemoryStore()
            var forger = Workbench(store: memory, recipients: [imposter], identities: [imposter])
            let stored = try await forger.makeSet()
            let context = stored.manifest.encryption.context
            let dataKey = try await openDataKey(
                stored.manifest.encryption.dataKeys, context: context, with: [imposter])
            for (number, recipient) in [rsa as any KeyProvider, aes].enumerated() {
                let record = try RewrapRecord(
                    try await sealDataKey(dataKey, for: [recipient], context: context), of: stored,
                    dataKey: dataKey, signer: nil, time: forger.clock.now(), requestID: .run("r"))
                try await memory.put("\(stored.manifest.key)/records/00000\(number + 1)-rewrap.json", record.bytes)
            }
            for identity in [rsa as any KeyProvider, aes] {
                forger.identities = [identity]
                let reader = try await SetReader.open(stored, in: memory, configuration: forger.reader)
                #expect(reader.origin == .unauthenticated)
            }
            forger.identities = [imposter, aes]
            #expect(
                try await SetReader.open(stored, in: memory, configuration: forger.reader).origin == .authenticated)
        }
    }

    /// Shows that a copy opens by the records of the other one, where it has none of its own, and that copying takes
    /// them along, once.
    @Test func copies() async throws {
        try await Self.withShelf { shelf in
            let second = MemoryStore()
            let replication = Replication(from: shelf.memory, to: second)
            try await replication.copy(shelf.stored, now: shelf.bench.clock.now(), meter: ProgressMeter())
            let copied = second.keys.filter { $0.hasSuffix("-rewrap.json") }
            #expect(copied.map { second.bytes($0) } == shelf.recordPaths.map { shelf.memory.bytes($0) })
            #expect(try await replication.copyRewraps(of: shelf.stored, now: shelf.bench.clock.now()) == 0)

            for path in copied { try await second.delete(path) }
            let configuration = SetReaderConfiguration(
                identities: [shelf.keys[2]], trustedSigners: [], symmetricProviders: [])
            let notes = ReadingNotes()
            let reader = try await SetReader.open(
                shelf.stored.manifest.key, of: "clinic",
                in: Copies(SetCopy(.primary, second), reserve: [SetCopy(.secondary, shelf.memory)]),
                configuration: configuration, notes: notes)
            #expect(try await reader.contents() == Workbench.contents)
            #expect(try await replication.copyRewraps(of: shelf.stored, now: shelf.bench.clock.now()) == 3)
            try await shelf.memory.delete("\(shelf.stored.manifest.key)/manifest.json")
            _ = try await SetReader.open(
                shelf.stored.manifest.key, of: "clinic",
                in: Copies(SetCopy(.primary, shelf.memory), reserve: [SetCopy(.secondary, second)]),
                configuration: configuration, notes: notes)
        }
    }
}
