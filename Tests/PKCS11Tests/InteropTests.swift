import Core
import Envelope
import Foundation
import PKCS11Keyring
import TestSupport
import Testing

extension WithSoftHSM {
    /// The AWS Encryption SDK for Python, with the keys that were put into the token.
    @Suite("What a token seals, on the other side", .needs(PythonSide.part))
    struct InteropTests {
        private let hsm: SoftHSM

        init() throws { hsm = try SoftHSM.shared.get() }

        @Test(
            "Messages under an AES and an RSA key in a token open with the raw keys, and the other way round",
            arguments: [("known", "pkcs11", "aes"), ("known-pair", "pkcs11-rsa-oaep-sha1", "rsa")])
        func bothWays(_ name: String, _ namespace: String, _ kind: String) async throws {
            let key = try hsm.key("token=clinic;object=\(name)")
            let made = try await makeDataKey(
                for: [key], context: context, random: { Array(repeating: 5, count: $0) })
            #expect(made.wrapped[0].providerID == namespace)
            var writer = try MessageWriter(
                dataKey: made.dataKey,
                parameters: MessageParameters(
                    messageID: patternBytes(32), context: context, dataKeys: made.wrapped, frameLength: 4096))
            let plaintext = patternBytes(5000)
            let (first, last) = (Chunk(plaintext[..<4096]), Chunk(plaintext[4096...]))
            var message = writer.header
            let frame = try writer.seal(first.bytes)
            message += Array(frame.bytes)
            let final = try writer.finish(last.bytes)
            message += Array(final.bytes)

            let fixtures = "\(repositoryRoot)/Tests/EnvelopeTests/Fixtures"
            let (secret, open) =
                kind == "aes"
                ? ("aes:\(hsm.knownKey)", "aes:\(hsm.knownKey)")
                : ("rsa:\(fixtures)/rsa-private.pem", "rsa:\(fixtures)/rsa-public.pem")
            #expect(
                try PythonSide.run(["open", namespace, name, secret, "{}"], message, in: hsm.directory) == plaintext)

            let theirs = try PythonSide.run(
                ["seal", namespace, name, open, #"{"lifeboat-target": "clinic"}"#], plaintext, in: hsm.directory)
            let header = try #require(try MessageHeader.parse(theirs))
            let opened = try await openDataKey(header.dataKeys, context: header.context, with: [key])
            var reader = try MessageReader(header: header, dataKey: opened)
            var back: [UInt8] = []
            let rest = Chunk(theirs.dropFirst(header.length))
            try reader.update(rest.bytes) { back += Array($0.bytes) }
            try reader.finish()
            #expect(back == plaintext)
        }
    }
}

enum PythonSide {
    private static let environment = "\(repositoryRoot)/.cache/python/aws-encryption-sdk-4.0.7"
    static let part = RealPart(
        "aws-encryption-sdk 4.0.7, made by scripts/python-env",
        isPresent: FileManager.default.fileExists(atPath: "\(environment)/.complete"))

    static func run(_ arguments: [String], _ input: [UInt8], in directory: String) throws -> [UInt8] {
        let base = "\(directory)/python-\(UUID().uuidString)"
        try writeFile(base + ".in", input)
        let script = "\(repositoryRoot)/Tests/PKCS11Tests/Python/other_side.py"
        let ended = try runProgram(
            "/bin/sh",
            ["-c", "exec \"$0\" \"$@\" < \(base).in > \(base).out", "\(environment)/bin/python", script] + arguments)
        guard ended.status == 0 else { throw TestFailure("the other side: \(ended.output)") }
        return try contentsOfFile(base + ".out")
    }
}
