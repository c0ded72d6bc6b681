import AWS
import AWSKMSKeyring
import Core
import Envelope
import Foundation
import TestSupport
import Testing

/// Answers that moto does not give, written from the AWS KMS API reference.
@Suite("AWS KMS, its other answers")
struct KMSAnswerTests {
    private static let arn = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    private static let multiRegion = "arn:aws:kms:eu-central-1:123456789012:key/mrk-1234abcd12ab34cd56ef1234567890ab"
    private static let blob = [UInt8](repeating: 9, count: 184)

    private static func wrapped(_ arn: String) -> EncryptedDataKey {
        EncryptedDataKey(providerID: "aws-kms", providerInfo: Array(arn.utf8), ciphertext: blob)
    }

    private static func reply(key arn: String, more: String = "") -> StubReply {
        .ok(
            #"{"KeyId": "\#(arn)", "Plaintext": "\#(Data(sampleKey).base64EncodedString())", "#
                + #""CiphertextBlob": "\#(Data(blob).base64EncodedString())"\#(more)}"#)
    }

    /// Shows each refusal at each of the three calls: exit code 12, the key's name, words of its own and advice, after
    /// one attempt where trying again is of no use.
    @Test(
        "Refusals",
        arguments: [
            ("DisabledException", "is disabled", "enable-key"),
            ("KMSInvalidStateException", "pending deletion", "cancel-key-deletion"),
            ("NotFoundException", "no such key", "check the ARN"),
            ("AccessDeniedException", "may not use the key", "allow kms:"),
            ("IncorrectKeyException", "another key", "another copy"),
            ("InvalidCiphertextException", "does not open", "another copy"),
            ("InvalidKeyUsageException", "not one for encryption", "ENCRYPT_DECRYPT"),
            ("StrangeException", "refuses the call", ""),
        ])
    func refusals(code: String, cause: String, advice: String) async throws {
        try await withStub { _ in
            .jsonError(400, code, "words that quote hunter2")
        } _: { server, kms in
            let key = try kms.key(Self.arn)
            let attempts: [() async throws -> Void] = [
                { _ = try await key.generate(context: sampleContext) { [UInt8](repeating: 0, count: $0) } },
                { _ = try await key.wrap(secret(sampleKey), context: sampleContext) },
                { _ = try await key.unwrap(Self.wrapped(Self.arn), context: sampleContext) },
            ]
            for attempt in attempts {
                let error = try #require(await #expect(throws: KMSKeyError.self) { try await attempt() })
                #expect(error.exitCode == .keys)
                #expect(error.object == "kms:\(Self.arn)")
                #expect(error.cause.contains(cause) && error.cause.contains(code))
                #expect(advice.isEmpty ? !error.hint.isEmpty : error.hint.contains(advice))
                #expect(!"\(error)\(error.hint)\(kms.log)".contains("hunter2"))
            }
            #expect(server.requests.count == 3)
        }
    }

    /// Shows a backup for a key that is disabled: an error that names the key, and no message.
    @Test("A disabled recipient fails the sealing by name")
    func disabledRecipient() async throws {
        try await withStub { _ in
            .jsonError(400, "DisabledException")
        } _: { _, kms in
            let key = try kms.key(Self.arn)
            let error = await #expect(throws: EnvelopeError.self) { try await seal([1, 2, 3], for: [key]) }
            guard case .recipientFailed(let name, let reason, _) = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(name == "kms:\(Self.arn)")
            #expect(reason.contains("is disabled"))
        }
    }

    /// Shows opening with a disabled key and a good one beside it: the next identity opens. Without it, the reason is
    /// in the error.
    @Test("A disabled identity leaves the opening to the next, and its reason is kept")
    func disabledIdentity() async throws {
        let other = Self.arn.replacing("1234abcd-", with: "99999999-")
        try await withStub { request in
            request.bodyText.contains("99999999-") ? Self.reply(key: other) : .jsonError(400, "DisabledException")
        } _: { _, kms in
            let keys = [Self.wrapped(Self.arn), Self.wrapped(other)]
            let identities = try [kms.key(Self.arn), kms.key(other)]
            let opened = try await openDataKey(keys, context: sampleContext, with: identities)
            #expect(revealed(opened) == sampleKey)
            let error = await #expect(throws: EnvelopeError.self) {
                try await openDataKey(keys, context: sampleContext, with: [identities[0]])
            }
            #expect(error.map { "\($0)" }?.contains("is disabled") == true)
        }
    }

