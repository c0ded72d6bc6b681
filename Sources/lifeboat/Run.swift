import Core
import Events
import FileSystemStore
import Glibc
import Logging
import MetricsReporter
import Operations
import ProgressReporter
import Sets

/// One run of the program: from what was asked for to the exit code.
struct Run: Sendable {
    let invocation: Invocation
    let environment: [String: String]
    private let termination: Termination
    let clock = SystemClock()
    private let output: TextOutput
    let logger: Logger
    let keys: KeyHolders

    init(_ invocation: Invocation, environment: [String: String], termination: Termination) {
        self.invocation = invocation
        self.environment = environment
        self.termination = termination
        output = TextOutput(descriptor: STDERR_FILENO)
        logger = Self.makeLogger(environment, clock, output)
        keys = KeyHolders(
            cloud: Cloud(environment: environment, clock: clock, logger: logger), environment: environment)
    }

    /// The status that the process ends with.
    func execute() async -> Int32 {
        let status = await outcome()
        await keys.shutdown()
        return status
    }

    private func outcome() async -> Int32 {
        do {
            return try await perform()
        } catch {
            let result = JobResult(
                action: actionName, target: "", requestID: .random(""), exitCode: code(of: error),
                failure: failure(of: error))
            finish(result)
            return status(of: result.exitCode)
        }
    }

    private func perform() async throws -> Int32 {
        switch invocation {
        // What a recovery asks for by the hundred, without keys and settings.
        case .wal(.handOver(let socket, let name, let path)):
            return try await handOver(name, to: path, from: socket)
        case .wal(.push(let path, let target)):
            return try await push(path, for: target, try await configuration().settings)
        case .wal(.fetch(let name, let path, let target)):
            return try await fetch(name, to: path, for: target, try await configuration().settings)
        case .checkConfiguration:
            let (settings, summary) = try await configuration()
            try ConfigurationCheck(
                settings: settings, environment: environment, summary: summary, keys: keys, logger: logger
            ).run()
            return 0
        case .provision(let check, let store, let target):
            let settings = try await configuration().settings
            let provision = Provision(settings: settings, cloud: keys.cloud, logger: logger)
            return try await terminable { try await provision.run(check: check, store: store, target: target) }
                .rawValue
        case .encrypt(let file, let output):
            let job = FileJob(settings: try await configuration().settings, keys: keys)
            try await terminable { try await job.encrypt(file, to: output) }
            return 0
        case .decrypt(let file, let output):
            let job = FileJob(settings: try await configuration().settings, keys: keys)
            try await terminable { try await job.decrypt(file, to: output) }
            return 0
        case .event(let file):
            let settings = try await configuration().settings
            return try await run(try job(file: file, settings), settings).rawValue
        case .fields(let fields):
            let settings = try await configuration().settings
            return try await run(
                try reader(settings).job(from: .object(fields), origin: "the command line"), settings
            ).rawValue
        }
    }

    private func configuration() async throws -> (settings: Settings, summary: ConfigurationSummary) {
        let configuration = ConfigurationReader(environment: environment, readFile: readFile)
        let references = try configuration.secretReferences()
        let secrets = try await terminable { try await keys.cloud.secrets(references) }
        return try configuration.read(secrets: secrets)
    }

    /// A signal that asks for the end cancels `body`.
    func terminable<Value: Sendable>(
        _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        let task = Task { try await body() }
        termination.onRequest { task.cancel() }
        return try await task.value
    }

    // MARK: The event

    private func reader(_ settings: Settings) -> EventReader {
        EventReader(
            targets: settings.targets.map(\.forEvents), runID: settings.runID, dryRun: settings.dryRun, clock: clock,
            random: systemRandom)
    }

    private func job(file: String?, _ settings: Settings) throws -> Job {
        var sources = EventSources(
            file: try file.map { (name: $0, bytes: try readFile($0)) }, environment: environment, standardInput: nil)
        // Only where nothing else carries an event: standard input may stay open for ever.
        if sources.needsStandardInput, isatty(STDIN_FILENO) == 0 {
            sources.standardInput = try readStandardInput(limit: EventSources.largestEvent)
        }
        return try reader(settings).job(from: sources)
    }

    // MARK: The job

    private func run(_ job: Job, _ settings: Settings) async throws -> ExitCode {
        let target = try target(job.target, settings)
        let identity = RunIdentity(
            action: job.action, target: target.name, tier: job.tier, requestID: job.requestID, started: clock.now())
        let result = try await carryOut(identity, on: target, isDryRun: job.isDryRun) { report in
            let workplace = try Composition.workplace(
                for: target, doing: .job(job), environment: environment, keys: keys, logger: logger, report: report)
            return try await perform(job, of: target, at: workplace)
        }
        finish(result)
        return result.exitCode
    }

