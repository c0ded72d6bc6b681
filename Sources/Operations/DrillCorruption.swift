import Core
import Sets
import WALArchive

/// What can happen to the objects of a set. Each kind is done to a copy and has to be found.
enum CorruptionKind: String, CaseIterable, Sendable {
    case bitFlip = "BIT_FLIP"
    case truncation = "TRUNCATION"
    case missingSegment = "MISSING_SEGMENT"
    case swappedSegments = "SWAPPED_SEGMENTS"
    case editedManifest = "EDITED_MANIFEST"
    case foreignManifest = "FOREIGN_MANIFEST"
    case editedRecord = "EDITED_RECORD"
}

extension Drill {
    /// Every kind of damage is done to a copy of the set, and each has to be found by what `verify` does; then the set
    /// itself is restored and compared, which shows that it was the damage that was found.
    func corruptData(_ course: DrillCourse, _ meter: ProgressMeter) async throws {
        let (reader, home) = try await course.step("RETRIEVE_BACKUP", shows: "BACKUP_AVAILABILITY") { findings in
            let opened = try await openSet(findings, course, meter)
            let copy = try await wholeCopy(of: opened)
            // From this copy alone, so that nothing of another mends what is found, or hides it.
            let reader = try await workplace.openWithRecords(opened.manifest.key, in: copy)
            course.change { $0.set = reader.stored }
            return (reader, copy.store)
        }
        let key = reader.manifest.key
        var missed: [String] = []
        for kind in CorruptionKind.allCases {
            meter.begin("detect \(kind.rawValue)", expected: reader.manifest.storedSize)
            let isFound = try await detect(kind.rawValue, of: key, course) {
                try await damage(kind, of: reader.stored, in: home)
            } by: { store in
                try await verification(workplace, key, store, meter)
            }
            if !isFound { missed.append(kind.rawValue) }
        }
        missed += try await corruptLog(after: reader, in: home, course, meter)
        course.validate("DETECTION_CHECK", missed.isEmpty ? .passed : .failed, missed.map { "\($0) was not found" })
        // The search for damage is no part of a recovery.
        try await restore(reader, following: nil, since: course.elapsed, course, meter)
    }

    /// Has one kind of damage done and looked for: whether `verify`, shown the damaged copy, throws what shows it.
    func detect(
        _ kind: String, of key: BackupKey, _ course: DrillCourse, _ damage: () async throws -> Damaged,
        by verify: (any Store) async throws -> Void
    ) async throws -> Bool {
        try await course.step("DETECT_\(kind)", shows: "CORRUPTION_DETECTION") { findings in
            let made = try await damage()
            findings.say(made.text)
            do {
                try await verify(made.store)
            } catch let failure as any Failure where failure.showsDamage && !Task.isCancelled {
                let isOurs = failure is SetError || failure is WALArchiveError
                findings.say("found: \(isOurs ? failure.description : failure.exitCode.meaning)")
                return true
            }
            findings.fail("not found: the damaged copy was taken for sound", undetected(kind, key))
            return false
        }
    }

    private func undetected(_ kind: String, _ key: BackupKey) -> JobFailure {
        JobFailure(
            .verificationFailed, "find the damage", object: "\(kind) of \(key)",
            cause: "a damaged copy was taken for sound",
            hint: "trust no verification until this is explained; report it, with the drill's record")
    }

    /// The copy that has all of the set's objects. A set whose segments lie in two has none to damage.
    private func wholeCopy(of reader: SetReader) async throws -> SetCopy {
        var failure: (any Error)?
        for copy in try workplace.copies(.primary).all {
            do {
                let stored = try await Catalog(copy.store).manifest(reader.manifest.key, of: workplace.target)
                let places = try await SegmentPlaces.find(stored.manifest, in: Copies(copy))
                if places.archived.isEmpty { return copy }
            } catch let error as any Failure {
                failure = failure ?? error
            }
        }
        throw failure ?? SetError.notFound(reader.manifest.key.description)
    }

    // MARK: Damage

    struct Damaged: Sendable {
        var store: DamagedStore
        /// What was done, for the record.
        var text: String
    }

