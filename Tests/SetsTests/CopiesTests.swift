import Core
import Crypto
import Envelope
import Sets
import Streams
import TestSupport
import Testing

/// Sets in two stores, below the jobs that read them.
struct CopiesTests {
    /// Shows that the beginning of one copy is never joined to the end of another that begins differently, even where
    /// both are sealed under the set's own data key: the first copy is one that its writer forged, with equal sizes and
    /// the same message id. It is longer than all that is read ahead, so that its beginning is handed on before its digest
    /// tells.
    @Test("A forged beginning does not get past the other copy's sound end")
    func forgedBeginning() async throws {
        let (first, second) = (MemoryStore(), MemoryStore())
        try await Workbench.withKey(store: first) { bench in
            var bench = bench
            bench.compression = Compression(algorithm: .none, level: 0)
            let text = patternBytes(12_000_000)
            let stored = try await bench.makeSet(parts: ["database.sql": text])
            try await Replication(from: first, to: second).copy(
                stored, now: bench.clock.now(), meter: ProgressMeter())

            let manifest = stored.manifest
            let segment = try #require(manifest.parts.first { $0.name == "database.sql" }?.segments.first)
            let forged = try await Self.forge(segment, of: manifest, with: patternBytes(12_000_000, seed: 9), bench)
            let path = "\(manifest.key)/\(segment.path)"
            #expect(forged.count == first.bytes(path)?.count)
            first.damage(path) { $0 = forged }

            let notes = ReadingNotes()
            let reader = try await SetReader.open(
                manifest.key, of: "clinic",
                in: Copies(SetCopy(.primary, first), reserve: [SetCopy(.secondary, second)]),
                configuration: bench.reader, notes: notes)
            let source = try await reader.open("database.sql")
            let error = await #expect(throws: (any Error).self) {
                try await onThread("collect") { _ = try source.collect(limit: 64 << 20) }
            }
            #expect((error as? any Failure)?.exitCode == .verificationFailed, "\(notes.all)")
            #expect((error as? any Failure)?.cause.contains("begins otherwise") == true)
        }
    }

    /// The message that the holder of the data key would write in the segment's place.
    private static func forge(
        _ segment: Segment, of manifest: Manifest, with text: [UInt8], _ bench: Workbench
    ) async throws -> [UInt8] {
        let dataKey = try await openDataKey(
            manifest.encryption.dataKeys, context: manifest.encryption.context, with: bench.identities)
        var writer = try MessageWriter(
            dataKey: dataKey,
            parameters: MessageParameters(
                messageID: segment.messageID, context: manifest.encryption.context,
                dataKeys: manifest.encryption.dataKeys))
        var bytes = Array(writer.header)
        var offset = 0
        while text.count - offset >= Chunk.size {
            let chunk = Chunk(text[offset..<offset + Chunk.size])
            let sealed = try writer.seal(chunk.bytes)
            bytes += sealed.bytes
            offset += Chunk.size
        }
        let rest = Chunk(text[offset...])
        let last = try writer.finish(rest.bytes)
        return bytes + last.bytes
    }

    @Test("An optional recipient may fail, and the manifest names it; a required one may not, and one there must be")
    func optionalRecipients() async throws {
        try await withScratchDirectory { directory in
            let keys = try [1, 2].map { try Workbench.key($0, in: directory) }
            var bench = Workbench(store: MemoryStore(), recipients: [keys[0]], identities: [keys[1]])
            bench.optionalRecipients = [keys[1], BrokenKey()]
            let stored = try await bench.makeSet()
            #expect(stored.manifest.encryption.dataKeys.count == 2)
            #expect(
                stored.manifest.exceptions == [
                    "not sealed for the optional recipient kms:broken: the key is disabled"
                ])
            try await bench.readThrough()

            bench.recipients = [keys[0], BrokenKey()]
            let required = await #expect(throws: EnvelopeError.self) {
                try await bench.makeSet(Workbench.key(second: 1))
            }
            #expect(required?.exitCode == .keys)
            bench.recipients = []
            let none = await #expect(throws: EnvelopeError.self) {
                try await bench.makeSet(Workbench.key(second: 1))
            }
            #expect(none == .noRecipients)
        }
    }
}

private struct BrokenKey: KeyProvider {
    struct Disabled: Failure {
        var exitCode: ExitCode { .keys }
        var operation: String { "wrap the data key" }
        var object: String { "kms:broken" }
        var cause: String { "the key is disabled" }
        var hint: String { "enable it" }
    }

    var capabilities: KeyCapabilities {
        KeyCapabilities(name: "kms:broken", canWrap: true, canUnwrap: true, isSymmetric: false)
    }

    func wrap(_ dataKey: SecretBytes, context: [String: String]) async throws -> EncryptedDataKey {
        throw Disabled()
    }

    func unwrap(_ wrapped: EncryptedDataKey, context: [String: String]) async throws -> SecretBytes? { nil }
}
