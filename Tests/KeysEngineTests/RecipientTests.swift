import Core
import CryptoExtras
import LocalKeyring
import RSAKeyring
import TestSupport
import Testing

@testable import KeysEngine

func aes(_ path: String) throws -> any KeyProvider { try AESKeyProvider(path: path) }

@Suite("Recipients among the keys")
struct RecipientTests {
    private let secret = [UInt8](repeating: 0xC1, count: 32)

    /// The only recipient's key lies in the directory, under whatever name and in whatever form: nothing is stored.
    @Test(arguments: ["hex", "base64", "raw"])
    func refusesTheOnlyRecipient(form: String) async throws {
        try await withKeys { keys, elsewhere in
            try writeFile(elsewhere + "/clinic.key", hexText(secret))
            var base64: [UInt8] = []
            secret.withUnsafeBytes { appendBase64($0, to: &base64) }
            try keys.put(
                "harmless.bin", form == "raw" ? secret : form == "hex" ? Array(hexText(secret).utf8) : base64)
            let engine = keys.engine([try aes(elsewhere + "/clinic.key")])
            let found = try await failure { try await engine.take() }
            #expect(found.kind == .recipients && found.exitCode == .keys)
            #expect(found.cause.contains("aes:clinic in harmless.bin"))
        }
    }

    /// An RSA recipient is found by its private key; the public one opens nothing, and may lie there.
    @Test func knowsPrivateFromPublic() async throws {
        try await withKeys { keys, elsewhere in
            let key = try _RSA.Encryption.PrivateKey(keySize: .bits2048)
            try writeFile(elsewhere + "/escrow.pem", key.publicKey.pemRepresentation)
            let recipient = try RSAKeyProvider(path: elsewhere + "/escrow.pem")
            try keys.put("public.pem", key.publicKey.pemRepresentation)
            let set = try await keys.engine([recipient]).take()
            #expect(set.facts.exceptions.isEmpty && set.facts.details["recipients"] == "rsa:escrow")
            try keys.put("private.pem", key.pemRepresentation)
            let found = try await failure { try await keys.engine([recipient]).take() }
            #expect(found.cause.contains("rsa:escrow in private.pem"))
        }
    }

    /// With another recipient whose key is elsewhere the set is stored, and says what it is worth. A key of the same
    /// name that is another key is no reason.
    @Test func notesSomeOfSeveral() async throws {
        try await withKeys { keys, elsewhere in
            try writeFile(elsewhere + "/clinic.key", hexText(secret))
            try writeFile(elsewhere + "/escrow.key", hexText([UInt8](repeating: 0xC2, count: 32)))
            let recipients = [try aes(elsewhere + "/clinic.key"), try aes(elsewhere + "/escrow.key")]
            try keys.put("escrow.key", hexText([UInt8](repeating: 0xC3, count: 32)))
            #expect(try await keys.engine(recipients).take().facts.exceptions.isEmpty)
            try keys.put("a.key", hexText(secret))
            let set = try await keys.engine(recipients).take()
            #expect(set.facts.exceptions.count == 1 && set.facts.exceptions[0].contains("aes:clinic"))
            try keys.put("escrow.key", hexText([UInt8](repeating: 0xC2, count: 32)))
            let found = try await failure { try await keys.engine(recipients).take() }
            #expect(found.cause.contains("aes:clinic in a.key, aes:escrow in escrow.key"))
        }
    }
}
