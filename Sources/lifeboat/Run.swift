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
    private let invocation: Invocation
    private let environment: [String: String]
    private let termination: Termination
    private let clock = SystemClock()

    init(_ invocation: Invocation, environment: [String: String], termination: Termination) {
        self.invocation = invocation
        self.environment = environment
        self.termination = termination
    }

    func execute() async -> ExitCode {
        do {
            return try await perform()
        } catch {
            let result = JobResult(
                action: actionName, target: "", requestID: .random(""), exitCode: code(of: error),
                failure: failure(of: error))
            finish(result)
            return result.exitCode
        }
    }

    private func perform() async throws -> ExitCode {
        let (settings, summary) = try ConfigurationReader(environment: environment, readFile: readFile).read()
        switch invocation {
        case .checkConfiguration:
            for line in summary.lines { Output.write(line) }
            for target in settings.targets { try checkKeys(of: target) }
            return .done
        case .encrypt(let file, let output):
            try await FileJob(settings: settings).encrypt(file, to: output)
            return .done
        case .decrypt(let file, let output):
            try await FileJob(settings: settings).decrypt(file, to: output)
            return .done
        case .event(let file): return try await run(try job(file: file, settings), settings)
        case .fields(let fields):
            return try await run(
                try reader(settings).job(from: .object(fields), origin: "the command line"), settings)
        }
    }

    // MARK: The event

    private func reader(_ settings: Settings) -> EventReader {
        EventReader(
            targets: settings.targets.map(\.name), runID: settings.runID, dryRun: settings.dryRun, clock: clock,
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
        guard let target = settings.targets.first(where: { $0.name == job.target }) else {
            throw JobFailure(
                .eventRefused, "find the target", object: job.target, cause: "it is not configured",
                hint: "'lifeboat config check' lists the targets")
        }
        let output = TextOutput(descriptor: STDERR_FILENO)
        let logger = makeLogger(settings, output)
        let reporters = try makeReporters(target, logger, output)
        let identity = RunIdentity(
            action: job.action, target: target.name, tier: job.tier, requestID: job.requestID, started: clock.now())
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
        let result = await perform(job, target, logger, report)
        var finished = identity
        finished.tier = result.tier ?? job.tier
        await report(.finished(finished, result.outcome(started: identity.started, finished: clock.now())))
        finish(result)
        return result.exitCode
    }

    private func perform(
        _ job: Job, _ target: TargetSettings, _ logger: Logger, _ report: @escaping @Sendable (RunEvent) async -> Void
    ) async -> JobResult {
        let task = Task {
            let workplace = try Composition.workplace(
                for: target, environment: environment, action: job.action, logger: logger, report: report)
            switch job {
            case .backup(let job): return try await Backup(job, at: workplace).run()
            case .verify(let job): return try await Verify(job, at: workplace).run()
            case .restore(let job): return try await Restore(job, at: workplace).run()
            case .list(let job): return try await List(job, at: workplace).run()
            }
        }
        termination.onRequest { task.cancel() }
        do {
            return try await task.value
        } catch {
            var result = JobResult(
                action: job.action, target: target.name, requestID: job.requestID, exitCode: code(of: error),
                failure: failure(of: error))
            result.tier = job.tier
            result.dryRun = job.isDryRun
            if result.exitCode == .verificationFailed { result.verdict = .failed }
            logger.error(
                "\(result.failure?.description ?? "failed")", metadata: ["hint": "\(result.failure?.hint ?? "")"])
            return result
        }
    }

    /// A person at a terminal reads text; what collects a container's output reads JSON lines.
    private func makeLogger(_ settings: Settings, _ output: TextOutput) -> Logger {
        let level: Logger.Level = settings.debug ? .debug : .info
        return Logger(label: "lifeboat") { label in
            if isTerminal { return TextLogHandler(level: level, clock: clock, output: output) }
            return JSONLogHandler(label: label, level: level, clock: clock, output: output)
        }
    }

    private func makeReporters(
        _ target: TargetSettings, _ logger: Logger, _ output: TextOutput
    ) throws -> [any Reporter] {
        var reporters: [any Reporter] = [ProgressDisplay(isTerminal ? .terminal(output) : .log(logger))]
        if let directory = target.metricsDirectory {
            reporters.append(try TextfileMetrics(directory: directory, prefix: target.metricsPrefix))
        }
        return reporters
    }

    private var isTerminal: Bool { isatty(STDERR_FILENO) == 1 }

    private var actionName: String {
        switch invocation {
        case .event: "unknown"
        case .fields(let fields): if case .string(let action)? = fields["action"] { action } else { "unknown" }
        case .checkConfiguration: "config check"
        case .encrypt: "encrypt"
        case .decrypt: "decrypt"
        }
    }

    private func finish(_ result: JobResult) { Output.write(result) }

    private func checkKeys(of target: TargetSettings) throws {
        for key in target.recipients + target.identities { _ = try Composition.recipient(key) }
    }

    // MARK: Errors

    private func code(of error: any Error) -> ExitCode {
        let own = (error as? any Failure)?.exitCode
        // Whatever broke because the job was being ended. What a person has to know of a swap comes before that.
        if termination.isAsked, own != .restoreFailedRolledBack, own != .rollbackFailed { return .terminated }
        return own ?? .source
    }

    private func failure(of error: any Error) -> JobFailure {
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

extension Job {
    var target: String {
        switch self {
        case .backup(let job): job.target
        case .verify(let job): job.target
        case .restore(let job): job.target
        case .list(let job): job.target
        }
    }

    var requestID: RequestID {
        switch self {
        case .backup(let job): job.requestID
        case .verify(let job): job.requestID
        case .restore(let job): job.requestID
        case .list(let job): job.requestID
        }
    }

    var isDryRun: Bool {
        switch self {
        case .backup(let job): job.dryRun
        case .verify(let job): job.dryRun
        case .restore(let job): job.dryRun
        case .list: false
        }
    }

    /// As far as the event says it.
    var tier: Tier? {
        switch self {
        case .backup(let job): job.tier
        case .verify(let job): job.key.tier
        case .restore(let job): job.key.tier
        case .list: nil
        }
    }
}

extension KeySelector {
    fileprivate var tier: Tier? {
        switch self {
        case .exact(let key): key.tier
        case .latest(let tier): tier
        case .day(let tier, _): tier
        case .random: nil
        }
    }
}