    /// Shows a multi-region key: what the replica in Ireland has wrapped is opened by the one in Frankfurt, asked by
    /// its own ARN and signed for its own region.
    @Test("A multi-region key opens what its replica has wrapped")
    func replica() async throws {
        try await withStub { _ in
            Self.reply(key: Self.multiRegion)
        } _: { server, kms in
            let replica = Self.multiRegion.replacing("eu-central-1", with: "eu-west-1")
            let opened = try await kms.key(Self.multiRegion).unwrap(Self.wrapped(replica), context: sampleContext)
            #expect(opened.map(revealed) == sampleKey)
            let request = try #require(server.requests.first)
            #expect(request.amzTarget == "TrentService.Decrypt")
            #expect(try members(request)["KeyId"] == .string(Self.multiRegion))
            #expect(request.headers["Authorization"]?.contains("/eu-central-1/kms/aws4_request") == true)
        }
    }

    /// Shows what is another key's: nothing is asked about it.
    @Test("Other keys are left alone, without a call")
    func others() async throws {
        try await withStub { _ in
            Self.reply(key: Self.arn)
        } _: { server, kms in
            let key = try kms.key(Self.arn)
            let multiRegion = try kms.key(Self.multiRegion)
            for name in [
                Self.arn.replacing("eu-central-1", with: "eu-west-1"), Self.arn + "x", String(Self.arn.dropLast()),
                Self.arn.replacing("123456789012", with: "210987654321"), Self.arn.replacing("aws:", with: "aws-cn:"),
                Self.multiRegion + "0", Self.multiRegion.replacing("123456789012", with: "210987654321"),
                Self.arn.replacing("key/", with: "alias/"), "1234abcd-12ab-34cd-56ef-1234567890ab", "", "\u{0}",
            ] {
                #expect(try await key.unwrap(Self.wrapped(name), context: [:]) == nil, "\(name)")
                #expect(try await multiRegion.unwrap(Self.wrapped(name), context: [:]) == nil, "\(name)")
            }
            var foreign = Self.wrapped(Self.arn)
            foreign.providerID = "lifeboat"
            #expect(try await key.unwrap(foreign, context: [:]) == nil)
            // An id in the configured region is not asked about what another region's key has wrapped.
            let bare = try kms.key("1234abcd-12ab-34cd-56ef-1234567890ab")
            let far = Self.arn.replacing("eu-central-1", with: "eu-west-1")
            #expect(try await bare.unwrap(Self.wrapped(far), context: [:]) == nil)
            #expect(server.requests.isEmpty)
        }
    }

