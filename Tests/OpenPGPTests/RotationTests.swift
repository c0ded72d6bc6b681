import Core
import Foundation
import LocalKeyring
import OpenPGPKeyring
import Sets
import Streams
import TestSupport
import Testing

/// Sets under OpenPGP keys that change, and exports for the holders of such keys.
@Suite("OpenPGP keys that come and go", .needs(GnuPG.part))
struct RotationTests {
    private let parts = ["database.sql": patternBytes(5_000_000)]

    /// Wraps the bench's set for `recipients`, with what opens it now.
    private func rewrap(_ bench: Bench, for recipients: [any KeyProvider]) async throws -> Bool {
        let configuration = bench.writer(for: recipients)
        let rewrapping = try await Rewrapping(
            of: Bench.key, target: "clinic", writer: configuration, reader: bench.readerConfiguration)
        let plan = try await rewrapping.plan(
            Bench.key, of: "clinic", in: Copies(bench.store), notes: ReadingNotes())
        guard !plan.isDone else { return false }
        _ = try await rewrapping.carryOut(plan, at: Bench.key.timestamp, requestID: .run("rotation"))
        return true
    }

    /// Shows that a set of OpenPGP messages opens for a new OpenPGP key after a rewrap, and from there for an AES key; that
    /// each run finds what the last one did; and that only public keys are needed of the new one.
    @Test func toAndFro() async throws {
        try await Desk.use { desk in
            let (anna, bert) = (try desk.person.makeKey("anna"), try desk.person.makeKey("bert"))
            var bench = try Bench(anna, at: desk)
            let stored = try await bench.makeSet(parts)
            let path = try #require(stored.manifest.parts.first?.segments.first?.path)
            let before = bench.store.bytes("\(Bench.key)/\(path)")

            let berts = try desk.keyring([bert], secret: false)
            let recipient = try desk.provider(bert, in: berts)
            #expect(try await rewrap(bench, for: [recipient]))
            #expect(try await !rewrap(bench, for: [recipient]))
            let opening = try desk.keyring([bert], secret: true)
            bench.identities = [try desk.provider(bert, in: opening)]
            #expect(try await bench.readThrough() == parts)

            let file = "\(desk.directory)/clinic.key"
            try writeFile(file, String(repeating: "07", count: 32))
            let aes = try AESKeyProvider(path: file)
            #expect(try await rewrap(bench, for: [aes]))
            bench.identities = [aes]
            #expect(try await bench.readThrough() == parts)
            #expect(bench.store.bytes("\(Bench.key)/\(path)") == before)
            for keyring in [berts, opening] { await keyring.close() }
            await bench.close()
        }
    }

    /// Shows that a set of messages, sealed for an AES key, opens for an OpenPGP key after a rewrap; and that its export
    /// for that key is of OpenPGP messages, which gpg and zstd open by the lines of the export's own page, in files as
    /// small as the directory takes.
    @Test(.needs(.program("zstd")), arguments: [15 << 30, 7 << 20])
    func exportForGPG(_ largestObject: Int64) async throws {
        try await Desk.use { desk in
            let anna = try desk.person.makeKey("anna")
            let file = "\(desk.directory)/clinic.key"
            try writeFile(file, String(repeating: "07", count: 32))
            let aes = try AESKeyProvider(path: file)
            var bench = try Bench(anna, at: desk)
            let gpg = bench.recipients
            bench.recipients = [aes]
            bench.isOpenPGP = false
            _ = try await bench.makeSet(parts)
            bench.identities = [aes]
            #expect(try await rewrap(bench, for: gpg))
            bench.identities = [try desk.provider(anna, in: bench.opening)]
            #expect(try await bench.readThrough() == parts)

            bench.isOpenPGP = true
            let directory = MemoryStore(largestObject: largestObject, isBucket: false)
            let export = try await SetExport(
                try await bench.reader(), into: directory, configuration: bench.writer(for: gpg))
            let written = try await export.write(
                requestID: .random("r"), at: Bench.key.timestamp, meter: ProgressMeter())
            #expect(!written.files.contains("open_set.py"))
            let place = "\(desk.directory)/export"
            mkdir(place, 0o700)
            for name in written.files { try writeFile("\(place)/\(name)", try #require(directory.bytes(name))) }
            let readMe = String(decoding: try contentsOfFile("\(place)/README.txt"), as: UTF8.self)
            let line = try #require(
                readMe.split(separator: "\n").first { $0.hasSuffix("> database.sql") }.map { $0.drop { $0 == " " } })
            #expect(line.contains("0002") == (largestObject < 15 << 30))
            let command = line.replacing("gpg -d", with: "gpg --homedir \"$2\" --batch --quiet -d")
            let opened = try runProgram(
                "/bin/bash",
                [
                    "-c", "set -eo pipefail; cd \"$1\"; sha256sum -c --quiet --strict SHA256SUMS; \(command)", "bash",
                    place,
                    desk.person.home,
                ])
            #expect(opened.status == 0, "\(opened.output)")
            #expect(try contentsOfFile("\(place)/database.sql") == parts["database.sql"])
            await bench.close()
        }
    }
}

extension Bench {
    var readerConfiguration: SetReaderConfiguration {
        SetReaderConfiguration(
            identities: identities, trustedSigners: [], symmetricProviders: ["lifeboat"],
            ciphers: [OpenPGPCipher(opening)])
    }
}
