import Core
import Sets

/// What a run of `rewrap` has done so far.
struct RewrapTally: Sendable {
    struct Refused: Sendable {
        let key: BackupKey
        let failure: any Failure
    }

    /// Sets to look at.
    var total = 0
    private var looked = 0
    /// Wrapped anew, or to be where it is a plan.
    private var due = 0
    private var rewrapped = 0
    /// A record that one copy had was given to another.
    private var copied = 0
    /// Nothing had to be done.
    private var current = 0
    /// Of these, how many because this very request had done it.
    private var replayed = 0
    private var plans: [JSON] = []
    var failures: [Refused] = []
    /// Why a store besides the first failed.
    var stores: [CopyName: any Error] = [:]

    /// Sets named in a result, of any number.
    private static let named = 20
    private static let planned = 100

    mutating func add(_ plan: Rewrapping.Plan, of requestID: RequestID) {
        looked += 1
        for failure in plan.failures { stores[failure.copy] = stores[failure.copy] ?? failure.error }
        if plan.isDone {
            current += 1
            if requestID.isReplayable, plan.requestID == requestID.description { replayed += 1 }
            return
        }
        due += 1
        if plans.count < Self.planned {
            plans.append(
                .object([
                    "key": .string(plan.key.description),
                    "recipients": .array(plan.recipients.map { .string($0) }),
                    "newRecord": .bool(plan.needsWrapping),
                ]))
        }
    }

    mutating func done(_ plan: Rewrapping.Plan, _ lost: [Rewrapping.CopyFailure]) {
        for failure in lost { stores[failure.copy] = stores[failure.copy] ?? failure.error }
        if plan.needsWrapping { rewrapped += 1 } else { copied += 1 }
    }

    /// For logs and errors.
    var summary: String {
        "\(looked + failures.count) of \(total) sets looked at, \(rewrapped) rewrapped, \(current) had what they need"
    }

    func result(of job: RewrapJob, _ workplace: Workplace) -> JobResult {
        var result = JobResult(action: "rewrap", target: workplace.target, requestID: job.requestID)
        result.dryRun = job.dryRun
        let recipients = workplace.writer.recipients + workplace.writer.optionalRecipients
        result.details = [
            "sets": .integer(Int64(total)),
            "current": .integer(Int64(current)),
            "failed": .integer(Int64(failures.count)),
            "recipients": .array(recipients.map { .string($0.capabilities.name) }),
        ]
        if job.dryRun {
            result.details["due"] = .integer(Int64(due))
            result.details["plan"] = .array(plans)
        } else {
            result.details["rewrapped"] = .integer(Int64(rewrapped))
            result.details["recordsCopied"] = .integer(Int64(copied))
            result.replayed = total > 0 && replayed == total
        }
        if failures.isEmpty == false {
            result.details["notRewrapped"] = .array(
                failures.prefix(Self.named).map {
                    .object(["key": .string($0.key.description), "cause": .string($0.failure.cause)])
                })
        }
        guard let failure = failure else { return result }
        result.exitCode = failure.exitCode
        result.failure = failure
        return result
    }

    /// The end of a run that could not do all: sets that no key opened, then sets that are damaged, then a store.
    private var failure: JobFailure? {
        if let first = failures.first(where: { $0.failure.exitCode == .keys }) ?? failures.first {
            let causes = failures.prefix(Self.named).map { "\($0.key): \($0.failure.cause)" }
            let others = failures.count > Self.named ? ["and \(failures.count - Self.named) more"] : []
            return JobFailure(
                first.failure.exitCode, "rewrap every set", object: first.key.description,
                cause: "\(failures.count) of \(total) sets were not: \((causes + others).joined(separator: "; "))",
                hint: "the others are done; \(first.failure.hint)")
        }
        guard let (copy, error) = stores.first else { return nil }
        let failure = error as? any Failure
        return JobFailure(
            .notReplicated, "rewrap the sets of the \(copy.text)", object: copy.rawValue,
            cause: failure?.description ?? "\(error)",
            hint: "the first store's sets are done; run again once the second answers"
                + (failure.map { "; \($0.hint)" } ?? ""))
    }
}