    func target(_ name: String, _ settings: Settings) throws -> TargetSettings {
        guard let target = settings.targets.first(where: { $0.name == name }) else {
            throw JobFailure(
                .eventRefused, "find the target", object: name, cause: "it is not configured",
                hint: "'lifeboat config check' lists the targets")
        }
        return target
    }

    private func perform(_ job: Job, of target: TargetSettings, at workplace: Workplace) async throws -> JobResult {
        switch job {
        case .backup(let job): return try await Backup(job, at: workplace).run()
        case .verify(let job): return try await Verify(job, at: workplace).run()
        case .restore(let job): return try await Restore(job, at: workplace).run()
        case .list(let job): return try await List(job, at: workplace).run()
        case .prune(let job): return try await Prune(job, at: workplace).run()
        case .hold(let job): return try await Hold(job, at: workplace).run()
        case .rewrap(let job): return try await Rewrap(job, at: workplace).run()
        case .export(let job):
            let directory = try NewDirectory(path: job.directory, random: systemRandom)
            return try await Export(job, into: directory, at: workplace).run()
        case .wal(let job):
            return try await ArchiveWAL(job, from: try Composition.log(of: target), at: workplace).run()
        case .drill(let job): return try await Drill(job, at: workplace).run()
        }
    }

    /// Runs `body`, which is given what tells the reporters; they hear of its beginning and of its end, whatever that
    /// is. Throws only where there are no reporters to be made.
    func carryOut(
        _ identity: RunIdentity, on target: TargetSettings, isDryRun: Bool,
        _ body: @escaping @Sendable (_ report: @escaping @Sendable (RunEvent) async -> Void) async throws -> JobResult
    ) async throws -> JobResult {
        let reporters = try makeReporters(target)
        let report: @Sendable (RunEvent) async -> Void = { event in
            for reporter in reporters {
                do {
                    try await reporter.record(event)
                } catch {
                    logger.warning("a report was not made", metadata: ["why": "\(error)"])
                }
            }
        }
        await report(.started(identity))
        var result: JobResult
        do {
            result = try await terminable { try await body(report) }
        } catch {
            result = JobResult(
                action: identity.action, target: target.name, requestID: identity.requestID,
                exitCode: code(of: error), failure: failure(of: error))
            result.tier = identity.tier
            result.dryRun = isDryRun
            if result.exitCode == .verificationFailed { result.verdict = .failed }
            logger.error(
                "\(result.failure?.description ?? "failed")", metadata: ["hint": "\(result.failure?.hint ?? "")"])
        }
        var finished = identity
        finished.tier = result.tier ?? identity.tier
        await report(.finished(finished, result.outcome(started: identity.started, finished: clock.now())))
        return result
    }

    /// A person at a terminal reads text; what collects a container's output reads JSON lines. The level is known
    /// before the settings are: reading them may need AWS, and that may have something to say.
    private static func makeLogger(
        _ environment: [String: String], _ clock: SystemClock, _ output: TextOutput
    ) -> Logger {
        let level: Logger.Level = ["1", "true"].contains(environment["DEBUG"]) ? .debug : .info
        return Logger(label: "lifeboat") { label in
            if isTerminal { return TextLogHandler(level: level, clock: clock, output: output) }
            return JSONLogHandler(label: label, level: level, clock: clock, output: output)
        }
    }

    private func makeReporters(_ target: TargetSettings) throws -> [any Reporter] {
        var reporters: [any Reporter] = [ProgressDisplay(Self.isTerminal ? .terminal(output) : .log(logger))]
        if let directory = target.metricsDirectory {
            reporters.append(try TextfileMetrics(directory: directory, prefix: target.metricsPrefix))
        }
        return reporters
    }

    private static var isTerminal: Bool { isatty(STDERR_FILENO) == 1 }

    private var actionName: String {
        switch invocation {
        case .event: "unknown"
        case .fields(let fields): if case .string(let action)? = fields["action"] { action } else { "unknown" }
        case .checkConfiguration: "config check"
        case .provision: "provision"
        case .encrypt: "encrypt"
        case .decrypt: "decrypt"
        case .wal: "wal"
        }
    }

    func finish(_ result: JobResult) { Output.write(result) }

    // MARK: Errors

    func code(of error: any Error) -> ExitCode {
        let own = (error as? any Failure)?.exitCode
        // Whatever broke because the job was being ended. What a person has to know of a swap comes before that.
        if termination.isAsked, own != .restoreFailedRolledBack, own != .rollbackFailed { return .terminated }
        return own ?? .source
    }

    func failure(of error: any Error) -> JobFailure {
        if let failure = error as? any Failure { return JobFailure(failure, as: failure.exitCode) }
        if error is CancellationError {
            return JobFailure(
                code(of: error), "finish", cause: "the job was ended from outside",
                hint: "run it again: what was begun is cleaned up, and what was finished is found")
        }
        return JobFailure(
            .source, "go on", cause: "\(type(of: error)): \(error)",
            hint: "report this with the log; it has no better words")
    }
}
