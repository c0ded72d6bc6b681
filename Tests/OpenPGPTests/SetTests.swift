import Core
import Foundation
import OpenPGPKeyring
import Sets
import Streams
import TestSupport
import Testing

@Suite("Sets of OpenPGP messages", .needs(GnuPG.part))
struct SetTests {
    private let parts = [
        "empty.sql": [], "small.json": Array("{}".utf8), "database.sql": patternBytes(9_000_000),
    ]

    @Test("What goes in comes out, under every codec", arguments: Compression.Algorithm.allCases)
    func roundTrip(_ algorithm: Compression.Algorithm) async throws {
        try await Desk.use { desk in
            var bench = try Bench(try desk.person.makeKey("anna"), at: desk)
            bench.compression = Compression(algorithm: algorithm, level: algorithm == .none ? 0 : 1)
            let stored = try await bench.makeSet(parts)
            #expect(stored.manifest.encryption.algorithm.hasPrefix("OpenPGP"))
            #expect(try await bench.readThrough() == parts)
            await bench.close()
        }
    }

    @Test("A part longer than the store's largest object goes on in segments and is joined again")
    func segments() async throws {
        try await Desk.use { desk in
            var bench = try Bench(try desk.person.makeKey("anna"), at: desk)
            bench.store = MemoryStore(largestObject: 8 << 20)
            bench.compression = Compression(algorithm: .none, level: 0)
            let stored = try await bench.makeSet(parts)
            let segments = try #require(stored.manifest.parts.first { $0.name == "database.sql" }).segments
            #expect(segments.count > 1)
            #expect(segments.allSatisfy { $0.storedSize <= 8 << 20 })
            #expect(try await bench.readThrough() == parts)
            await bench.close()
        }
    }

    @Test("gpg and zstd alone open a part, with the private key of any recipient", .needs(.program("zstd")))
    func stockTools() async throws {
        try await Desk.use { desk in
            let keys = [try desk.person.makeKey("anna"), try desk.person.makeKey("bert")]
            let keyring = try desk.keyring(keys, secret: false)
            var bench = try Bench(keys[0], at: desk)
            bench.sealing = keyring
            bench.recipients = try keys.map { try desk.provider($0, in: keyring) }
            let stored = try await bench.makeSet(parts)
            for key in keys {
                // Who has this key and no other.
                let reader = try GnuPG(in: desk.directory, name: "reader-\(key.suffix(4))")
                defer { reader.stop() }
                try reader.run(["--import", try desk.person.exported(key, secret: true)])
                for part in stored.manifest.parts where parts[part.name] != nil {
                    let sealed = try #require(bench.store.bytes("\(Bench.key)/\(part.segments[0].path)"))
                    let file = "\(desk.directory)/\(key.suffix(4))-\(part.name)"
                    try writeFile(file + ".gpg", sealed)
                    try reader.run(["--output", file + ".zst", "--decrypt", file + ".gpg"])
                    let ended = try runProgram("/usr/bin/env", ["zstd", "-q", "-d", file + ".zst", "-o", file])
                    #expect(ended.status == 0, "\(ended.output)")
                    #expect(try contentsOfFile(file) == parts[part.name])
                }
            }
            await bench.close()
            await keyring.close()
        }
    }

    @Test("A changed byte, a missing end and another segment in its place are refused before gpg has seen them")
    func damage() async throws {
        try await Desk.use { desk in
            var bench = try Bench(try desk.person.makeKey("anna"), at: desk)
            bench.compression = Compression(algorithm: .none, level: 0)
            let stored = try await bench.makeSet(parts)
            let path = try #require(stored.manifest.parts.first { $0.name == "database.sql" }).segments[0].path
            let whole = try #require(bench.store.bytes("\(Bench.key)/\(path)"))
            for offset in [0, 100, 1000, 4 << 20, 5 << 20, whole.count - 1] {
                bench.store.damage("\(Bench.key)/\(path)") {
                    $0 = whole; $0[offset] ^= 1
                }
                let source = try await bench.reader().open("database.sql")
                let given = Guarded(0)
                _ = try await failure(.verificationFailed) {
                    try await pull(source, named: "read") { chunk in given.withLock { $0 += chunk.count } }
                }
                // Of the piece that was changed nothing comes out, and what came before was as it was stored.
                #expect(given.value <= offset / (4 << 20) * (4 << 20))
            }
            bench.store.damage("\(Bench.key)/\(path)") {
                $0 = whole; $0[50] ^= 1
            }
            _ = try await failure(.verificationFailed) {
                _ = try await collect(try await bench.reader().open("database.sql"))
            }
            bench.store.damage("\(Bench.key)/\(path)") { $0 = whole }
            #expect(try await bench.readThrough() == parts)
            await bench.close()
        }
    }

