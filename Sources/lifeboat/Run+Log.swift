import Core
import Events
import FileSystemStore
import Glibc
import Operations
import PostgresEngine
import Sets

/// `lifeboat wal push`, `fetch` and `hand-over`: single files of a server's log, as PostgreSQL's own commands ask for
/// them. They run in the server's data directory.
extension Run {
    /// Of the data directory: says whose log it is.
    private static let controlFile = "global/pg_control"

    func push(_ path: String, for name: String?, _ settings: Settings) async throws -> Int32 {
        let target = try logTarget(name, settings)
        let requestID = RequestID.random(hexText(systemRandom(16)))
        let identity = RunIdentity(
            action: "wal", target: target.name, tier: nil, requestID: requestID, started: clock.now())
        let result = try await carryOut(identity, on: target, isDryRun: false) { report in
            let file = try StoredFile(at: path)
            guard access(Self.controlFile, R_OK) == 0 else { throw Self.notInCluster(path) }
            let control = StoredFile(name: Self.controlFile, store: try Self.hereStore())
            let workplace = try Composition.workplace(
                for: target, doing: .other("wal push"), environment: environment, keys: keys, logger: logger,
                report: report)
            return try await WALPush(file, control: control, at: workplace).run(requestID)
        }
        finish(result)
        return result.exitCode.rawValue
    }

    /// Says nothing where it goes well: a recovery asks for files by the hundred.
    func fetch(_ name: String, to path: String, for target: String?, _ settings: Settings) async throws -> Int32 {
        let target = try logTarget(target, settings)
        let isThere = try await terminable {
            let destination = try StoredFile(at: path)
            let hasControl = access(Self.controlFile, R_OK) == 0
            let control = hasControl ? StoredFile(name: Self.controlFile, store: try Self.hereStore()) : nil
            let workplace = try Composition.workplace(
                for: target, doing: .other("wal fetch"), environment: environment, keys: keys, logger: logger,
                report: { _ in })
            return try await WALFetch(name, into: destination, control: control, at: workplace).run()
        }
        return isThere ? 0 : WALFetch.absentStatus
    }

    func handOver(_ name: String, to path: String, from socket: String) async throws -> Int32 {
        try await onThread("hand-over") { WALHandOver.fetch(socket: socket, name: name, path: path) }.rawValue
    }

    /// The status for a run that ended with `code`.
    func status(of code: ExitCode) -> Int32 {
        guard code != .done, code != .terminated, case .wal(let call) = invocation else { return code.rawValue }
        switch call {
        case .push: return code.rawValue
        case .fetch, .handOver: return WALCall.endsRecovery
        }
    }

    private func logTarget(_ name: String?, _ settings: Settings) throws -> TargetSettings {
        guard let target = name == nil ? settings.targets.first : settings.targets.first(where: { $0.name == name }),
            name != nil || settings.targets.count == 1
        else {
            throw JobFailure(
                .eventRefused, "find the target", object: name ?? "--target",
                cause: name == nil ? "\(settings.targets.count) targets are configured" : "it is not configured",
                hint: "name one with --target; 'lifeboat config check' lists them")
        }
        guard target.isPhysical else {
            throw JobFailure(
                .configuration, "archive the server's log", object: target.name,
                cause: "its sets are of one database each, which no log can be added to",
                hint: "set BACKUP_METHOD=physical")
        }
        // A server would take the success of a rehearsal for a stored file, and forget it.
        guard !settings.dryRun else {
            throw JobFailure(
                .configuration, "archive the server's log", object: "DRY_RUN",
                cause: "it is set, and a server's own commands cannot be rehearsed", hint: "unset it")
        }
        return target
    }

    private static func notInCluster(_ path: String) -> JobFailure {
        JobFailure(
            .configuration, "archive the server's log", object: path,
            cause: "there is no \(controlFile) here, which says whose log it is",
            hint: "run this in the cluster's data directory, as archive_command does, as a user who may read it")
    }

    /// The directory that the program was started in.
    private static func hereStore() throws -> any Store {
        try DirectoryStore(root: absolutePath("."), largestObject: .max, random: systemRandom)
    }
}
