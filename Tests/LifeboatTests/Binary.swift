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

    /// Runs it to its end, in `directory`. `during` is told its process id as soon as it runs.
    static func run(
        _ arguments: [String] = [], environment: [String: String], input: String = "", in directory: String? = nil,
        during: (@Sendable (pid_t) async throws -> Void)? = nil
    ) async throws -> Ended {
        var all: [Environment.Key: String] = [:]
        for (name, value) in ["PATH": "/usr/bin:/bin"].merging(environment, uniquingKeysWith: { $1 }) {
            all[try #require(Environment.Key(rawValue: name))] = value
        }
        let result = try await Subprocess.run(
            .path(FilePath(path)), arguments: Arguments(arguments), environment: .custom(all),
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

/// A clinic's database, a store and a key: what one target needs.
struct Site: Sendable {
    let server: PostgresServer
    let database: String
    let directory: String

    var store: String { directory + "/store" }

    var environment: [String: String] {
        [
            "POSTGRES_HOST": server.host, "POSTGRES_PORT": String(server.port), "POSTGRES_DB": database,
            "POSTGRES_USER": "postgres", "BACKUP_STORE": "file://\(store)",
            "BACKUP_RECIPIENTS": "aes:\(directory)/clinic.key", "BACKUP_LOCK_LEASE": "2",
        ]
    }

    /// Makes a database with `clinic` in it, an empty store and a key, and removes the latter two afterwards.
    static func with<Result>(
        _ clinic: String = Clinic.sql(patients: 50), server: PostgresServer? = nil,
        _ body: (Site) async throws -> Result
    ) async throws -> Result {
        try await withScratchDirectory(mode: 0o711) { directory in
            mkdir(directory + "/store", 0o700)
            try writeFile(directory + "/clinic.key", String(repeating: "5a", count: 32))
            var chosen = server
            if chosen == nil { chosen = try await PostgresServer.shared() }
            let server = try #require(chosen)
            let database = try await server.createDatabase("site")
            try await server.sql(clinic, database: database)
            return try await body(Site(server: server, database: database, directory: directory))
        }
    }

    /// Runs one event and expects it to end with `code`.
    @discardableResult
    func event(
        _ fields: [String: JSON], environment more: [String: String] = [:], expecting code: Core.ExitCode = .done,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> Binary.Ended {
        let ended = try await Binary.run(
            environment: environment.merging(more) { $1 }, input: JSON.object(fields).canonicalText)
        #expect(ended.exitCode == code.rawValue, "\(ended)", sourceLocation: sourceLocation)
        return ended
    }

    func backup(_ second: Int = 0) async throws -> String {
        let time = Timestamp(milliseconds: 1_736_924_400_000).adding(seconds: Int64(second))
        let ended = try await event(["backupType": .string("daily"), "timestamp": .string(time.description)])
        return try #require(ended.text("backupKey"))
    }

    func confirmedRestore(_ key: String, _ more: [String: JSON] = [:]) -> [String: JSON] {
        [
            "backupKey": .string(key), "CONFIRM_RESTORE": .string("YES_I_WANT_TO_RESTORE"),
        ].merging(more) { $1 }
    }

    /// A fingerprint of all rows, computed by the server.
    func fingerprint(_ database: String? = nil) async throws -> String {
        try await server.sql(
            """
            SELECT string_agg(h, ',' ORDER BY h) FROM (
                SELECT format('%s %s', c.oid::regclass,
                    (xpath('/row/h/text()', query_to_xml(format(
                        'SELECT md5(coalesce(string_agg(t::text, E''\\n'' ORDER BY t::text), '''')) AS h FROM %s t',
                        c.oid::regclass), false, true, '')))[1]) AS h
                FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema')) x
            """, database: database ?? self.database)
    }

    /// Every path in the store.
    func listing() async throws -> [String] {
        try await listFiles(store)
    }

    func manifests() async throws -> [String] {
        try await listing().filter { $0.hasSuffix("/manifest.json") }
    }

    /// The databases whose names carry the mark of a restore that put something beside or aside.
    func leftovers() async throws -> [String] {
        try await server.sql("SELECT datname FROM pg_database WHERE datname LIKE '\(database.prefix(40))__lb_%'")
            .split(separator: "\n").map(String.init)
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
