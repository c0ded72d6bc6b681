package import Core
import Sets

/// Sets or lifts the legal hold on a set.
package struct Hold: Sendable {
    private let workplace: Workplace
    private let job: HoldJob

    package init(_ job: HoldJob, at workplace: Workplace) {
        self.job = job
        self.workplace = workplace
    }

    package func run() async throws -> JobResult {
        throw JobFailure(
            .configuration, "change the legal hold", object: job.target, cause: "this build does not do it yet",
            hint: "take a later build")
    }
}
