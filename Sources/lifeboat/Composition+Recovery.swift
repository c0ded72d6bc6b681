import Core
import Events
import Glibc
import Logging
import Operations
import PostgresEngine

/// What a workplace is put together for.
enum Errand: Sendable {
    case job(Job)
    /// Something beside the jobs, by its name.
    case other(String)

    var action: String {
        switch self {
        case .job(let job): job.action
        case .other(let name): name
        }
    }

    /// The one database of a whole server that is to be restored; `nil` for everything else.
    var sourceDatabase: String? { if case .job(.restore(let job)) = self { job.sourceDatabase } else { nil } }

    /// Of a target of a whole server: one of its databases is restored, or the safety set of one that was replaced.
    var isOfOneDatabase: Bool {
        guard case .job(.restore(let job)) = self else { return false }
        if case .exact(let key) = job.key, key.tier == .safety { return true }
        return job.sourceDatabase != nil
    }
}

extension Composition {
    /// Adds what recovery and rehearsal need to a workplace that has everything else.
    static func addRecovery(to workplace: inout Workplace, from sources: Sources, logger: Logger) throws {
        let target = sources.target
        workplace.thresholds = target.recovery.thresholds
        workplace.scratch = try sources.scratch { error in
            logger.warning("a copy that was staged to be proven is still there", metadata: ["why": "\(error)"])
        }
        guard case .postgres = target.source else { return }
        // A target that has changed its method has sets of both kinds, and one of a whole server safety sets of databases.
        let isPhysical = target.isPhysical
        let other = try sources.engine(isPhysical: !isPhysical)
        workplace.examiner = { PhysicalBase.isPhysical($0) == isPhysical ? nil : other }
        if isPhysical { workplace.log = workplace.recoveryLog }
    }

    /// The log of the target's server, for the job that stores it.
    static func log(of target: TargetSettings) throws -> any WALSource {
        guard case .postgres(let settings) = target.source, let slot = target.recovery.slot else {
            throw JobFailure(
                .configuration, "follow the server's log", object: target.name,
                cause: "its sets are of one database each", hint: "set BACKUP_METHOD=physical")
        }
        return try PostgresLog(Sources.endpoint(settings), slot: slot)
    }
}

extension Sources {
    /// Where sets are brought to life to be proven; `nil` where no such place is configured. `onLeftover` is told why
    /// something there could not be removed.
    func scratch(onLeftover: @escaping @Sendable (any Error) -> Void) throws -> (any ScratchPlace)? {
        if let name = target.recovery.scratchDestination {
            return try scratchServer(name, onLeftover: onLeftover)
        }
        guard let directory = target.recovery.scratchDirectory else { return nil }
        // A name of its own, and always the same: what a killed run has left under it is cleared by the next.
        let path = "\(directory)/lifeboat-\(target.name)"
        let engine: any Engine
        var prepare: @Sendable () async throws -> Void = {}
        switch target.source {
        case .postgres: return PostgresScratch(try recoverySite(at: directory), onLeftover: onLeftover)
        case .files(let settings):
            engine = try files(settings, base: path)
            // Trees are put below a directory that is there.
            prepare = { try await onThread("scratch") { try EmptyDirectories.make(path) } }
        case .keys(var settings):
            settings.paths = [path]
            engine = try keySet(settings)
        case .auditRecords(let settings): engine = try auditRecords(settings, restoreDirectory: path)
        case .mysql, .mongodb: return nil
        }
        return StagedScratch(
            label: "the directory \(directory)", engine: engine, clock: SystemClock(), prepare: prepare,
            cleanUp: { try await onThread("scratch") { try EmptyDirectories.remove(path) } }, onLeftover: onLeftover)
    }

    /// A name on a configured destination's server that nobody else uses.
    private func scratchServer(
        _ name: String, onLeftover: @escaping @Sendable (any Error) -> Void
    ) throws -> (any ScratchPlace)? {
        let database = "lifeboat_scratch_" + target.name.prefix(40).replacing("-", with: "_")
        let engine: any Engine
        switch (target.source, target.destinations[name]) {
        case (.mysql(let own), .mysql(var settings)?):
            settings.database = database
            settings.restoreWriters = own.restoreWriters
            engine = try self.engine(for: .mysql(settings))
        case (.mongodb(let own), .mongodb(var settings)?):
            // A set of a whole deployment has its databases' own names.
            settings.database = own.database == nil ? nil : database
            engine = try self.engine(for: .mongodb(settings))
        default: return nil
        }
        return StagedScratch(
            label: "the server of the destination \(name)", engine: engine, clock: SystemClock(),
            onLeftover: onLeftover)
    }

    /// Where a whole server is restored to, by the event's name for it.
    func directory(_ name: String?) throws -> String {
        guard let name else {
            guard let directory = target.recovery.restoreDirectory else {
                throw JobFailure(
                    .configuration, "find the destination", object: "RESTORE_DIRECTORY", cause: "it is not set",
                    hint: "set it, or name a directory in targetDatabase")
            }
            return directory
        }
        if case .directory(let path)? = target.destinations[name] { return path }
        return name
    }

    func recoverySite(at directory: String) throws -> RecoverySite {
        RecoverySite(
            directory: directory, tools: postgresTools, handOver: try Self.handOver(),
            temporaryDirectory: environment["TMPDIR"].flatMap { $0.hasPrefix("/") ? $0 : nil } ?? "/tmp",
            preloadLibraries: target.recovery.preloadLibraries, random: systemRandom)
    }

    /// The running program itself, which a recovered server calls for its log.
    private static func handOver() throws -> [String] {
        let link = "/proc/self/exe"
        guard let path = realpath(link, nil) else { throw FileProblem(path: link, errno: errno) }
        defer { free(path) }
        return [String(cString: path), "wal", "hand-over"]
    }
}
