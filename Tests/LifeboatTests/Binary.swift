import Core
import Glibc
import Subprocess
import SystemPackage
import TestSupport
import Testing

/// The built program, run as its users run it.
struct Binary {
    /// What the process left behind when it ended.
    struct Ended: CustomStringConvertible {
        var status: TerminationStatus
        var output: String
        var log: String

        var description: String { "\(status)\nstdout: \(output)\nstderr: \(log)" }

        var exitCode: Int32? { if case .exited(let code) = status { code } else { nil } }

        /// The one result object on standard output.
        var result: [String: JSON] {
            guard let json = try? JSON(parsing: Array(output.utf8)), case .object(let members) = json else {
                return [:]
            }
            return members
        }

        func text(_ member: String) -> String? {
            if case .string(let text)? = result[member] { text } else { nil }
        }

        func error(_ member: String) -> String {
            guard case .object(let error)? = result["error"], case .string(let text)? = error[member] else {
                return ""
            }
            return text
        }

        var details: [String: JSON] {
            if case .object(let members)? = result["details"] { members } else { [:] }
        }

        var everything: String { output + log }
    }

    /// Beside the test bundle, where `swift build` puts both.
    static var path: String {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &buffer, buffer.count - 1)
        let own = String(decoding: buffer.prefix(max(0, count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let folder = own.lastIndex(of: "/").map { String(own[..<$0]) } ?? "."
        return access(folder + "/lifeboat", X_OK) == 0 ? folder + "/lifeboat" : ".build/debug/lifeboat"
    }

    /// What it shows to a person at a terminal. `arguments` have no blanks.
    static func atTerminal(_ arguments: [String], environment: [String: String]) async throws -> Ended {
        try await run(
            ["-qec", ([path] + arguments).joined(separator: " "), "/dev/null"], environment: environment,
            program: "/usr/bin/script")
    }

    /// Runs it to its end, in `directory`. `during` is told its process id as soon as it runs. `program`: what is run in
    /// its place.
    static func run(
        _ arguments: [String] = [], environment: [String: String], input: String = "", in directory: String? = nil,
        program: String? = nil, during: (@Sendable (pid_t) async throws -> Void)? = nil
    ) async throws -> Ended {
        var all: [Environment.Key: String] = [:]
        for (name, value) in ["PATH": "/usr/bin:/bin"].merging(environment, uniquingKeysWith: { $1 }) {
            all[try #require(Environment.Key(rawValue: name))] = value
        }
        let result = try await Subprocess.run(
            .path(FilePath(program ?? path)), arguments: Arguments(arguments), environment: .custom(all),
            workingDirectory: directory.map { FilePath($0) }, input: .string(input),
            output: .sequence, error: .sequence
        ) { execution in
            async let output = collect(execution.standardOutput)
            async let log = collect(execution.standardError)
            if let during { try await during(execution.processIdentifier.value) }
            return try await (output, log)
        }
        return Ended(
            status: result.terminationStatus, output: result.closureResult.0, log: result.closureResult.1)
    }

    private static func collect(_ sequence: SubprocessOutputSequence) async throws -> String {
        var bytes: [UInt8] = []
        for try await buffer in sequence { buffer.withUnsafeBytes { bytes.append(contentsOf: $0) } }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// The regular files below `directory`, as paths relative to it, in order.
func listFiles(_ directory: String) async throws -> [String] {
    let result = try await Subprocess.run(
        .path("/usr/bin/find"), arguments: [directory, "-type", "f", "-printf", "%P\\n"],
        output: .string(limit: 1 << 24))
    return result.standardOutput.split(separator: "\n").map(String.init).sorted()
}

/// Runs a program that a test needs and expects it to succeed.
@discardableResult
func runProgram(_ path: String, _ arguments: [String]) async throws -> String {
    let result = try await Subprocess.run(
        .path(FilePath(path)), arguments: Arguments(arguments), output: .string(limit: 1 << 20),
        error: .string(limit: 1 << 20))
    guard result.terminationStatus.isSuccess else {
        throw TestFailure("\(path) ended with \(result.terminationStatus): \(result.standardError)")
    }
    return result.standardOutput
}
