import CLinux
package import Core
import Glibc

/// A directory or file that is being made beside the location it is for. Fill ``path``, then promote or discard.
package final class StagedTree: Sendable {
    package let exchange: DirectoryExchange
    let workshop: Workshop
    private let madeParents: [String]
    private let marker: Guarded<ExchangeMarker>

    init(exchange: DirectoryExchange, workshop: Workshop, marker: ExchangeMarker, madeParents: [String]) {
        self.exchange = exchange
        self.workshop = workshop
        self.madeParents = madeParents
        self.marker = Guarded(marker)
    }

    /// Where the new directory or file is to be made. Nothing is there yet.
    package var path: String { workshop.treePath }

    /// To be called as soon as something has been made at ``path``, which keeps its identity from here on: by that an
    /// interrupted run's leftovers are told from what it replaced.
    package func mark() throws(FilesError) {
        guard let identity = try workshop.treeIdentity() else {
            throw FilesError(
                .extraction, exitCode: .restoreFailedOriginalIntact, "stage the restore", object: shown(path),
                cause: "nothing has been made there", hint: "the set holds no such tree; take another set")
        }
        try write { $0.staged = identity }
    }

    /// Puts all of `staged` in their places, or none: where one cannot be, those before it are taken back.
    ///
    /// `standing` is what stood at each location when the restore was planned and is what the safety set holds; somebody
    /// who has put something else there meanwhile is not overwritten. Throws ``FilesError`` with exit code 15 where
    /// nothing was exchanged, 16 where it was taken back, 17 where that failed too.
    package static func promote(
        _ staged: [StagedTree], standing: [FileIdentity?], marker: RestoreMarker
    ) throws(FilesError) -> Promoted {
        try promote(staged, standing: standing, marker: marker) { _ throws(FilesError) in }
    }

    /// The same; `before` is called with the number of each tree before it is exchanged, for tests of what then fails.
    static func promote(
        _ staged: [StagedTree], standing: [FileIdentity?], marker: RestoreMarker,
        before: (Int) throws(FilesError) -> Void
    ) throws(FilesError) -> Promoted {
        for (one, expected) in zip(staged, standing) { try one.prepare(expected, marker) }
        var exchanged: [(StagedTree, FileIdentity?)] = []
        for (number, (one, expected)) in zip(staged, standing).enumerated() {
            do throws(FilesError) {
                try before(number)
                try one.swap(expected)
                exchanged.append((one, expected))
                try one.check()
            } catch {
                try takeBack(exchanged, after: error)
            }
        }
        return Promoted(
            replaced: zip(staged, standing).compactMap { $1 == nil ? nil : $0.path },
            notes: staged.compactMap { $0.settle() })
    }

    /// What a promotion has done.
    package struct Promoted: Sendable {
        /// Where what was replaced is now.
        package var replaced: [String]
        package var notes: [String]
    }

    /// Removes it, and the directories above that were made for it. Harmless twice; not after a promotion.
    package func discard() throws(FilesError) {
        try workshop.remove()
        // Only while they are empty, for somebody else may use them by now.
        for parent in madeParents.reversed() where rmdir(parent) != 0 { break }
    }

    private func write(_ change: (inout ExchangeMarker) -> Void) throws(FilesError) {
        var changed = marker.value
        change(&changed)
        try naming("mark the staged tree", workshop.path) { () throws(CallFailure) in try workshop.write(changed) }
        marker.withLock { [changed] in $0 = changed }
    }

    // MARK: Promotion

    /// Everything that can fail before anything is exchanged.
    private func prepare(_ expected: FileIdentity?, _ restore: RestoreMarker) throws(FilesError) {
        try Self.intact(exchange.location) { () throws(FilesError) in
            let operation = "make the staged tree durable"
            try naming(operation, path) { () throws(CallFailure) in
                let directory = try OpenFile(workshop.path, O_RDONLY | O_DIRECTORY)
                try system { linux_sync_file_system(directory.number) }
            }
            try write {
                $0.safetyKey = restore.safetyKey
                $0.time = restore.time
            }
            guard try workshop.treeIdentity() == marker.value.staged else {
                throw foreign("the staged tree is not the one that was made")
            }
            guard try exchange.standing() == expected else {
                throw foreign("something else stands there now than when the restore began")
            }
        }
    }

    private func swap(_ expected: FileIdentity?) throws(FilesError) {
        let (from, to) = (terminated(Workshop.treeName.utf8), terminated(exchange.name.utf8))
        do throws(CallFailure) {
            let workshop = try OpenFile(workshop.path, O_RDONLY | O_DIRECTORY)
            let parent = try OpenFile(exchange.parent, O_RDONLY | O_DIRECTORY)
            try system {
                expected == nil
                    ? linux_rename_exclusive_at(workshop.number, from, parent.number, to)
                    : linux_exchange_at(workshop.number, from, parent.number, to)
            }
        } catch {
            throw exchangeFailed(error.code)
        }
    }

    /// What stands there now must be what was staged, and what came out what was looked at before.
    private func check() throws(FilesError) {
        guard try exchange.standing() == marker.value.staged else {
            throw foreign("what stands there is not what was staged")
        }
    }

    private static func takeBack(
        _ exchanged: [(StagedTree, FileIdentity?)], after failure: FilesError
    ) throws(FilesError) -> Never {
        guard !exchanged.isEmpty else {
            var failure = failure
            failure.exitCode = .restoreFailedOriginalIntact
            throw failure
        }
        for (one, expected) in exchanged.reversed() {
            do throws(FilesError) {
                try one.undo(expected)
            } catch {
                let places = exchanged.map { "\(shown($0.0.exchange.location)) and \(shown($0.0.path))" }
                throw FilesError(
                    .rollbackFailed, exitCode: .rollbackFailed, "put the original back", object: error.object,
                    cause: "\(error.cause), after: \(failure.cause)",
                    hint:
                        "at once: look at \(places.joined(separator: ", ")); one of each is the original, the other "
                        + "the restored one: rename by hand")
            }
        }
        throw FilesError(
            .rolledBack, exitCode: .restoreFailedRolledBack, failure.operation, object: failure.object,
            cause: "\(failure.cause); what had been exchanged was put back", hint: failure.hint)
    }

    private func undo(_ expected: FileIdentity?) throws(FilesError) {
        if expected == nil {
            try naming("put the original back", exchange.location) { () throws(CallFailure) in
                let workshop = try OpenFile(workshop.path, O_RDONLY | O_DIRECTORY)
                let parent = try OpenFile(exchange.parent, O_RDONLY | O_DIRECTORY)
                let (from, to) = (terminated(exchange.name.utf8), terminated(Workshop.treeName.utf8))
                try system { linux_rename_exclusive_at(parent.number, from, workshop.number, to) }
            }
        } else {
            try swap(expected)
        }
        guard try exchange.standing() == expected else { throw foreign("something else stands there now") }
    }

    /// Makes the exchange durable. It holds already, so a failure of this is only worth a note.
    private func settle() -> String? {
        do {
            for path in [exchange.parent, workshop.path] { try OpenFile(path, O_RDONLY | O_DIRECTORY).sync() }
            return nil
        } catch {
            return "the exchange at \(shown(exchange.location)) is made, but could not be flushed to the disk: "
                + systemMessage(error.code)
        }
    }

    // MARK: Errors

    private static func intact(
        _ location: String, _ body: () throws(FilesError) -> Void
    ) throws(FilesError) {
        do throws(FilesError) {
            try body()
        } catch {
            var failure = error
            failure.exitCode = .restoreFailedOriginalIntact
            throw failure
        }
    }

    private func foreign(_ cause: String) -> FilesError {
        FilesError(
            .exchange, exitCode: .restoreFailedOriginalIntact, "exchange the trees", object: shown(exchange.location),
            cause: cause, hint: "find out who else works there, then run again")
    }

    private func exchangeFailed(_ code: Int32) -> FilesError {
        let (cause, hint): (String, String) =
            switch code {
            case EINVAL, ENOSYS:
                (
                    "this file system cannot exchange two directories in one step",
                    "restore to a directory on another file system (targetDatabase), and move the files from there"
                )
            case EBUSY, EXDEV:
                (
                    "it is a mount point, or a directory of the container's image, which cannot be moved",
                    "name the directories below the mount as paths, or restore to a directory on a volume"
                )
            case EEXIST:
                ("something has been put there since the restore began", "find out who works there, then run again")
            default: (systemMessage(code), "see who may write to \(shown(exchange.parent)), then run again")
            }
        return FilesError(
            .exchange, exitCode: .restoreFailedOriginalIntact, "exchange the trees", object: shown(exchange.location),
            cause: cause, hint: hint)
    }
}
