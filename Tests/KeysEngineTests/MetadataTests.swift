import Core
import Glibc
import TestSupport
import Testing

@testable import KeysEngine

@Suite("What is known of keys")
struct MetadataTests {
    /// With a file of metadata beside it a key is what that says; without, what its name, time and content tell.
    @Test func readsAndDerives() async throws {
        try await withKeys { keys, _ in
            try keys.putMaster(version: 3)
            try keys.put("backup-v12.pem", pem("PRIVATE KEY", ed25519PKCS8))
            try keys.put("token", "not a key, \(marker)")
            try keys.put("rotated.bin", [UInt8](repeating: 0xF1, count: 16))
            try keys.put("service.json", "{\"type\":\"service_account\"}")
            let set = try await keys.engine().take()
            let listing = try set.listing
            #expect(set.contents.counts == ["keys": 5])
            #expect(set.contents.data.map(\.label).contains("key master.3"))
            func key(_ id: String) -> [String: JSON]? { listing.first { $0["keyId"] == .string(id) } }
            #expect(key("master")?["kind"] == .string("MASTER") && key("master")?["declared"] == .bool(true))
            #expect(key("master")?["version"] == .string("3") && key("master")?["purpose"] == .string("patients"))
            #expect(key("backup.pem")?["version"] == .string("12"))
            #expect(key("backup.pem")?["algorithm"] == .string("Ed25519"))
            #expect(key("token")?["algorithm"] == .string("opaque") && key("token")?["kind"] == .string("DATA"))
            #expect(key("rotated.bin")?["algorithm"] == .string("AES-128"))
            #expect(key("rotated.bin")?["kind"] == .string("ROTATION"))
            #expect(key("service.json")?["declared"] == .bool(false))
        }
    }

    /// Metadata that is not whole, or not true, is refused with its file and member; all of it at once.
    @Test(arguments: [
        ("{", "it is not JSON"), ("[]", "'document' must be an object"),
        (#"{"version":1}"#, "'keyId' is missing"), (good(("version", "0")), "'version' must be a number from 1"),
        (good(("createdAt", "\"yesterday\"")), "'createdAt' must be a time"),
        (good(("expiresAt", "\"2020-01-01T00:00:00Z\"")), "'expiresAt' is not after createdAt"),
        (good(("kind", "\"master\"")), "'kind' must be MASTER, DATA or ROTATION"),
        (good(("keyId", "\"a\\nb\"")), "'keyId' must have"), (good(("expireAt", "1")), "'expireAt' is not known"),
        (good(("algorithm", "\"RSA-2048\"")), "is no RSA key"),
        (good(("algorithm", "\"AES-128\"")), "is an AES key of 256 bits"),
        (good(("algorithm", "\"Ed25519\"")), "is no Ed25519 private key"),
    ])
    func refusesWhatIsWrong(_ metadata: String, _ words: String) async throws {
        try await withKeys { keys, _ in
            try keys.putMaster()
            try keys.put("other.key", hexText([UInt8](repeating: 9, count: 32)))
            try keys.put("other.key.json", metadata)
            let found = try await failure { try await keys.engine().take() }
            #expect(found.kind == .invalid && found.exitCode == .source)
            #expect(found.cause.contains("other.key.json") && found.cause.contains(words), "\(found.cause)")
        }
    }

    /// Two keys under one id and version, an empty file, a metadata file that may belong to two: refused together.
    @Test func refusesWhatIsAmbiguous() async throws {
        try await withKeys { keys, _ in
            try keys.putMaster()
            try keys.put("copy.key", "abc")
            try keys.put("copy.key.json", KeyRing.metadata("master", algorithm: "opaque"))
            try keys.put("empty.key", "")
            try keys.put("pair.pub", "a")
            try keys.put("pair.pem", "b")
            try keys.put("pair.json", KeyRing.metadata("pair", algorithm: "opaque"))
            let found = try await failure { try await keys.engine().take() }
            #expect(found.cause.contains("copy.key and master.key are both key master version 1"))
            #expect(found.cause.contains("empty.key is empty"))
            #expect(found.cause.contains("pair.json may belong to"))
        }
    }

    private static func good(_ change: (name: String, value: String)) -> String {
        var members = [
            "keyId": "\"other\"", "version": "1", "createdAt": "\"2024-06-01T00:00:00Z\"", "algorithm": "\"AES-256\"",
            "kind": "\"DATA\"",
        ]
        members[change.name] = change.value
        return "{" + members.sorted { $0.key < $1.key }.map { "\"\($0.key)\":\($0.value)" }.joined(separator: ",")
            + "}"
    }
}

/// PKCS #8 of an Ed25519 key.
let ed25519PKCS8: [UInt8] =
    [0x30, 0x2E, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20]
    + [UInt8](repeating: 0x42, count: 32)
