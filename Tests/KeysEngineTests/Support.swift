import Core
import Crypto
import CryptoExtras
import Glibc
import LocalKeyring
import RSAKeyring
import Streams
import TestSupport

@testable import KeysEngine

/// Must show in no output, for it is part of a key.
let marker = "5ecre7"

/// A directory of keys as an operator keeps it.
struct KeyRing {
    let directory: String

    func put(_ name: String, _ text: String, mode: mode_t = 0o600) throws {
        try writeFile("\(directory)/\(name)", text)
        chmod("\(directory)/\(name)", mode)
    }

    func put(_ name: String, _ bytes: [UInt8]) throws { try writeFile("\(directory)/\(name)", bytes) }

    /// A master key of 256 bits in hexadecimal, with its metadata.
    func putMaster(version: Int = 1, seed: UInt8 = 7) throws {
        try put("master.key", hexText([UInt8](repeating: seed, count: 32)) + "\n")
        try put(
            "master.key.json", Self.metadata("master", version: version, algorithm: "AES-256-GCM", kind: "MASTER"))
    }

    /// Puts a key that ends at `expires`; gives an engine for them all.
    func with(_ id: String, expires: String) throws -> KeysEngine {
        try put("\(id).key", hexText([UInt8](repeating: UInt8(id.utf8.count), count: 32)))
        try put("\(id).json", Self.metadata(id, algorithm: "AES", expires: expires))
        return engine()
    }

    static func metadata(
        _ id: String, version: Int = 1, algorithm: String, kind: String = "DATA", expires: String? = nil
    ) -> String {
        let expiry = expires.map { ",\"expiresAt\":\"\($0)\"" } ?? ""
        return """
            {"keyId":"\(id)","version":\(version),"createdAt":"2024-06-01T00:00:00Z"\(expiry),"purpose":"patients",
            "algorithm":"\(algorithm)","kind":"\(kind)","labels":{"team":"it"}}
            """
    }

    func engine(
        _ recipients: [any KeyProvider] = [], schedule: KeysSettings.Schedule = .daily,
        clock: ManualClock = ManualClock()
    ) -> KeysEngine {
        keysEngine([directory], recipients, schedule: schedule, clock: clock)
    }
}

func keysEngine(
    _ directories: [String], _ recipients: [any KeyProvider] = [], schedule: KeysSettings.Schedule = .daily,
    clock: ManualClock = ManualClock()
) -> KeysEngine {
    KeysEngine(
        KeysSettings(directories: directories, schedule: schedule), recipients: recipients,
        candidates: { material, recipient in
            let parts = recipient.split(separator: ":").map(String.init)
            if parts.first == "aes" {
                return [AESKeyProvider(name: parts[1], content: material)].compactMap { $0 }
            }
            do { return [try RSAKeyProvider(name: parts[1], content: material)] } catch { return [] }
        }, clock: clock, random: { count in (0..<count).map { _ in UInt8.random(in: 0...255) } },
        slowDigest: SlowDigest(rounds: 16))
}

/// Gives `body` an empty directory of keys, and one beside it for others.
func withKeys<Result>(_ body: (KeyRing, String) async throws -> Result) async throws -> Result {
    try await withScratchDirectory { directory in
        mkdir(directory + "/keys", 0o750)
        mkdir(directory + "/elsewhere", 0o700)
        return try await body(KeyRing(directory: directory + "/keys"), directory + "/elsewhere")
    }
}

func pem(_ label: String, _ der: [UInt8]) -> String {
    var text: [UInt8] = []
    der.withUnsafeBytes { appendBase64($0, to: &text) }
    let lines = stride(from: 0, to: text.count, by: 64).map {
        String(decoding: text[$0..<min($0 + 64, text.count)], as: UTF8.self)
    }
    return "-----BEGIN \(label)-----\n" + lines.joined(separator: "\n") + "\n-----END \(label)-----\n"
}

/// Runs `body` and returns its failure, which may hold nothing of a key; throws where it succeeds.
func failure<Value>(of body: () async throws -> Value) async throws -> KeysError {
    do {
        _ = try await body()
    } catch let error as KeysError {
        guard !"\(error)\(error.hint)".contains(marker) else { throw TestFailure("the marker shows") }
        return error
    }
    throw TestFailure("it succeeded")
}

extension TakenSet {
    /// A request for the next run, with this as the newest set.
    func next(opens: Bool = true, isForced: Bool = false) -> SnapshotRequest {
        SnapshotRequest(
            previous: manifest, previousContents: { opens ? contents : nil }, isForced: isForced,
            meter: ProgressMeter())
    }

    var listing: [[String: JSON]] {
        get throws {
            guard case .object(let document) = try JSON(parsing: parts["keys.json"] ?? []),
                case .array(let keys)? = document["keys"]
            else { return [] }
            return keys.map { if case .object(let members) = $0 { members } else { [:] } }
        }
    }
}

extension Examined {
    /// Of each key, by its id: the outcome of each check.
    var checks: [String: [String: String]] {
        guard case .array(let keys)? = details["keys"] else { return [:] }
        var result: [String: [String: String]] = [:]
        for case .object(let key) in keys {
            guard case .string(let id)? = key["keyId"], case .object(let checks)? = key["checks"] else { continue }
            result[id] = checks.compactMapValues { if case .string(let text) = $0 { text } else { nil } }
        }
        return result
    }

    func member(_ name: String, of id: String) -> JSON? {
        guard case .array(let keys)? = details["keys"] else { return nil }
        for case .object(let key) in keys where key["keyId"] == .string(id) { return key[name] }
        return nil
    }
}
