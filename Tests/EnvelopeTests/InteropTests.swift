import Core
import Envelope
import Foundation
import LocalKeyring
import RSAKeyring
import TestSupport
import Testing

/// One version of the AWS Encryption SDK for Python, in an environment of its own that `scripts/python-env` makes.
struct PythonSDK: Sendable, CustomTestStringConvertible {
    let version: String
    var testDescription: String { "aws-encryption-sdk \(version)" }

    static let all = [PythonSDK(version: "3.3.1"), PythonSDK(version: "4.0.7")]

    static let part = RealPart(
        "aws-encryption-sdk 3.3.1 and 4.0.7, made by scripts/python-env", isPresent: all.allSatisfy(\.isInstalled))

    private var directory: URL {
        Repository.root.appendingPathComponent(".cache/python/aws-encryption-sdk-\(version)")
    }

    private var isInstalled: Bool {
        FileManager.default.fileExists(atPath: directory.appendingPathComponent(".complete").path)
    }

    func run(_ arguments: [String], input: [UInt8]) throws -> [UInt8] {
        try #require(
            isInstalled,
            "run scripts/python-env aws-encryption-sdk-\(version) aws-encryption-sdk==\(version) before the tests")
        return try EnvelopeTests.run(
            directory.appendingPathComponent("bin/python").path, arguments, input: input)
    }
}

/// Runs a program and gives back its output; one that fails throws with what it said.
@discardableResult
func run(_ program: String, _ arguments: [String], input: [UInt8] = []) throws -> [UInt8] {
    // Files in place of pipes: nothing has to be read while it is written.
    let directory = try KeyDirectory()
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [program] + arguments
    process.standardInput = try FileHandle(forReadingFrom: URL(fileURLWithPath: directory.write("in", input)))
    let output = URL(fileURLWithPath: try directory.write("out", []))
    let errors = URL(fileURLWithPath: try directory.write("err", []))
    process.standardOutput = try FileHandle(forWritingTo: output)
    process.standardError = try FileHandle(forWritingTo: errors)
    try process.run()
    process.waitUntilExit()
    struct ProgramFailed: Error { var program, errors: String }
    guard process.terminationStatus == 0 else {
        throw ProgramFailed(program: program, errors: try String(contentsOf: errors, encoding: .utf8))
    }
    return Array(try Data(contentsOf: output))
}

@Suite(
    "The AWS Encryption SDK for Python, on the other side", .needs(PythonSDK.part))
struct InteropTests {
    private let directory: KeyDirectory
    private let aesFile: String
    private let privateFile: String
    private let publicFile: String
    private let recipients: [any KeyProvider]

    init() throws {
        directory = try KeyDirectory()
        aesFile = try directory.write("clinic.key", "\(hexText(0..<32))\n".utf8)
        privateFile = try directory.write(
            "private/escrow.pem", Data(contentsOf: Repository.fixture("rsa-private.pem")))
        publicFile = try directory.write(
            "public/escrow.pem", Data(contentsOf: Repository.fixture("rsa-public.pem")))
        recipients = [try AESKeyProvider(path: aesFile), try RSAKeyProvider(path: publicFile)]
    }

    /// The lines that `docs/message-format.md` gives its readers, as a file.
    private func documentedScript() throws -> String {
        let page = try String(
            contentsOf: Repository.root.appendingPathComponent("docs/message-format.md"), encoding: .utf8)
        let blocks = page.components(separatedBy: "```python\n").dropFirst()
        try #require(blocks.count == 1, "the page has one script")
        let script = try #require(blocks.first?.components(separatedBy: "\n```").first)
        return try directory.write("open.py", script.utf8)
    }

    @Test(
        "Opens what we seal, with the AES and with the RSA key, by the script in the documentation",
        arguments: PythonSDK.all, [4096, 1 << 20])
    func pythonOpensOurs(sdk: PythonSDK, frameLength: Int) async throws {
        let script = try documentedScript()
        var generator = SeededRandom(seed: 40)
        let contexts = [sampleContext, [:], ["\u{FFEE}": "Ärzte", "\u{1F691}": "", "Z": "1", "a": "2"]]
        for (index, length) in [0, frameLength, frameLength * 2 + 17].enumerated() {
            let plaintext = generator.bytes(length)
            let sample = try await Sample(frameLength: frameLength, context: contexts[index]).sealed(for: recipients)
            let message = try sample.message(plaintext)
            for key in ["aes:\(aesFile)", "rsa:\(privateFile)"] {
                let opened = try sdk.run([script, key], input: message)
                #expect(opened == plaintext, "\(key), \(length) bytes")
            }
        }
    }

    @Test(
        "Seals what we open, for the AES key and for the RSA key, with contexts and without",
        arguments: PythonSDK.all, [4096, 1 << 20])
    func weOpenPythons(sdk: PythonSDK, frameLength: Int) async throws {
        let script = Repository.root.appendingPathComponent("Tests/EnvelopeTests/Python/seal.py").path
        let clinic = try AESKeyProvider(path: aesFile)
        let escrow = try RSAKeyProvider(path: privateFile)
        var generator = SeededRandom(seed: 41)
        let cases: [(length: Int, context: String, key: String, identity: any KeyProvider)] = [
            (0, "{}", "aes:\(aesFile)", clinic),
            (frameLength * 2, #"{"lifeboat-target": "clinic"}"#, "rsa:\(publicFile)", escrow),
            (frameLength + 1, #"{"b": "\u00c4", "\ud83d\ude91": "1", "\uffee": "2"}"#, "aes:\(aesFile)", clinic),
            (frameLength - 1, "{}", "rsa:\(publicFile)", escrow),
        ]
        for (length, context, key, identity) in cases {
            let plaintext = generator.bytes(length)
            let message = try sdk.run([script, "\(frameLength)", context, key], input: plaintext)
            #expect(try await open(message, with: [identity]) == plaintext, "\(length) bytes, \(key)")
        }
    }

    @Test("Refuses what we refuse: a changed byte in a frame", arguments: PythonSDK.all)
    func pythonRefuses(sdk: PythonSDK) async throws {
        let script = try documentedScript()
        let sample = try await Sample(frameLength: 128).sealed(for: recipients)
        var message = try sample.message([UInt8](repeating: 7, count: 300))
        message[message.count - 20] ^= 1
        #expect(throws: (any Error).self) { try sdk.run([script, "aes:\(aesFile)"], input: message) }
    }
}
