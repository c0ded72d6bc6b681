/// How a run ended, as the exit status of the process. The one table of them: `docs/exit-codes.md` is checked
/// against it, and the pod failure policy of the manifests is written from it.
package enum ExitCode: Int32, CaseIterable, Sendable {
    case done = 0
    case eventRefused = 2
    case restoreNotConfirmed = 3
    case configuration = 4
    case source = 10
    case store = 11
    case keys = 12
    case verificationFailed = 13
    case inconclusive = 14
    case restoreFailedOriginalIntact = 15
    case restoreFailedRolledBack = 16
    case rollbackFailed = 17
    case notReplicated = 18
    case thawRequested = 19
    case locked = 75
    case terminated = 143

    /// What it means, in the words of the documentation.
    package var meaning: String {
        switch self {
        case .done: "done"
        case .eventRefused: "event refused: nothing was touched"
        case .restoreNotConfirmed: "restore not confirmed: nothing was touched"
        case .configuration: "configuration missing, wrong or contradictory"
        case .source: "the source could not be read whole"
        case .store: "the store could not be read or written"
        case .keys: "no key opens or seals this"
        case .verificationFailed: "verification failed: the set is damaged or not what it says"
        case .inconclusive: "verification inconclusive: this never counts as a pass"
        case .restoreFailedOriginalIntact: "restore failed, the original is intact"
        case .restoreFailedRolledBack: "restore failed, rolled back to the original"
        case .rollbackFailed: "restore failed and so did the way back: page somebody"
        case .notReplicated: "stored, but a further copy was not made"
        case .thawRequested: "archived: a thaw has been asked for, run again later"
        case .locked: "locked by another run"
        case .terminated: "ended by SIGTERM, cleaned up"
        }
    }
}
