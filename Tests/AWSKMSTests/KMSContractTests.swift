import AWS
import AWSKMSKeyring
import Core
import Envelope
import Foundation
import TestSupport
import Testing

@Suite("AWS KMS, as moto plays it", .needs(MotoServer.part))
struct KMSContractTests {
    /// Wraps under one key in the name of another.
    private struct Impostor: KeyProvider {
        let wrapper: KMSKeyProvider
        let name: String

        var capabilities: KeyCapabilities { wrapper.capabilities }

        func wrap(_ dataKey: SecretBytes, context: [String: String]) async throws -> EncryptedDataKey {
            var wrapped = try await wrapper.wrap(dataKey, context: context)
            wrapped.providerInfo = Array(name.utf8)
            return wrapped
        }

        func unwrap(_ wrapped: EncryptedDataKey, context: [String: String]) async throws -> SecretBytes? { nil }
    }

    /// Shows the whole contract for each way in which a key can be named, and that nothing of the data keys is logged.
    @Test("Keeps the contract of key providers", arguments: ["ARN", "id", "alias", "alias ARN"])
    func contract(naming: String) async throws {
        try await withMoto { moto, kms in
            let arn = try await moto.createKey()
            let id = try #require(arn.split(separator: "/").last.map(String.init))
            let alias = "alias/contract-\(id)"
            try await moto.createAlias(alias, for: id)
            let name =
                switch naming {
                case "id": id
                case "alias": alias
                case "alias ARN": arn.replacing("key/\(id)", with: alias)
                default: arn
                }
            let other = try await kms.key(moto.createKey())
            try await keyProviderContract(
                identity: kms.key(name), stranger: other, impostor: Impostor(wrapper: other, name: arn),
                bindsContext: true)
            let key = Data(sampleKey).base64EncodedString()
            #expect(!kms.log.contains(key) && !kms.log.contains("verySecret"))
        }
    }

    /// Shows the form of the AWS Encryption SDK: the namespace, the key's ARN whatever it was called, the blob.
    @Test("What is wrapped names the key by its ARN")
    func form() async throws {
        try await withMoto { moto, kms in
            let arn = try await moto.createKey()
            let alias = "alias/form-\(UUID().uuidString)"
            try await moto.createAlias(alias, for: arn)
            let key = try kms.key(alias)
            #expect(key.capabilities.name == "kms:\(alias)")
            let wrapped = try await key.wrap(secret(sampleKey), context: sampleContext)
            #expect(wrapped.providerID == "aws-kms")
            #expect(wrapped.providerInfo == Array(arn.utf8))
            let made = try await key.generate(context: sampleContext) { [UInt8](repeating: 0, count: $0) }
            #expect(made.wrapped.providerInfo == Array(arn.utf8))
            #expect(made.dataKey.count == 32)
        }
    }

    /// Shows what becomes of an alias that is pointed at a new key: what the old key wrapped is not for the alias any
    /// longer, and opens by the old key's ARN.
    @Test("An alias that has moved")
    func movedAlias() async throws {
        try await withMoto { moto, kms in
            let old = try await moto.createKey()
            let alias = "alias/moved-\(UUID().uuidString)"
            try await moto.createAlias(alias, for: old)
            let wrapped = try await kms.key(alias).wrap(secret(sampleKey), context: sampleContext)
            try await moto.updateAlias(alias, to: try await moto.createKey())
            #expect(try await kms.key(alias).unwrap(wrapped, context: sampleContext) == nil)
            let opened = try await kms.key(old).unwrap(wrapped, context: sampleContext)
            #expect(opened.map(revealed) == sampleKey)
        }
    }

    /// Shows that keys of two regions are reached in theirs, whatever region is configured: a message for both opens
    /// with either.
    @Test("Keys of two regions")
    func regions() async throws {
        try await withMoto { moto, kms in
            let near = try await kms.key(moto.createKey(region: "eu-central-1"))
            let far = try await kms.key(moto.createKey(region: "us-west-2"))
            let plaintext = SeededRandom(seed: 5).firstBytes(10_000)
            let message = try await seal(plaintext, for: [near, far])
            #expect(try await open(message, with: [near]) == plaintext)
            #expect(try await open(message, with: [far]) == plaintext)
        }
    }

    @Test("A key and an alias that are not there")
    func missing() async throws {
        try await withMoto { _, kms in
            for name in [
                "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555", "alias/gone",
                "11111111-2222-3333-4444-555555555555",
            ] {
                let error = await #expect(throws: KMSKeyError.self) {
                    try await kms.key(name).wrap(secret(sampleKey), context: sampleContext)
                }
                #expect(error?.exitCode == .keys)
                #expect(error?.cause.contains("no such key or alias") == true)
                #expect(error?.object == "kms:\(name)")
            }
        }
    }
}

extension SeededRandom {
    fileprivate func firstBytes(_ count: Int) -> [UInt8] {
        var generator = self
        return generator.bytes(count)
    }
}
