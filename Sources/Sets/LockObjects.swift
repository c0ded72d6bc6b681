import Core

/// The objects under `locks/` of one target.
struct LockObjects: Sendable {
    /// A lock as it stands in the store.
    struct Standing {
        let generation: Int64
        /// `nil` where it is not a lock that this version can read.
        let record: LockRecord?
        /// By the store's clock.
        let modified: Timestamp
    }

    let store: any Store
    let random: RandomBytes

    /// The highest generation; `nil` where there is none yet.
    func highest() async throws -> Int64? {
        var highest: Int64?
        for try await info in store.list(lockPrefix) {
            if let generation = lockGeneration(info.key) { highest = generation }
        }
        try Task.checkCancellation()
        return highest
    }

    /// The lock of `generation`; `nil` where it has gone since it was listed.
    func standing(_ generation: Int64) async throws -> Standing? {
        let bytes: [UInt8]
        do {
            bytes = try await store.read(lockKey(generation), limit: 65536)
        } catch is ObjectNotFound {
            return nil
        }
        // After the bytes, so that a renewal in between makes the lock look younger, never older.
        guard let info = try await store.stat(lockKey(generation)) else { return nil }
        return Standing(generation: generation, record: LockRecord(reading: bytes), modified: info.modified)
    }

    /// Who took over, for the error; unknown where that cannot be read now.
    func holderName(_ generation: Int64) async -> String? {
        do { return try await standing(generation)?.record?.holder } catch { return nil }
    }

    /// The time by the store's clock: what a small object gets that is written now. This machine's clock may be
    /// minutes off, and so may that of the holder's.
    func storeTime() async throws -> Timestamp {
        let key = probePrefix + hexText(random(8))
        try await store.put(key, Array("the store's time, please".utf8))
        let info = try await store.stat(key)
        try await store.delete(key)
        guard let info else {
            throw JobFailure(
                .store, "learn the store's time", object: key, cause: "what was just written is not there",
                hint: "the store must show an object as soon as it is written; use another one")
        }
        return info.modified
    }

    /// Creates `generation`. False where somebody else did.
    func create(_ generation: Int64, _ record: LockRecord) async throws -> Bool {
        do {
            try await store.put(lockKey(generation), record.bytes, createOnly: true)
            return true
        } catch is StoreConflict {
            // A put that was sent twice meets itself.
            return try await standing(generation)?.record == record
        }
    }

    /// Removes what is no longer needed: the generations before `generation`, and probes that a killed run left. What
    /// cannot be removed harms nobody, and the next acquirer tries again; so the run does not fail for it.
    func clear(before generation: Int64, now: Timestamp) async throws {
        do {
            for try await info in store.list(lockPrefix) {
                let isOldLock = lockGeneration(info.key).map { $0 < generation } ?? false
                let isOldProbe = info.key.hasPrefix(probePrefix) && now.seconds(since: info.modified) > 600
                if isOldLock || isOldProbe { try await store.delete(info.key) }
            }
        } catch is CancellationError {
            throw CancellationError()
        } catch {
            return
        }
    }
}
