import AWS
import AWSKMSKeyring
import Core
import Foundation
import LocalKeyring
import TestSupport
import Testing

@Suite("aws-encryption-cli, with AWS KMS alone", .needs(MotoServer.part), .needs(EncryptionCLI.part))
struct KMSInteropTests {
    /// Shows that a message for a KMS key and a local one is opened by the AWS program, which has the KMS key only and
    /// checks the encryption context.
    @Test("Opens what we seal", arguments: [0, 4096 * 2 + 17])
    func opensOurs(length: Int) async throws {
        try await withMoto { moto, kms in
            try await withScratchDirectory { directory in
                let arn = try await moto.createKey()
                try writeFile("\(directory)/clinic.key", hexText(0..<32))
                let local = try AESKeyProvider(path: "\(directory)/clinic.key")
                var generator = SeededRandom(seed: 11)
                let plaintext = generator.bytes(length)
                let remote = try kms.key(arn)
                let orders: [[any KeyProvider]] = [[remote, local], [local, remote]]
                for (index, recipients) in orders.enumerated() {
                    try writeFile("\(directory)/message\(index)", try await seal(plaintext, for: recipients))
                    try EncryptionCLI(moto: moto).run([
                        "--decrypt", "--input", "\(directory)/message\(index)", "--output",
                        "\(directory)/out\(index)",
                        "--wrapping-keys", "provider=aws-kms", "key=\(arn)", "--suppress-metadata",
                        "--encryption-context", "lifeboat-target=clinic", "--commitment-policy",
                        "require-encrypt-require-decrypt",
                    ])
                    #expect(try contentsOfFile("\(directory)/out\(index)") == plaintext)
                }
                // The program passes over what does not fit, and says so in its log only.
                try EncryptionCLI(moto: moto).run([
                    "--decrypt", "--input", "\(directory)/message0", "--output", "\(directory)/none",
                    "--wrapping-keys", "provider=aws-kms", "key=\(arn)", "--suppress-metadata",
                    "--encryption-context", "lifeboat-target=other",
                ])
                #expect(!FileManager.default.fileExists(atPath: "\(directory)/none"), "another encryption context")
            }
        }
    }

    /// Shows the other way round, for a key of this region and for two keys of different regions.
    @Test("Seals what we open")
    func weOpen() async throws {
        try await withMoto { moto, kms in
            try await withScratchDirectory { directory in
                let near = try await moto.createKey()
                let far = try await moto.createKey(region: "us-west-2")
                var generator = SeededRandom(seed: 12)
                let plaintext = generator.bytes(10_000)
                try writeFile("\(directory)/in", plaintext)
                try EncryptionCLI(moto: moto).run([
                    "--encrypt", "--input", "\(directory)/in", "--output", "\(directory)/message", "--wrapping-keys",
                    "provider=aws-kms", "key=\(near)", "key=\(far)", "--suppress-metadata", "--encryption-context",
                    "lifeboat-target=clinic", "--algorithm", "AES_256_GCM_HKDF_SHA512_COMMIT_KEY",
                    "--frame-length", "4096",
                ])
                let message = try contentsOfFile("\(directory)/message")
                #expect(try await open(message, with: [kms.key(near)]) == plaintext)
                #expect(try await open(message, with: [kms.key(far)]) == plaintext)
            }
        }
    }
}
