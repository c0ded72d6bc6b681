import Core
import Glibc
import TestSupport
import Testing

/// The kinds of sources that the shared suites run over: what holds for one holds for all.
enum SourceKind: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case postgres, mysql, mongodb, files, keys
    case auditRecords = "audit-records"

    var testDescription: String { rawValue }

    /// What has to be there for it; `nil` for nothing beyond the machine.
    var part: RealPart? {
        switch self {
        case .postgres: .postgres
        case .mysql: .mariadb
        case .mongodb: MongoSource.part
        case .files, .keys, .auditRecords: nil
        }
    }

    /// The kinds whose parts are here. In CI that is all of them, and one that lacks its part fails.
    static var present: [SourceKind] { allCases.filter { runsInCI || $0.part?.isPresent ?? true } }

    /// Those of them that a restore puts back where they came from.
    static var restorable: [SourceKind] { present.filter { $0 != .auditRecords } }
}

/// The ways in which a source keeps a backup from being made before it has begun.
enum SourceFailure: String, CaseIterable, Sendable, CustomTestStringConvertible {
    /// Nobody answers where it should be.
    case down
    /// It answers, and does not let us in.
    case refused
    /// It answers, and has nothing of the name.
    case empty
    /// The program that reads it is not installed.
    case toolMissing

    var testDescription: String { rawValue }
}

/// One source in a test: what the shared suites have to know of its kind.
protocol TestSource: Sendable {
    /// The variables that lead to it.
    var environment: [String: String] { get }
    /// Whether a restore takes its place in one step, so that one of the two stands there at every instant. Where it
    /// does not, one of the two stands there after the next run.
    var exchangesInOneStep: Bool { get }

    /// Changes something in it, each number otherwise.
    func spoil(_ number: Int) async throws
    /// Of everything in it.
    func fingerprint() async throws -> String
    /// What restores have put beside it or aside.
    func leftovers() async throws -> [String]
    /// The variables under which it fails so; `nil` where it cannot.
    func failing(_ failure: SourceFailure, in directory: String) throws -> [String: String]?
    /// The variables under which `script` runs in the place of the program that reads it, with `$REAL` as that
    /// program's path; `nil` where there is none.
    func faking(_ script: String, in directory: String) throws -> [String: String]?
}

extension TestSource {
    var exchangesInOneStep: Bool { true }

    func faking(_ script: String, in directory: String) throws -> [String: String]? { nil }

    /// Puts `script` in the place of `tool`, in a directory that has links to the `others` in `binaries`.
    func fake(
        _ tool: String, _ script: String, of binaries: String, others: [String], in directory: String
    ) throws -> String {
        let bin = directory + "/bin"
        mkdir(bin, 0o755)
        for other in others { symlink("\(binaries)/\(other)", "\(bin)/\(other)") }
        // Asked for its version a fake answers like the real one.
        try writeFile(
            "\(bin)/\(tool)",
            """
            #!/bin/sh
            REAL=\(binaries)/\(tool)
            case "$*" in *--version*) exec "$REAL" --version;; esac
            \(script)

            """)
        chmod("\(bin)/\(tool)", 0o755)
        return bin
    }
}

/// A source of some kind, an empty store and a key.
struct EngineSite: TestTarget {
    /// How much is in the source.
    enum Size: Sendable {
        /// Backed up in no time.
        case small
        /// Some megabytes that hardly compress.
        case large
    }

    let kind: SourceKind
    let directory: String
    let source: any TestSource

    var store: String { directory + "/store" }

    var environment: [String: String] {
        let key = "aes:\(directory)/clinic.key"
        let keys = kind == .auditRecords ? ["AUDIT_BACKUP_KEY": key] : ["BACKUP_RECIPIENTS": key]
        return source.environment.merging(keys) { $1 }.merging([
            "BACKUP_ENGINE": kind.rawValue, "BACKUP_STORE": "file://\(store)", "BACKUP_LOCK_LEASE": "2",
        ]) { $1 }
    }

    /// Makes a source with something in it, and removes everything but a server's database afterwards.
    static func with(
        _ kind: SourceKind, _ size: Size = .small, _ body: (EngineSite) async throws -> Void
    ) async throws {
        try await withScratchDirectory(mode: 0o711) { directory in
            mkdir(directory + "/store", 0o700)
            try writeFile(directory + "/clinic.key", String(repeating: "5a", count: 32))
            let source: any TestSource =
                switch kind {
                case .postgres: try await PostgresSource.make(size)
                case .mysql: try await MySQLSource.make(size)
                case .mongodb: try await MongoSource.make(size)
                case .files: try FilesTestSource.make(size, in: directory)
                case .keys: try KeysTestSource.make(size, in: directory)
                case .auditRecords: try AuditTestSource.make(size, in: directory)
                }
            try await body(EngineSite(kind: kind, directory: directory, source: source))
        }
    }

    /// The set's segments, as paths below the store, the largest first.
    func segments(_ key: String) async throws -> [String] {
        try await listing().filter { $0.hasPrefix(key + "/") && $0.hasSuffix(".encrypted") }
            .map { (path: $0, size: try contentsOfFile(store + "/" + $0).count) }
            .sorted { $0.size > $1.size }.map(\.path)
    }
}