    @Test("A segment opens under its own number alone, so that none can stand in another's place")
    func ownKey() async throws {
        try await Desk.use { desk in
            let key = try desk.person.makeKey("anna")
            let keyring = try desk.keyring([key], secret: false)
            let cipher = OpenPGPCipher(keyring)
            let secret = { (byte: UInt8) in
                Array(repeating: byte, count: 32).withUnsafeBytes { SecretBytes($0) }
            }
            let wrapped = try await desk.provider(key, in: keyring).wrap(secret(9), context: [:])
            let sealed = try await collect(
                try await cipher.seal(MemorySource(patternBytes(100_000)), for: [wrapped], key: secret(1)))
            #expect(cipher.recognises(sealed))
            let opened = try await cipher.open(MemorySource(sealed), key: secret(1))
            #expect(try await collect(opened) == patternBytes(100_000))
            for (bytes, key) in [
                (sealed, secret(2)), (Array(sealed.dropLast(30)), secret(1)), (sealed + [0], secret(1)),
                ([], secret(1)), (patternBytes(1000), secret(1)),
            ] {
                let error = try await failure(.verificationFailed) {
                    _ = try await collect(try await cipher.open(MemorySource(bytes), key: key))
                }
                #expect(error is OpenPGPError)
            }
            await keyring.close()
        }
    }

    @Test(
        "gpg that dies midway, or exits 0 without its word, makes no set and names itself",
        arguments: ["kill", "quiet"])
    func failingProgram(_ how: String) async throws {
        try await Desk.use { desk in
            let program = "\(desk.directory)/gpg"
            let ending = how == "kill" ? "head -c 3000000 >/dev/null; kill -9 $$" : "cat >/dev/null; exit 0"
            try writeFile(
                program,
                "#!/bin/sh\ncase \"$*\" in *--symmetric*) \(ending);; *) exec /usr/bin/gpg \"$@\";; esac\n")
            chmod(program, 0o700)
            let key = try desk.person.makeKey("anna")
            var bench = try Bench(key, at: desk)
            bench.sealing = try desk.keyring([key], secret: false, program: program)
            bench.compression = Compression(algorithm: .none, level: 0)
            bench.recipients = [try desk.provider(key, in: bench.sealing)]
            let error = try await failure(.keys) { _ = try await bench.makeSet(parts) }
            #expect(error.cause.contains(how == "kill" ? "gpg was ended by signal 9" : "gpg did not say"))
            #expect(bench.store.keys.isEmpty)
            await bench.close()
        }
    }

    @Test("A source that fails midway ends gpg before its input, and its error is the one that is told")
    func failingSource() async throws {
        final class Failing: ByteSource {
            let left = Guarded(5)
            func next() throws -> Chunk? {
                try left.withLock {
                    guard $0 > 0 else { throw JobFailure(.source, "dump", cause: "it exited 1", hint: "look") }
                    $0 -= 1
                    return Chunk(patternBytes(100_000))
                }
            }
            func cancel() {}
        }
        try await Desk.use { desk in
            let key = try desk.person.makeKey("anna")
            let keyring = try desk.keyring([key], secret: false)
            let wrapped = try await desk.provider(key, in: keyring).wrap(
                Array(repeating: 1, count: 32).withUnsafeBytes { SecretBytes($0) }, context: [:])
            let sealed = try await OpenPGPCipher(keyring).seal(Failing(), for: [wrapped], key: nil)
            let error = try await failure(.source) { _ = try await collect(sealed) }
            #expect(error.cause == "it exited 1")
            await keyring.close()
        }
    }

    @Test("A single file is sealed for gpg and opened again, by gpg as by us; and we open what gpg has sealed")
    func files() async throws {
        try await Desk.use { desk in
            let key = try desk.person.makeKey("anna")
            let keyring = try desk.keyring([key], secret: true)
            let provider = try desk.provider(key, in: keyring)
            let cipher = OpenPGPCipher(keyring)
            let store = MemoryStore()
            let plain = patternBytes(3_000_000)
            try await store.put("letter", plain)
            let count = try await FileEnvelope.encrypt(
                StoredFile(name: "letter", store: store), as: StoredFile(name: "letter.encrypted", store: store),
                for: [provider], cipher: cipher, random: { Array(repeating: 3, count: $0) })
            #expect(count == 1)
            let sealed = try #require(store.bytes("letter.encrypted"))
            _ = try await FileEnvelope.decrypt(
                StoredFile(name: "letter.encrypted", store: store), as: StoredFile(name: "again", store: store),
                with: [provider], ciphers: [cipher])
            #expect(store.bytes("again") == plain)

            let file = "\(desk.directory)/letter"
            try writeFile(file + ".gpg", sealed)
            try desk.person.run(["--output", file, "--decrypt", file + ".gpg"])
            #expect(try contentsOfFile(file) == plain)
            try desk.person.run(
                ["--trust-model", "always", "--recipient", key, "--output", file + ".theirs", "--encrypt", file])
            try await store.put("theirs", try contentsOfFile(file + ".theirs"))
            _ = try await FileEnvelope.decrypt(
                StoredFile(name: "theirs", store: store), as: StoredFile(name: "opened", store: store),
                with: [provider], ciphers: [cipher])
            #expect(store.bytes("opened") == plain)

            store.damage("theirs") { $0[$0.count / 2] ^= 1 }
            _ = try await failure(.verificationFailed) {
                _ = try await FileEnvelope.decrypt(
                    StoredFile(name: "theirs", store: store), as: StoredFile(name: "damaged", store: store),
                    with: [provider], ciphers: [cipher])
            }
            #expect(store.bytes("damaged") == nil)
            await keyring.close()
        }
    }
}
