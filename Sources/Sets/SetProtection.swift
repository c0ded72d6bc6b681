package import Core

/// How the objects of a target's sets are to be kept from being changed and deleted.
package struct SetProtection: Equatable, Sendable {
    /// Locks each object until its set's `retainUntil`.
    package var lockMode: ObjectLock.Mode?
    /// Holds each object until a person lifts that.
    package var legalHold: Bool

    package init(lockMode: ObjectLock.Mode? = nil, legalHold: Bool = false) {
        self.lockMode = lockMode
        self.legalHold = legalHold
    }

    package var isNone: Bool { lockMode == nil && !legalHold }
}

extension Manifest {
    /// How objects of this set are to be kept in `store` from `now` on: what the manifest asks for, as far as the kind
    /// of store has it. A lock whose end has passed is none.
    func protection(in store: any Store, at now: Timestamp) -> Protection {
        protection(in: store, at: now, isHeld: retention.legalHold)
    }

    /// The same for a set whose legal hold has been set or lifted since.
    func protection(in store: any Store, at now: Timestamp, isHeld: Bool) -> Protection {
        guard store.capabilities.protects else { return Protection() }
        var lock: ObjectLock?
        if let mode = retention.objectLock, let until = retention.retainUntil, until > now {
            lock = ObjectLock(mode: mode, until: until)
        }
        return Protection(lock: lock, legalHold: isHeld)
    }
}

/// How a segment of a set of `tier` is put: without a lock, so that an attempt that comes to nothing can be removed.
func segmentOptions(
    _ tier: Tier, _ storageClass: StorageClass, _ group: BodyGroup, in store: any Store
) -> PutOptions {
    var options = PutOptions(createOnly: true)
    if store.capabilities.hasStorageClasses {
        options.storageClass = storageClass
        options.tags = group.tags(of: tier)
    }
    return options
}

/// Protects every segment that `manifest` names, all of them just before the manifest that makes them a set.
func protectSegments(of manifest: Manifest, in store: any Store, _ protection: Protection) async throws {
    guard !protection.isNone else { return }
    for segment in manifest.parts.flatMap(\.segments) {
        try await store.amend(SetLayout.directory(manifest.key) + segment.path, .protect(protection))
    }
}
