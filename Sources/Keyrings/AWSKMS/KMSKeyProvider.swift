package import AWS
package import Core

/// One key in AWS KMS: `kms:ARN`. What it wraps is what the AWS Encryption SDK's KMS keyring wraps: provider id
/// `aws-kms`, the key's ARN, and the blob of KMS.
///
/// Calls go to the region in the ARN. A multi-region key opens, in its own region, what any of its replicas has
/// wrapped. An alias is followed when it is used, so that it may be pointed at a new key; what the old one wrapped is
/// then opened by naming that one.
package struct KMSKeyProvider: KeyProvider {
    /// The key namespace of the AWS Encryption SDK.
    package static let providerID = "aws-kms"
    /// Seconds for one attempt.
    private static let deadline = 10.0
    private static let dataKeyLength = 32
    /// The longest blob that KMS takes, in bytes.
    private static let longestBlob = 6144

    package let capabilities: KeyCapabilities
    private let key: KMSKeyName
    private let client: AWSClient
    private let endpoint: AWSEndpoint
    /// The key that an alias or a bare id stands for, once that is known.
    private let resolved = Guarded<KMSKeyName?>(nil)

    /// `key` is the ARN of a key or an alias, or an alias' (`alias/clinic`) or a key's bare name in the configured
    /// region. Throws ``KMSKeyError`` where it is none of them, and ``AWSError`` where no region is known.
    package init(key: String, client: AWSClient, configuration: AWSConfiguration) throws {
        let name = "kms:\(key)"
        guard let key = KMSKeyName(key) else { throw KMSKeyError(.notAKeyName, key: name) }
        self.key = key
        self.client = client
        endpoint = try configuration.endpoint(for: .kms, region: key.region)
        capabilities = KeyCapabilities(name: name, canWrap: true, canUnwrap: true, isSymmetric: true)
    }

    package func generate(
        context: [String: String], random: RandomBytes
    ) async throws -> (dataKey: SecretBytes, wrapped: EncryptedDataKey) {
        let operation = "GenerateDataKey"
        let body = KMSMessages.request(
            ["KeyId": .string(key.text), "KeySpec": .string("AES_256")], context: context)
        return try await call(operation, body) { reply in
            guard let dataKey = KMSMessages.bytes("Plaintext", in: reply), dataKey.count == Self.dataKeyLength else {
                throw KMSKeyError(.unexpectedReply("no data key of 32 bytes"), operation, key: capabilities.name)
            }
            return (dataKey, try wrappedKey(in: reply, operation))
        }
    }

    package func wrap(_ dataKey: SecretBytes, context: [String: String]) async throws -> EncryptedDataKey {
        let operation = "Encrypt"
        let body = KMSMessages.request(
            ["KeyId": .string(key.text)], context: context, secret: (name: "Plaintext", bytes: dataKey))
        return try await call(operation, body) { try wrappedKey(in: $0, operation) }
    }

    package func unwrap(_ wrapped: EncryptedDataKey, context: [String: String]) async throws -> SecretBytes? {
        guard wrapped.providerID == Self.providerID,
            let wrapper = String(validating: wrapped.providerInfo, as: UTF8.self).flatMap({ KMSKeyName($0) }),
            wrapper.isKeyARN
        else { return nil }
        // KMS is asked what an alias stands for only where the answer may matter.
        guard couldBe(wrapper) else { return nil }
        let own = try await keyARN()
        guard own.isSameKey(as: wrapper) else { return nil }
        let operation = "Decrypt"
        guard (1...Self.longestBlob).contains(wrapped.ciphertext.count) else {
            throw KMSKeyError(.notABlob, operation, key: capabilities.name)
        }
        let body = KMSMessages.request(
            ["KeyId": .string(own.text), "CiphertextBlob": KMSMessages.base64(wrapped.ciphertext)], context: context)
        return try await call(operation, body) { reply in
            // KMS says which key has opened it, and the SDKs check that as well.
            guard KMSMessages.text("KeyId", in: reply) == own.text else {
                throw KMSKeyError(.otherKey, operation, key: capabilities.name)
            }
            guard let dataKey = KMSMessages.bytes("Plaintext", in: reply) else {
                throw KMSKeyError(.unexpectedReply("no data key"), operation, key: capabilities.name)
            }
            return dataKey
        }
    }

    /// Whether `wrapper` may be this key, as far as can be told without asking.
    private func couldBe(_ wrapper: KMSKeyName) -> Bool {
        if key.isKeyARN { return key.isSameKey(as: wrapper) }
        if !key.isAlias, key.resource != wrapper.resource { return false }
        return wrapper.isMultiRegion || wrapper.region == endpoint.region
    }

    /// The key's ARN; for an alias or a bare id KMS is asked, once.
    private func keyARN() async throws -> KMSKeyName {
        if key.isKeyARN { return key }
        if let known = resolved.value { return known }
        let operation = "DescribeKey"
        let body = KMSMessages.request(["KeyId": .string(key.text)])
        let arn = try await call(operation, body) { reply in
            guard let name = KMSMessages.describedKey(in: reply) else {
                throw KMSKeyError(.unexpectedReply("no key's ARN"), operation, key: capabilities.name)
            }
            return name
        }
        resolved.withLock { $0 = arn }
        return arn
    }

    /// The wrapped data key of a reply to GenerateDataKey or Encrypt. `KeyId` in it is the ARN of the key that was
    /// used, also where an alias was given.
    private func wrappedKey(in reply: [UInt8], _ operation: String) throws -> EncryptedDataKey {
        guard let arn = KMSMessages.text("KeyId", in: reply), let used = KMSKeyName(arn), used.isKeyARN else {
            throw KMSKeyError(.unexpectedReply("no key's ARN"), operation, key: capabilities.name)
        }
        guard !key.isKeyARN || key.text == used.text, key.isAlias || key.resource == used.resource else {
            throw KMSKeyError(.otherKey, operation, key: capabilities.name)
        }
        guard let blob = KMSMessages.bytes("CiphertextBlob", in: reply), blob.count <= Self.longestBlob else {
            throw KMSKeyError(.unexpectedReply("no wrapped data key"), operation, key: capabilities.name)
        }
        return EncryptedDataKey(
            providerID: Self.providerID, providerInfo: Array(arn.utf8), ciphertext: blob.withBytes { Array($0) })
    }

    /// Sends `body` and gives the reply to `read`, then wipes both.
    private func call<Result>(
        _ operation: String, _ body: Chunk, read: ([UInt8]) throws -> Result
    ) async throws -> Result {
        // By reference, so that what is wiped is what was sent and no copy of it.
        defer { wipe(UnsafeMutableRawBufferPointer(mutating: body.bytes)) }
        let request = AWSRequest.json(
            .kms, target: "TrentService", operation, on: capabilities.name, at: endpoint, body: .chunks([body]),
            deadline: Self.deadline)
        var answer: HTTPAnswer
        do {
            answer = try await client.send(request)
        } catch let error as AWSError {
            throw KMSKeyError.reading(error, operation, key: capabilities.name, region: endpoint.region)
        }
        defer { answer.body.withUnsafeMutableBytes { wipe($0) } }
        return try read(answer.body)
    }
}
