import Core
import Foundation
import Glibc
import PKCS11Keyring
import TestSupport
import Testing

/// SoftHSM2 with tokens of its own, the same for all tests of the process: its one configuration is an environment
/// variable, read when the module is first used.
final class SoftHSM: Sendable {
    static let module = "/usr/lib/softhsm/libsofthsm2.so"
    static let pin = "quince-4711"
    static let part = RealPart(
        "SoftHSM2 with pkcs11-tool and a C compiler",
        isPresent: access(module, R_OK) == 0 && RealPart.program("softhsm2-util").isPresent
            && RealPart.program("pkcs11-tool").isPresent && RealPart.program("cc").isPresent)

    /// Made by the first test that wants it.
    static let shared: Result<SoftHSM, any Error> = Result { try SoftHSM() }

    let directory: String
    /// A known AES key, as it lies in a file beside the token.
    let knownKey: String
    let modules = PKCS11Modules()

    private init() throws {
        // SoftHSM's own end may come after OpenSSL's, which it needs, and would end a run that passed with a signal.
        on_exit(
            { status, _ in
                fflush(nil)
                _exit(status)
            }, nil)
        directory = try ServerGuardian.makeDirectory("lifeboat-hsm")
        knownKey = "\(directory)/known.bin"
        try FileManager.default.createDirectory(atPath: "\(directory)/tokens", withIntermediateDirectories: false)
        try writeFile(
            "\(directory)/softhsm2.conf",
            "directories.tokendir = \(directory)/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
        setenv("SOFTHSM2_CONF", "\(directory)/softhsm2.conf", 1)
        // The directory outlives every test and goes with the process, however that ends.
        try Self.removeAtExit(directory)
        try makeTokens()
        try run(
            "cc",
            [
                "-shared", "-fPIC", "-O1", "-DREAL_MODULE=\"\(Self.module)\"", "-o", "\(directory)/faulty.so",
                "\(repositoryRoot)/Tests/PKCS11Tests/Module/faulty.c",
            ])
    }

    private func makeTokens() throws {
        for label in ["clinic", "other", "doomed", "bare", "twin", "twin"] {
            try run(
                "softhsm2-util", ["--init-token", "--free", "--label", label, "--pin", Self.pin, "--so-pin", "5678"])
        }
        for token in ["clinic", "other", "doomed"] {
            try tool(token, ["--keygen", "--key-type", "AES:32", "--label", "kek", "--id", "01", "--sensitive"])
        }
        for token in ["clinic", "other"] {
            try tool(token, ["--keypairgen", "--key-type", "RSA:2048", "--label", "pair", "--id", "02"])
        }
        try tool("clinic", ["--keygen", "--key-type", "AES:32", "--label", "kek2", "--id", "03", "--sensitive"])
        try tool("clinic", ["--keypairgen", "--key-type", "RSA:2048", "--label", "pair2", "--id", "04"])
        try tool("clinic", ["--keygen", "--key-type", "AES:32", "--label", "loose", "--id", "05", "--extractable"])
        try tool("clinic", ["--keygen", "--key-type", "AES:16", "--label", "short", "--id", "06", "--sensitive"])
        for id in ["07", "08"] {
            try tool("clinic", ["--keygen", "--key-type", "AES:32", "--label", "double", "--id", id, "--sensitive"])
        }
        try writeFile(knownKey, (0..<32).map { UInt8($0 * 7 + 3) })
        try tool(
            "clinic",
            [
                "--write-object", knownKey, "--type", "secrkey", "--key-type", "AES:32", "--label", "known", "--id",
                "09", "--sensitive",
            ])
        try run(
            "softhsm2-util",
            [
                "--import", "\(repositoryRoot)/Tests/EnvelopeTests/Fixtures/rsa-private.pem", "--token", "clinic",
                "--label", "known-pair", "--id", "0A", "--pin", Self.pin,
            ])
    }

    private static func removeAtExit(_ directory: String) throws {
        let process = Process()
        process.executableURL = URL(filePath: "/bin/sh")
        process.arguments = ["-c", "read -r _; rm -rf \"$0\"", directory]
        // A pipe whose writing end only this process has: it closes when the process is gone.
        process.standardInput = Pipe()
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        guardian.withLock { $0 = process }
    }

    private static let guardian = Guarded<Process?>(nil)

    private func tool(_ token: String, _ arguments: [String]) throws {
        try run(
            "pkcs11-tool",
            ["--module", Self.module, "--token-label", token, "--login", "--pin", Self.pin] + arguments)
    }

    private func run(_ program: String, _ arguments: [String]) throws {
        let ended = try runProgram("/usr/bin/env", [program] + arguments)
        guard ended.status == 0 else { throw TestFailure("\(program): \(ended.output)") }
    }

    /// A key by the URI after `pkcs11:`.
    func key(
        _ uri: String, pin: Secret? = Secret(SoftHSM.pin), module: String = SoftHSM.module,
        modules: PKCS11Modules? = nil, timeLimit: Double = 30,
        now: Timestamp = Timestamp(milliseconds: 1_760_000_000_000)
    ) throws -> PKCS11KeyProvider {
        PKCS11KeyProvider(
            uri: try PKCS11URI(parsing: "pkcs11:\(uri)"), pin: pin, module: module, modules: modules ?? self.modules,
            timeLimit: timeLimit, sleep: { try await Task.sleep(for: .seconds($0)) }, now: { now })
    }

    /// A module of its own that does what ``FaultyModule/fault(_:)`` says.
    func faulty() throws -> FaultyModule {
        let path = "\(directory)/faulty-\(UUID().uuidString).so"
        try FileManager.default.copyItem(atPath: "\(directory)/faulty.so", toPath: path)
        return FaultyModule(path: path)
    }
}

struct FaultyModule {
    let path: String

    func fault(_ name: String) throws { try writeFile(path + ".fault", name) }

    /// How often a PIN was tried.
    var logins: Int {
        get throws {
            guard access(path + ".logins", F_OK) == 0 else { return 0 }
            return try contentsOfFile(path + ".logins").count { $0 == UInt8(ascii: "\n") }
        }
    }
}

let dataKey = Array(repeating: UInt8(0xA7), count: 32).withUnsafeBytes { SecretBytes($0) }
let context = ["lifeboat-set": "daily/backup-2025-01-15T07-00-00-000Z", "lifeboat-target": "clinic"]

func revealed(_ secret: SecretBytes?) -> [UInt8]? { secret.map { $0.withBytes { Array($0) } } }

/// The error of this problem, which shows no PIN.
@discardableResult
func expectProblem<Value>(
    _ problem: PKCS11Error.Problem, _ comment: String = "", _ body: () async throws -> Value
) async -> PKCS11Error? {
    do {
        _ = try await body()
        Issue.record("it was done: \(problem) \(comment)")
        return nil
    } catch let error as PKCS11Error {
        #expect(error.problem == problem, "\(comment)")
        #expect(!"\(error) \(error.hint)".contains("quince"), "\(comment)")
        #expect(!error.hint.isEmpty)
        return error
    } catch {
        Issue.record("\(error) in place of \(problem) \(comment)")
        return nil
    }
}
