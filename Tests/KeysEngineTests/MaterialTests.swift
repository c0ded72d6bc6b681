import Core
import Crypto
import CryptoExtras
import TestSupport
import Testing

@testable import KeysEngine

@Suite("Key material")
struct MaterialTests {
    private func material(_ text: String) -> KeyMaterial { material(Array(text.utf8)) }

    private func material(_ bytes: [UInt8]) -> KeyMaterial {
        var bytes = bytes
        return KeyMaterial(SecretBytes(wiping: &bytes))
    }

    private func random(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 * 7) } }

    /// Each form of key is known for what it is, and works.
    @Test func knowsAndUsesKeys() throws {
        let rsa = try _RSA.Encryption.PrivateKey(keySize: .bits2048)
        let cases: [(KeyMaterial, String)] = [
            (material([UInt8](repeating: 0xE5, count: 32)), "AES-256"),
            (material(String(repeating: "ab", count: 24)), "AES-192"),
            (material("//////////////////////////////////////////8=\n"), "AES-256"),
            (material(rsa.pemRepresentation), "RSA-2048"), (material(rsa.publicKey.pemRepresentation), "RSA-2048"),
            (material(Array(rsa.derRepresentation)), "RSA-2048"),
            (material(P256.Signing.PrivateKey().pemRepresentation), "P-256"),
            (material(P384.Signing.PrivateKey().pemRepresentation), "P-384"),
            (material(P521.Signing.PrivateKey().pemRepresentation), "P-521"),
            (material(P256.Signing.PrivateKey().publicKey.pemRepresentation), "P-256"),
            (material(pem("PRIVATE KEY", ed25519PKCS8)), "Ed25519"),
            (material("correct horse battery staple"), "opaque"),
            (material("a password of 32 characters, so!"), "opaque"),
            (material(pem("ENCRYPTED PRIVATE KEY", [1, 2, 3])), "opaque"),
            (material(pem("OPENSSH PRIVATE KEY", [1, 2, 3])), "opaque"), (material([0, 1, 2]), "opaque"),
        ]
        for (material, algorithm) in cases {
            #expect(material.algorithm == algorithm)
            #expect(try material.roundTrip(random: random) == nil)
            #expect(material.contradiction(to: algorithm) == nil)
        }
    }

    /// What is declared and what is there are compared where both are known, and nothing is made up elsewhere.
    @Test func findsContradictions() {
        let aes = material([UInt8](repeating: 0xE5, count: 16))
        #expect(aes.contradiction(to: "AES") == nil && aes.contradiction(to: "aes-128-gcm") == nil)
        #expect(aes.contradiction(to: "AES-256") == "is an AES key of 128 bits")
        #expect(aes.contradiction(to: "RSA") == "is no RSA key")
        #expect(aes.contradiction(to: "HMAC-SHA256") == nil && aes.contradiction(to: "ChaCha20") == nil)
        let curve = material(P256.Signing.PrivateKey().pemRepresentation)
        #expect(curve.contradiction(to: "P-384") == "is a key of the curve P-256")
        #expect(curve.contradiction(to: "ECDSA") == nil && curve.contradiction(to: "ed25519") != nil)
        let locked = material(pem("ENCRYPTED PRIVATE KEY", [1, 2, 3]))
        #expect(locked.contradiction(to: "RSA-4096") == nil)
        #expect(material(pem("PRIVATE KEY", [1, 2, 3])).contradiction(to: "RSA-4096") == "is no RSA key")
    }
}

@Suite("The archive of keys")
struct ArchiveTests {
    private func entry(_ path: String, _ text: String?, modified: Int64 = 1_700_000_000) -> KeyEntry {
        var bytes = Array((text ?? "").utf8)
        return KeyEntry(
            path: path, content: text == nil ? nil : SecretBytes(wiping: &bytes), mode: 0o640, owner: 3_000_000,
            group: 7, modified: modified)
    }

    /// What is written comes back: long names, large numbers, times before 1970, empty files.
    @Test func keepsEverything() throws {
        let long = String(repeating: "a", count: 90) + "/" + String(repeating: "ü", count: 90)
        let entries = [
            entry("", nil), entry("a", nil), entry("a/b", "text"), entry(long, String(repeating: "x", count: 1000)),
            entry("old", "", modified: -5), entry("late", "z", modified: 1 << 40),
        ]
        let read = try KeyArchive.read(KeyArchive.write(entries))
        #expect(read.map(\.path) == entries.map(\.path))
        #expect(read.map(\.modified) == entries.map(\.modified))
        #expect(read.allSatisfy { $0.mode == 0o640 && $0.owner == 3_000_000 && $0.group == 7 })
        for (a, b) in zip(entries, read) {
            #expect(a.content.map(text) == b.content.map(text))
        }
    }

    private func text(_ content: SecretBytes) -> String { content.withBytes { String(decoding: $0, as: UTF8.self) } }

    /// tar itself lists and unpacks it.
    @Test(.needs(.program("tar"))) func opensWithTar() async throws {
        try await withScratchDirectory { directory in
            let long = String(repeating: "k", count: 150)
            let archive = KeyArchive.write([
                entry("", nil), entry("s", nil), entry("s/\(long)", "key\n"), entry("b", "two"),
            ])
            try writeFile(directory + "/keys.tar", archive.withBytes { Array($0) })
            let (status, output) = try runProgram(
                "/bin/tar", ["-C", directory, "-xvf", directory + "/keys.tar", "--no-same-owner"])
            #expect(status == 0, "\(output)")
            #expect(try contentsOfFile("\(directory)/s/\(long)") == Array("key\n".utf8))
        }
    }

    /// Names that lead elsewhere, links, files twice, damage and ends that come too early are refused, at any byte.
    @Test func refusesOtherArchives() throws {
        for path in ["../x", "a/../../x", "/etc/passwd", "a//b", "."] {
            let archive = KeyArchive.write([entry("", nil), entry(path, "x")])
            #expect(throws: KeyArchive.Problem.self) { try KeyArchive.read(archive) }
        }
        let twice = KeyArchive.write([entry("", nil), entry("a", "x"), entry("a", "y")])
        #expect(throws: KeyArchive.Problem.self) { try KeyArchive.read(twice) }
        let good = KeyArchive.write([entry("", nil), entry("a", "x")]).withBytes { Array($0) }
        for count in stride(from: 0, to: good.count - 1, by: 97) {
            #expect(throws: KeyArchive.Problem.self) { try read(Array(good[..<count])) }
        }
        for offset in stride(from: 0, to: 512, by: 5) {
            var damaged = good
            damaged[offset] ^= 0x41
            #expect(throws: KeyArchive.Problem.self) { try read(damaged) }
        }
    }

    private func read(_ bytes: [UInt8]) throws -> [KeyEntry] {
        var bytes = bytes
        return try KeyArchive.read(SecretBytes(wiping: &bytes))
    }
}
