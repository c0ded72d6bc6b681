package import Core
import Crypto

extension Catalog {
    /// The set that `selector` means. A symbolic one means the same set in every replay of a request: what it meant
    /// first is kept beside the sets.
    package func resolve(
        _ selector: KeySelector, for requestID: RequestID, action: String, random: RandomBytes
    ) async throws -> BackupKey {
        if case .exact(let key) = selector { return key }
        guard requestID.isReplayable else { return try await choose(selector, random: random) }
        let path = "requests/\(hexText(Self.digest(requestID)))-\(action).json"
        if let kept = try await keptChoice(path, selector) { return kept }
        let key = try await choose(selector, random: random)
        let note = JSON.object(["selector": .string(selector.description), "key": .string(key.description)])
        do {
            try await store.put(path, note.canonicalBytes, createOnly: true)
            return key
        } catch is StoreConflict {
            return try await keptChoice(path, selector) ?? key
        }
    }

    private func keptChoice(_ path: String, _ selector: KeySelector) async throws -> BackupKey? {
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
            guard try fields.string("selector") == selector.description else { return nil }
            return try fields.backupKey("key")
        } catch {
            throw SetError.damagedRecord(path: path, problem: "\(error)")
        }
    }

    private func choose(_ selector: KeySelector, random: RandomBytes) async throws -> BackupKey {
        let listing = try await listing(Tier.selectable)
        let committed = listing.entries.filter(\.isCommitted)
        switch selector {
        case .exact(let key): return key
        case .latest(nil):
            let head = try await head(in: listing)
            // Whoever asks for the newest is not given an older one in silence.
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

    /// Of the newest thirty sets one without a proof, else one whose records are fewest; among equals by chance, so that
    /// no set is passed over for good.
    private func longestUnverified(_ entries: [Entry], random: RandomBytes) throws -> BackupKey {
        let recent = entries.prefix(Self.recentCount)
        guard let fewest = recent.map(\.records.count).min() else { throw SetError.noSets("random") }
        let candidates = recent.filter { $0.records.count == fewest }
        let draw = random(4).reduce(0) { $0 << 8 | Int($1) }
        return candidates[candidates.startIndex + draw % candidates.count].key
    }

    private static let recentCount = 30
}
