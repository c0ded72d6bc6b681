package import Core

/// The tombstones of one target in one store.
///
/// Each is written alone. Once many stand they are rolled up into `tombstones/rolled-<n>.json`, so that ten years of
/// removals are some twenty objects: the roll is written first and what is in it deleted after that, so a tombstone
/// may be met twice, never not at all.
package struct TombstoneStore: Sendable {
    let store: any Store

    package init(_ store: any Store) { self.store = store }

    /// What a listing shows of a tombstone that stands alone.
    package struct Name: Hashable, Sendable {
        package var sequence: Int64
        /// The first 8 bytes of the manifest's SHA-256, in hexadecimal.
        package var digest: String

        package init(_ tombstone: Tombstone) {
            self.init(sequence: tombstone.sequence, sha256: tombstone.manifestSHA256)
        }

        package init(sequence: Int64, sha256: [UInt8]) {
            self.sequence = sequence
            digest = hexText(sha256.prefix(8))
        }

        var path: String { "\(TombstoneStore.directory)\(SetLayout.padded(sequence, to: 10))-\(digest).json" }

        init?(path: String) {
            let pieces = path.dropFirst(TombstoneStore.directory.count).split(
                separator: "-", omittingEmptySubsequences: false)
            guard path.hasPrefix(TombstoneStore.directory), pieces.count == 2, pieces[0].count == 10,
                let sequence = Int64(pieces[0]), sequence > 0, pieces[1].hasSuffix(".json"), pieces[1].count == 21
            else { return nil }
            self.sequence = sequence
            digest = String(pieces[1].dropLast(5))
        }
    }

    package struct Listing: Sendable {
        package var alone: [Name] = []
        /// Numbers of the rolls, oldest first.
        package var rolls: [Int64] = []
    }

    static let directory = "tombstones/"
    private static let rollPrefix = directory + "rolled-"
    /// How many stand alone before they are rolled up, and how many a roll holds (some 2.5 MB).
    static let rollAt = 256
    static let rollSize = 4096

    package func listing() async throws -> Listing {
        var listing = Listing()
        for try await object in store.list(Self.directory) {
            if let name = Name(path: object.key) {
                listing.alone.append(name)
            } else if object.key.hasPrefix(Self.rollPrefix), object.key.hasSuffix(".json"),
                let number = Int64(object.key.dropFirst(Self.rollPrefix.count).dropLast(5))
            {
                listing.rolls.append(number)
            }
        }
        try Task.checkCancellation()
        listing.rolls.sort()
        return listing
    }

    /// Writes `tombstone` create-only. One that is there for the same manifest does as well: an earlier run was ended
    /// between it and the deletion.
    package func write(_ tombstone: Tombstone) async throws {
        let name = Name(tombstone)
        do {
            try await store.put(name.path, tombstone.json().canonicalBytes, createOnly: true)
        } catch let conflict as StoreConflict {
            guard try await read(name)?.link == tombstone.link else { throw conflict }
        }
    }

    /// `nil` where there is none. One that cannot be read is ``SetError/damagedRecord(path:problem:)``.
    package func read(_ name: Name) async throws -> Tombstone? {
        guard let json = try await document(name.path, limit: 1 << 16) else { return nil }
        do {
            let tombstone = try Tombstone(json: json)
            guard Name(tombstone) == name else { throw ManifestError(problem: "it is another set's") }
            return tombstone
        } catch {
            throw SetError.damagedRecord(path: name.path, problem: "\(error)")
        }
    }

    /// Many tombstones in one object.
    struct Roll {
        var tombstones: [Tombstone] = []
        /// The roll that this one took the place of.
        var replaces: Int64?
    }

    /// Empty where it has been merged into the next meanwhile.
    func readRoll(_ number: Int64) async throws -> Roll {
        let path = rollPath(number)
        guard let json = try await document(path, limit: 16 << 20) else { return Roll() }
        do {
            var fields = try JSONFields(json, path: "")
            guard try fields.integer("format") == 1, try fields.string("kind") == "tombstones" else {
                throw fields.error("kind", "is none that is known")
            }
            let roll = Roll(
                tombstones: try tombstones(try fields.array("tombstones")),
                replaces: try fields.optionalInteger("replaces"))
            try fields.finish()
            return roll
        } catch {
            throw SetError.damagedRecord(path: path, problem: "\(error)")
        }
    }

    private func tombstones(_ array: [JSON]) throws(JSONFieldError) -> [Tombstone] {
        var tombstones: [Tombstone] = []
        for json in array { tombstones.append(try Tombstone(json: json)) }
        return tombstones
    }

    private func rollPath(_ number: Int64) -> String {
        "\(Self.rollPrefix)\(SetLayout.padded(number, to: 6)).json"
    }

    private func document(_ path: String, limit: Int) async throws -> JSON? {
        let bytes: [UInt8]
        do {
            bytes = try await store.read(path, limit: limit)
        } catch is ObjectNotFound {
            return nil
        } catch let error as ObjectTooLarge {
            throw SetError.damagedRecord(path: path, problem: "\(error)")
        }
        do {
            let json = try JSON(parsing: bytes)
            guard json.canonicalBytes == bytes else { throw ManifestError(problem: "it is not in canonical form") }
            return json
        } catch {
            throw SetError.damagedRecord(path: path, problem: "\(error)")
        }
    }

    /// Rolls up what stands alone, once that is enough to be worth it. `isFinished` says whether nothing of a
    /// tombstone's set is left; others stay alone, for the next run goes on by their names. Only under the target's
    /// lock. Returns how many were rolled up.
    package func rollUp(isFinished: (Tombstone) -> Bool) async throws -> Int {
        let listing = try await listing()
        guard listing.alone.count >= Self.rollAt else { return 0 }
        var fresh: [Tombstone] = []
        for name in listing.alone {
            guard let tombstone = try await read(name), isFinished(tombstone) else { continue }
            fresh.append(tombstone)
        }
        guard fresh.count >= Self.rollAt / 2 else { return 0 }
        let newest = listing.rolls.last ?? 0
        let roll = newest > 0 ? try await readRoll(newest) : Roll()
        if let left = roll.replaces, listing.rolls.contains(left) { try await remove(roll: left) }
        let known = Set(roll.tombstones.map(\.manifestSHA256))
        let added = fresh.filter { !known.contains($0.manifestSHA256) }
        let begins = newest == 0 || roll.tombstones.count + added.count > Self.rollSize
        if !added.isEmpty {
            let document = JSON.object(present: [
                "format": .integer(1), "kind": .string("tombstones"),
                "tombstones": .array(((begins ? [] : roll.tombstones) + added).map { $0.json() }),
                "replaces": begins ? nil : .integer(newest),
            ])
            try await store.put(rollPath(newest + 1), document.canonicalBytes, createOnly: true)
            if !begins { try await remove(roll: newest) }
        }
        for tombstone in fresh { try await store.delete(Name(tombstone).path, allVersions: true) }
        return fresh.count
    }

    private func remove(roll number: Int64) async throws {
        try await store.delete(rollPath(number), allVersions: true)
    }
}