    @Test("A key in a region that is down")
    func regionDown() async throws {
        let transport = FakeTransport { _ in throw TransportError(.connect, "the connection was refused") }
        let kms = try KMSFixture(url: nil, transport: transport)
        let key = try kms.key(Self.arn.replacing("eu-central-1", with: "us-west-2"))
        let error = await #expect(throws: KMSKeyError.self) {
            try await key.wrap(secret(sampleKey), context: sampleContext)
        }
        #expect(error?.exitCode == .keys)
        #expect(error?.cause.contains("us-west-2") == true)
        #expect(error?.hint.contains("another region") == true)
        #expect(transport.urls.allSatisfy { $0 == "https://kms.us-west-2.amazonaws.com/" })
        #expect(transport.urls.count == 2)
    }

    /// Shows the requests as the documentation has them, with the encryption context, and the data key in base64.
    @Test("What goes over the wire")
    func wire() async throws {
        try await withStub { _ in
            Self.reply(key: Self.arn)
        } _: { server, kms in
            let key = try kms.key(Self.arn)
            _ = try await key.generate(context: sampleContext) { [UInt8](repeating: 0, count: $0) }
            _ = try await key.wrap(secret(sampleKey), context: sampleContext)
            _ = try await key.wrap(secret(sampleKey), context: [:])
            _ = try await key.unwrap(Self.wrapped(Self.arn), context: sampleContext)
            let context = JSON.object(sampleContext.mapValues { .string($0) })
            let plaintext = JSON.string(Data(sampleKey).base64EncodedString())
            let blob = JSON.string(Data(Self.blob).base64EncodedString())
            let expected: [(target: String, members: [String: JSON])] = [
                ("GenerateDataKey", ["KeySpec": .string("AES_256"), "EncryptionContext": context]),
                ("Encrypt", ["Plaintext": plaintext, "EncryptionContext": context]),
                ("Encrypt", ["Plaintext": plaintext]),
                ("Decrypt", ["CiphertextBlob": blob, "EncryptionContext": context]),
            ]
            #expect(server.requests.map(\.amzTarget) == expected.map { "TrentService.\($0.target)" })
            for (request, (_, wanted)) in zip(server.requests, expected) {
                #expect(try members(request) == wanted.merging(["KeyId": .string(Self.arn)]) { first, _ in first })
                #expect(request.headers["Content-Type"] == "application/x-amz-json-1.1")
            }
        }
    }

    /// Shows that an answer is only believed where it is whole and for the key that was named. The first ones are in
    /// order, however they are written.
    @Test(
        "Answers that are not what was asked for",
        arguments: [
            (#"{"Plaintext":"KEY","KeyId":"ARN","CiphertextBlob":"BLOB"}"#, true),
            (
                #" { "X": {"Plaintext": "AAAA", "KeyId": "y"}, "S": "\"Plaintext\":", "N": [1, "Plaintext", 2.5e3], "#
                    + #""KeyId" : "ARN" , "Plaintext" : "KEY" , "CiphertextBlob" : "BLOB" } "#, true
            ),
            (#"{"Plaintext":"KEY","KeyId":"OTHER","CiphertextBlob":"BLOB"}"#, false),
            (#"{"Plaintext":"KEY","CiphertextBlob":"BLOB"}"#, false), (#"{"KeyId":"ARN"}"#, false),
            (#"{"KeyId":"ARN","Plaintext":"","CiphertextBlob":""}"#, false),
            (#"{"KeyId":"ARN","Plaintext":"KEY!","CiphertextBlob":"BLOB!"}"#, false),
            (#"{"KeyId":"ARN","X":{"Plaintext":"KEY","CiphertextBlob":"BLOB"}}"#, false),
            (#"{"KeyId":"ARN","Plaintext":5,"CiphertextBlob":null}"#, false),
            (#"{"KeyId":"ARN","Plaintext":"#, false),
            ("", false), ("[]", false), ("hello", false), (#""Plaintext""#, false), (#"{"Plaintext\"#, false),
        ])
    func answers(template: String, isGood: Bool) async throws {
        let reply = template.replacing("KEY", with: Data(sampleKey).base64EncodedString())
            .replacing("ARN", with: Self.arn).replacing("BLOB", with: Data(Self.blob).base64EncodedString())
            .replacing("OTHER", with: Self.arn.replacing("1234abcd-", with: "99999999-"))
        try await withStub { _ in
            .ok(reply)
        } _: { _, kms in
            let key = try kms.key(Self.arn)
            let random: RandomBytes = { [UInt8](repeating: 0, count: $0) }
            if isGood {
                let made = try await key.generate(context: [:], random: random)
                #expect(revealed(made.dataKey) == sampleKey)
                #expect(made.wrapped == Self.wrapped(Self.arn))
                #expect(try await key.wrap(secret(sampleKey), context: [:]) == made.wrapped)
                #expect(try await key.unwrap(made.wrapped, context: [:]).map(revealed) == sampleKey)
            } else {
                for attempt in [
                    { _ = try await key.generate(context: [:], random: random) },
                    { _ = try await key.wrap(secret(sampleKey), context: [:]) },
                    { _ = try await key.unwrap(Self.wrapped(Self.arn), context: [:]) },
                ] as [() async throws -> Void] {
                    let error = await #expect(throws: KMSKeyError.self) { try await attempt() }
                    #expect(error?.exitCode == .keys)
                    #expect(error.map { "\($0)" }?.contains(Data(sampleKey).base64EncodedString()) == false)
                }
            }
        }
    }

    @Test(
        "What names no key is a mistake in the configuration",
        arguments: [
            "", "alias/", "arn:aws:kms:eu-central-1:123456789012:key/", "arn:aws:s3:::bucket", "alias/clinic key",
            "arn:aws:kms::123456789012:key/1", "arn:aws:kms:eu-central-1::key/1", "*", "key/1234", "1234/5678",
            "arn:aws:kms:eu-central-1:123456789012:grant/1", "arn:aws:kms:eu central-1:123456789012:key/1",
        ])
    func names(name: String) throws {
        let kms = try KMSFixture(url: "http://127.0.0.1:1", transport: FakeTransport { _ in HTTPAnswer(status: 500) })
        let error = #expect(throws: KMSKeyError.self) { try kms.key(name) }
        #expect(error?.exitCode == .configuration)
    }

    @Test("An alias without a region to look in")
    func noRegion() throws {
        let transport = FakeTransport { _ in HTTPAnswer(status: 500) }
        let kms = try KMSFixture(url: nil, transport: transport, region: nil)
        let error = #expect(throws: AWSError.self) { try kms.key("alias/clinic") }
        #expect(error?.exitCode == .configuration)
        _ = try kms.key(Self.arn)
    }
}

/// A transport without a network.
private final class FakeTransport: HTTPTransport {
    private let log = Guarded<[String]>([])
    private let script: @Sendable (HTTPCall) throws -> HTTPAnswer

    init(_ script: @escaping @Sendable (HTTPCall) throws -> HTTPAnswer) { self.script = script }

    var urls: [String] { log.value }

    func exchange(
        _ call: HTTPCall, take: (@Sendable (UnsafeRawBufferPointer) throws -> Void)?
    ) async throws -> HTTPAnswer {
        log.withLock { $0.append(call.url) }
        return try script(call)
    }
}
