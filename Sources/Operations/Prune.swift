package import Core
import Sets

/// Deletes the target's sets that are past their retention.
package struct Prune: Sendable {
    private let workplace: Workplace
    private let job: PruneJob

    package init(_ job: PruneJob, at workplace: Workplace) {
        self.job = job
        self.workplace = workplace
    }

    package func run() async throws -> JobResult {
        throw JobFailure(
            .configuration, "prune", object: job.target, cause: "this build does not do it yet",
            hint: "take a later build")
    }
}
