import Core
import Sets

extension Workplace {
    /// The stores a job reads. `secondary` is that one alone; otherwise the first, with the second in reserve.
    func copies(_ choice: StoreChoice) throws -> Copies {
        let first = SetCopy(storeName, store)
        let second = secondary.map { SetCopy(.secondary, $0) }
        guard choice == .secondary else { return Copies(first, reserve: second.map { [$0] } ?? []) }
        if storeName == .secondary { return Copies(first) }
        return Copies(try second ?? { throw noSecondary }())
    }

    /// The stores of a job that has to say what is in each of them.
    func eachCopy(_ choice: StoreChoice) throws -> [SetCopy] {
        let first = SetCopy(storeName, store)
        if choice == .primary { return [first] }
        guard let secondary else { throw noSecondary }
        let second = SetCopy(.secondary, secondary)
        return choice == .secondary ? [second] : [first, second]
    }

    private var noSecondary: JobFailure {
        JobFailure(
            .configuration, "read the second copy", object: "store", cause: "no second store is configured",
            hint: "set BACKUP_SECONDARY_STORE, or leave 'store' out of the event")
    }

    /// The key of the set that `selector` means to this run.
    func resolve(
        _ selector: KeySelector, for requestID: RequestID, action: String, dryRun: Bool, in copies: Copies,
        notes: ReadingNotes
    ) async throws -> BackupKey {
        // A dry run leaves nothing behind, so neither the note of what a symbolic key meant.
        let key = try await copies.resolve(
            selector, for: dryRun ? .random("") : requestID, action: action, random: random, notes: notes)
        await step("\(action) \(key)")
        return key
    }

    /// Where a restore takes its lock and keeps its safety backup: here, or in the second store alone where the first
    /// does not answer, for that may be why there is something to restore.
    func answering(_ notes: ReadingNotes) async throws -> Workplace {
        guard let secondary else { return self }
        do {
            for try await _ in store.list("locks/") { break }
            try Task.checkCancellation()
            return self
        } catch let failure as any Failure where failure.exitCode == .store {
            let what = "the lock and the safety backup are in the second store, for the first does not answer"
            notes.add("\(what): \(failure.cause)")
            var other = self
            other.store = secondary
            other.storeName = .secondary
            other.secondary = nil
            other.exceptions.append(what)
            if !secondary.capabilities.protects { other.writer.protection = SetProtection() }
            return other
        }
    }

    /// The contents of a set that some copy proves; throws only where none of the stores could be asked.
    func verifiedContents(_ key: BackupKey) async throws -> Contents? {
        var failure: (any Error)?
        let copies = try copies(.primary).all
        var refusals = 0
        for copy in copies {
            do {
                if let contents = try await Catalog(copy.store).verifiedContents(key, configuration: reader) {
                    return contents
                }
            } catch let error as CancellationError {
                throw error
            } catch {
                failure = failure ?? error
                refusals += 1
            }
        }
        if let failure, refusals == copies.count { throw failure }
        return nil
    }
}