    private func damage(
        _ kind: CorruptionKind, of stored: StoredManifest, in store: any Store
    ) async throws -> Damaged {
        let directory = SetLayout.directory(stored.manifest.key)
        let manifest = SetLayout.manifest(stored.manifest.key)
        let segments = stored.manifest.parts.flatMap(\.segments).filter { $0.storedSize > 0 }
        let segment = try chosen(segments, of: stored)
        let path = directory + segment.path
        switch kind {
        case .bitFlip:
            let offset = Int64(draw(UInt64(segment.storedSize)))
            let bit = UInt8(draw(8))
            return Damaged(
                store: DamagedStore(base: store, damage: [path: .flip(offset: offset, bit: bit)]),
                text: "bit \(bit) of byte \(offset) of \(path) turned over")
        case .truncation:
            let end = Int64(draw(UInt64(segment.storedSize)))
            return Damaged(
                store: DamagedStore(base: store, damage: [path: .cut(to: end)]),
                text: "\(path) cut to \(end) of \(segment.storedSize) bytes")
        case .missingSegment:
            return Damaged(store: DamagedStore(base: store, damage: [path: .missing]), text: "\(path) taken away")
        case .swappedSegments:
            // Every set has at least two: its contents are a part of their own.
            let other = directory + (try chosen(segments.filter { $0.path != segment.path }, of: stored)).path
            return Damaged(
                store: DamagedStore(
                    base: store, damage: [path: .replaced(by: other), other: .replaced(by: path)]),
                text: "\(path) and \(other) exchanged")
        case .editedManifest:
            var edited = stored.manifest
            edited.sourceSize += 1
            return Damaged(
                store: DamagedStore(base: store, damage: [manifest: .bytes(edited.json().canonicalBytes)]),
                text: "a size in \(manifest) changed")
        case .foreignManifest:
            let foreign = try await foreignManifest(than: stored, in: store)
            return Damaged(
                store: DamagedStore(base: store, damage: [manifest: .bytes(foreign.bytes)]),
                text: "\(manifest) replaced by that of \(foreign.key)")
        case .editedRecord:
            return try await editedRecord(of: stored, in: store)
        }
    }

    private func chosen(_ segments: [Segment], of stored: StoredManifest) throws -> Segment {
        guard !segments.isEmpty else {
            throw JobFailure(
                .inconclusive, "damage a copy of the set", object: stored.manifest.key.description,
                cause: "it has too few segments", hint: "rehearse with another set")
        }
        return segments[Int(draw(UInt64(segments.count)))]
    }

    /// A number below `limit`.
    func draw(_ limit: UInt64) -> UInt64 {
        workplace.random(8).reduce(0) { $0 << 8 | UInt64($1) } % max(limit, 1)
    }

    /// The manifest of another set of the target, an older one if there is; of the only set one with an earlier name.
    private func foreignManifest(
        than stored: StoredManifest, in store: any Store
    ) async throws -> (key: BackupKey, bytes: [UInt8]) {
        let key = stored.manifest.key
        let others = try await Catalog(store).listing().entries.filter { $0.isCommitted && $0.key != key }
        let older = others.first { $0.key.timestamp < key.timestamp } ?? others.first
        if let older { return (older.key, try await store.read(SetLayout.manifest(older.key))) }
        var invented = stored.manifest
        invented.key.timestamp = key.timestamp.adding(seconds: -86_400)
        return (invented.key, invented.json().canonicalBytes)
    }

    /// A proof that says something else than it did; beside a set without one, a proof that nobody made.
    private func editedRecord(of stored: StoredManifest, in store: any Store) async throws -> Damaged {
        let key = stored.manifest.key
        var paths: [String] = []
        for try await object in store.list(SetLayout.directory(key) + "records/") { paths.append(object.key) }
        try Task.checkCancellation()
        if let path = paths.last(where: { $0.hasSuffix("-proof.json") }) {
            let edited = Self.edited(try await store.read(path, limit: 1 << 16))
            return Damaged(
                store: DamagedStore(base: store, damage: [path: .bytes(edited)]), text: "\(path) changed")
        }
        let path = SetLayout.record(key, number: paths.count + 1, kind: "proof")
        let forged = JSON.object([
            "format": .integer(1), "kind": .string("proof"), "key": .string(key.description),
            "manifestSHA256": .string(hexText(stored.sha256)), "depth": .string(ProofDepth.restore.rawValue),
            "verdict": .string(Verdict.proven.rawValue), "time": .string(workplace.clock.now().description),
            "requestId": .string("somebody else"), "contentsCompared": .bool(true),
            "mac": .string(String(repeating: "0", count: 64)),
        ])
        return Damaged(
            store: DamagedStore(base: store, damage: [path: .bytes(forged.canonicalBytes)]), text: "\(path) forged")
    }

    /// The record with another request in it, as canonical as it was, so that its form does not give it away.
    private static func edited(_ record: [UInt8]) -> [UInt8] {
        do {
            guard case .object(var members) = try JSON(parsing: record) else { return [] }
            members["requestId"] = .string("somebody else")
            return JSON.object(members).canonicalBytes
        } catch {
            return []
        }
    }
}

extension Failure {
    /// Something is wrong with what was read, rather than with the reading of it. A data key that does not open is that
    /// of a header that was changed, for the set's own has been opened before.
    fileprivate var showsDamage: Bool {
        if case .notFound? = self as? SetError { return true }
        return exitCode == .verificationFailed || exitCode == .keys
    }
}
