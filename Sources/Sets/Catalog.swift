package import Core
import Crypto

/// The sets of one target, as the store lists them.
package struct Catalog: Sendable {
    let store: any Store

    package init(_ store: any Store) { self.store = store }

    /// Everything under a set's name.
    package struct Entry: Sendable {
        package var key: BackupKey
        /// The set exists: its manifest does.
        package var isCommitted = false
        /// The names of the attempts whose objects are there, the committed one and left-over ones.
        package var attempts: Set<String> = []
        /// Paths of its records, in order.
        package var records: [String] = []
        /// Some object of it lay in an archive when it was listed.
        package var isArchived = false
        /// The youngest object's time, by the store's clock.
        package var modified = Timestamp(milliseconds: 0)
        /// All objects under the name.
        package var objects: [String] = []
    }

    package struct Listing: Sendable {
        /// Newest nominal time first.
        package var entries: [Entry] = []
        /// Keys in the tiers' directories that are no part of any set.
        package var foreign: [String] = []

        /// The sets of this listing that are none in `other`, newest first.
        package func committed(notIn other: Listing) -> [BackupKey] {
            let there = Set(other.entries.filter(\.isCommitted).map(\.key))
            return entries.filter { $0.isCommitted && !there.contains($0.key) }.map(\.key)
        }

        /// The sets that both have, and of which this one has more rewrap records, newest first.
        package func rewrapped(beyond other: Listing) -> [BackupKey] {
            let there = Dictionary(
                other.entries.filter(\.isCommitted).map { ($0.key, $0.rewrapCount) }, uniquingKeysWith: max)
            return entries.filter { entry in
                entry.isCommitted && there[entry.key].map { $0 < entry.rewrapCount } ?? false
            }.map(\.key)
        }
    }

    /// One listing of the sets of `tiers`; nothing is read.
    package func listing(_ tiers: [Tier] = Tier.allCases) async throws -> Listing {
        var listing = Listing()
        var entries: [BackupKey: Entry] = [:]
        for tier in tiers {
            for try await object in store.list("\(tier.rawValue)/") {
                let pieces = object.key.split(separator: "/", omittingEmptySubsequences: false)
                guard pieces.count >= 3, let key = BackupKey("\(pieces[0])/\(pieces[1])") else {
                    listing.foreign.append(object.key)
                    continue
                }
                entries[key, default: Entry(key: key)].add(object, below: pieces[2])
            }
        }
        listing.entries = entries.values.sorted {
            ($0.key.timestamp, $0.key.tier.rawValue) > ($1.key.timestamp, $1.key.tier.rawValue)
        }
        return listing
    }

    /// The set's manifest as it is stored. ``SetError/notFound(_:)`` where there is none.
    package func manifest(_ key: BackupKey) async throws -> StoredManifest {
        let bytes: [UInt8]
        do {
            bytes = try await store.read(SetLayout.manifest(key))
        } catch is ObjectNotFound {
            throw SetError.notFound(key.description)
        } catch let error as ObjectTooLarge {
            throw SetError.unreadableManifest(key: key.description, problem: "\(error)")
        }
        let manifest: Manifest
        do {
            manifest = try Manifest(storedBytes: bytes)
        } catch {
            throw SetError.unreadableManifest(key: key.description, problem: "\(error)")
        }
        guard manifest.key == key else {
            throw SetError.wrongPlace(key: key.description, problem: "it is the manifest of \(manifest.key)")
        }
        return StoredManifest(manifest: manifest, sha256: Array(SHA256.hash(data: bytes)))
    }

    /// The same for a set that has to be `target`'s.
    package func manifest(_ key: BackupKey, of target: String) async throws -> StoredManifest {
        let stored = try await manifest(key)
        guard stored.manifest.target == target else {
            throw SetError.wrongPlace(
                key: key.description, problem: "it is a set of target \(stored.manifest.target)")
        }
        return stored
    }

    /// The end of the target's chain.
    package struct Head: Sendable {
        /// The newest set whose manifest can be read.
        package var stored: StoredManifest?
        /// The number that the next set gets.
        package var next: Int64 = 1
        /// Manifests after it that cannot be read. They stop no backup; they are named until somebody looks.
        package var damaged: [SetError] = []
        /// Their names, in the same order.
        package var damagedKeys: [BackupKey] = []
    }

    /// The newest set in the target's chain, found by the numbers that attempts carry in their names: one read, as
    /// long as no attempt was left unfinished.
    package func head(in listing: Listing) async throws -> Head {
        var head = Head()
        let candidates = listing.entries.filter(\.isCommitted).sorted { $0.claimedSequence > $1.claimedSequence }
        for entry in candidates {
            if let best = head.stored, entry.claimedSequence <= best.manifest.sequence { break }
            do {
                let stored = try await manifest(entry.key)
                if stored.manifest.sequence > head.stored?.manifest.sequence ?? 0 { head.stored = stored }
            } catch let error as SetError where error.exitCode == .verificationFailed {
                head.damaged.append(error)
                head.damagedKeys.append(entry.key)
                head.next = max(head.next, entry.claimedSequence + 1)
            }
        }
        // Without one to follow the chain begins anew: only its first set has none before it.
        head.next = head.stored.map { max(head.next, $0.manifest.sequence + 1) } ?? 1
        return head
    }

    /// The set that this very request finished before, in `tier`.
    package func finished(_ requestID: RequestID, tier: Tier, in listing: Listing) async throws -> StoredManifest? {
        guard requestID.isReplayable else { return nil }
        let digest = hexText(Self.digest(requestID).prefix(8))
        for entry in listing.entries where entry.isCommitted && entry.key.tier == tier {
            guard entry.attempts.contains(where: { SetLayout.reading(attempt: $0)?.requestDigest == digest })
            else { continue }
            let stored = try await manifest(entry.key)
            if stored.manifest.requestID == requestID.description { return stored }
        }
        return nil
    }

    package static func digest(_ requestID: RequestID) -> [UInt8] {
        Array(SHA256.hash(data: Array(requestID.description.utf8)))
    }

    /// Removes what attempts left behind that ended without a set, once nothing has come to them for two days. What is
    /// locked stays until its lock has ended. Only under the target's lock. Returns how many objects went. `allVersions`
    /// needs a right that a backup should not have.
    package func sweepOrphans(
        in listing: Listing, now: Timestamp, allVersions: Bool = false
    ) async throws -> Int {
        var removed = 0
        for entry in listing.entries where !entry.isCommitted && now.seconds(since: entry.modified) > Self.orphanAge {
            for object in entry.objects {
                // An attempt that was killed between its locks and its manifest: no reason to stop a backup.
                if store.capabilities.protects, let info = try await store.stat(object),
                    info.protection.legalHold || info.protection.lock.map({ $0.until > now }) ?? false
                {
                    continue
                }
                try await store.delete(object, allVersions: allVersions)
                removed += 1
            }
        }
        return removed
    }

    /// Seconds.
    private static let orphanAge: Double = 48 * 3600
}

extension Catalog.Entry {
    /// How often it has been looked at.
    var proofCount: Int { records.count { $0.hasSuffix("-proof.json") } }

    /// A record says that it was copied to the second store. A hint: nothing vouches for it but the store itself.
    package var hasCopyRecord: Bool { records.contains { $0.hasSuffix("-copy.json") } }

    fileprivate init(key: BackupKey) { self.key = key }

    fileprivate mutating func add(_ object: ObjectInfo, below: Substring) {
        objects.append(object.key)
        modified = max(modified, object.modified)
        if object.storageClass.isArchive { isArchived = true }
        switch below {
        case "manifest.json": isCommitted = object.key == SetLayout.manifest(key)
        case "records": records.append(object.key)
        default: attempts.insert(String(below))
        }
    }

    /// The highest number in the chain that any attempt went for; 0 where none says.
    fileprivate var claimedSequence: Int64 {
        attempts.compactMap { SetLayout.reading(attempt: $0)?.sequence }.max() ?? 0
    }
}
