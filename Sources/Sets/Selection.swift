package import Core
import Crypto

extension Copies {
    /// The set that `selector` means in the first of the copies that can say it; what another one had to say is noted.
    package func resolve(
        _ selector: KeySelector, for requestID: RequestID, action: String, random: RandomBytes, notes: ReadingNotes
    ) async throws -> BackupKey {
        if case .exact(let key) = selector { return key }
        if let kept = await keptInReserve(selector, requestID, action) { return kept }
        var refusals = CopyRefusals()
        for copy in all {
            do {
                let key = try await Catalog(copy.store).resolve(
                    selector, for: requestID, action: action, random: random, hasReserve: !reserve.isEmpty)
                if let reason = refusals.reason {
                    notes.add("'\(selector)' was looked for in the \(copy.name.text): \(reason)")
                }
                return key
            } catch let error as CancellationError {
                throw error
            } catch {
                refusals.add(copy, error)
            }
        }
        throw refusals.error
    }

    /// What an earlier try of the request chose in a reserve copy, because the first failed then.
    private func keptInReserve(
        _ selector: KeySelector, _ requestID: RequestID, _ action: String
    ) async -> BackupKey? {
        for copy in reserve {
            do {
                if let key = try await Catalog(copy.store).kept(selector, for: requestID, action: action) {
                    return key
                }
            } catch {
                // A reserve that does not answer keeps nobody from the first copy; where that fails too, the same
                // reserve is asked again and says why.
                continue
            }
        }
        return nil
    }
}

extension Catalog {
    /// The set that `selector` means. A symbolic one means the same set in every replay of a request: what it meant
    /// first is kept beside the sets. `hasReserve`: a newest set whose manifest is damaged here is chosen all the same,
    /// for it may be sound in another copy.
    package func resolve(
        _ selector: KeySelector, for requestID: RequestID, action: String, random: RandomBytes,
        hasReserve: Bool = false
    ) async throws -> BackupKey {
        if case .exact(let key) = selector { return key }
        return try await resolve(selector.description, for: requestID, action: action) {
            try await choose(selector, random: random, hasReserve: hasReserve)
        }
    }

    /// The same for what is chosen in another way: `question` says what was asked for, and `choosing` answers it once for
    /// a request.
    package func resolve(
        _ question: String, for requestID: RequestID, action: String, choosing: () async throws -> BackupKey
    ) async throws -> BackupKey {
        guard requestID.isReplayable else { return try await choosing() }
        let path = notePath(requestID, action)
        if let kept = try await keptChoice(path, question) { return kept }
        let key = try await choosing()
        let note = JSON.object(["selector": .string(question), "key": .string(key.description)])
        do {
            try await store.put(path, note.canonicalBytes, createOnly: true)
            return key
        } catch is StoreConflict {
            return try await keptChoice(path, question) ?? key
        }
    }

    private func notePath(_ requestID: RequestID, _ action: String) -> String {
        "requests/\(hexText(Self.digest(requestID)))-\(action).json"
    }

    /// What the request's symbolic key meant before; `nil` where nothing was kept.
    fileprivate func kept(
        _ selector: KeySelector, for requestID: RequestID, action: String
    ) async throws -> BackupKey? {
        guard requestID.isReplayable else { return nil }
        return try await keptChoice(notePath(requestID, action), selector.description)
    }

    private func keptChoice(_ path: String, _ question: String) async throws -> BackupKey? {
        let bytes: [UInt8]
        do {
            bytes = try await store.read(path, limit: 1 << 16)
        } catch is ObjectNotFound {
            return nil
        } catch let error as ObjectTooLarge {
            throw SetError.damagedRecord(path: path, problem: "\(error)")
        }
        do {
            var fields = try JSONFields(try JSON(parsing: bytes), path: "")
            // Another selector under the same request is another question.
            guard try fields.string("selector") == question else { return nil }
            return try fields.backupKey("key")
        } catch {
            throw SetError.damagedRecord(path: path, problem: "\(error)")
        }
    }

    private func choose(
        _ selector: KeySelector, random: RandomBytes, hasReserve: Bool
    ) async throws -> BackupKey {
        let listing = try await listing(Tier.selectable)
        let committed = listing.entries.filter(\.isCommitted)
        switch selector {
        case .exact(let key): return key
        case .latest(nil):
            let head = try await head(in: listing)
            // Whoever asks for the newest is not given an older one in silence.
            if hasReserve, let damaged = head.damagedKeys.first { return damaged }
            if let damaged = head.damaged.first { throw damaged }
            guard let newest = head.stored else { throw SetError.noSets("latest") }
            return newest.manifest.key
        case .latest(let tier?):
            return try first(committed) { $0.tier == tier } ?? { throw SetError.noSets("\(selector)") }()
        case .day(let tier, let day):
            return try first(committed) { $0.tier == tier && $0.timestamp.day == day }
                ?? { throw SetError.notFound("\(selector)") }()
        case .random:
            return try longestUnverified(committed, random: random)
        }
    }

    private func first(_ entries: [Entry], where matches: (BackupKey) -> Bool) -> BackupKey? {
        entries.first { matches($0.key) }?.key
    }

    /// Of the newest thirty sets that need no thaw one without a proof, else one whose proofs are fewest; among equals by
    /// chance, so that no set is passed over for good.
    private func longestUnverified(_ entries: [Entry], random: RandomBytes) throws -> BackupKey {
        let recent = entries.filter { !$0.isArchived }.prefix(Self.recentCount)
        guard let fewest = recent.map(\.proofCount).min() else { throw SetError.noSets("random") }
        let candidates = recent.filter { $0.proofCount == fewest }
        let draw = random(4).reduce(0) { $0 << 8 | Int($1) }
        return candidates[candidates.startIndex + draw % candidates.count].key
    }

    private static let recentCount = 30
}
