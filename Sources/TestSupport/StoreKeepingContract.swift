import Core

// The part of the store's contract about how objects are kept: locks, holds, classes and thaws.

/// An hour away by the machine's clock, which is after that of every store, in whole seconds.
private func lock(_ mode: ObjectLock.Mode, minutes: Int64 = 60) -> ObjectLock {
    let now = RealClock().now()
    return ObjectLock(
        mode: mode, until: Timestamp(milliseconds: now.milliseconds / 1000 * 1000).adding(seconds: minutes * 60))
}

/// Demands that a store without a power says so, and that the key stays free.
private func demandNotSupported(_ store: any Store, _ options: PutOptions) async throws {
    do {
        _ = try await store.put("plain", from: MemorySource([1]), options: options)
        throw ContractViolation(description: "it took what its capabilities exclude")
    } catch is NotSupportedByStore {}
    try demand(try await store.stat("plain") == nil, "it stored what it refused")
}

private func demandKept(_ store: any Store, _ key: String, _ bytes: [UInt8]) async throws {
    do {
        try await store.delete(key)
        throw ContractViolation(description: "the protected object \(key) was deleted")
    } catch is any Failure {}
    try demand(try await store.read(key) == bytes, "the protected object \(key) is gone")
}

func keepsLocks(_ store: any Store) async throws {
    let hour = lock(.governance)
    let options = PutOptions(createOnly: true, protection: Protection(lock: hour))
    guard store.capabilities.protects else { return try await demandNotSupported(store, options) }
    _ = try await store.put("locked", from: MemorySource([1, 2]), options: options)
    try demand(
        try await store.stat("locked")?.protection == Protection(lock: hour), "the lock is not there after the put")
    try await demandKept(store, "locked", [1, 2])
    do {
        try await store.delete("locked", allVersions: true)
        throw ContractViolation(description: "all versions of what is protected were deleted")
    } catch is any Failure {}
    try demand(try await store.read("locked") == [1, 2], "the protected object is gone")

    let longer = lock(.governance, minutes: 120)
    for asked in [hour, longer, longer, hour, lock(.governance, minutes: 1)] {
        try await store.amend("locked", .protect(Protection(lock: asked)))
    }
    let found = try await store.stat("locked")?.protection.lock
    try demand(found == longer, "after prolonging and shortening there is \(String(describing: found))")
}

func keepsLaterProtection(_ store: any Store) async throws {
    try await store.put("later", [7])
    let hour = lock(.compliance)
    guard store.capabilities.protects else {
        for protection in [Protection(lock: hour), Protection(legalHold: true)] {
            do {
                try await store.amend("later", .protect(protection))
                throw ContractViolation(description: "it took what its capabilities exclude")
            } catch is NotSupportedByStore {}
        }
        return
    }
    for _ in 0..<2 {
        try await store.amend("later", .protect(Protection(legalHold: true)))
        try demand(
            try await store.stat("later")?.protection == Protection(legalHold: true), "the hold is not there")
    }
    try await demandKept(store, "later", [7])
    try await store.amend("later", .protect(Protection(lock: hour)))
    try demand(
        try await store.stat("later")?.protection == Protection(lock: hour, legalHold: true),
        "the lock is not beside the hold")
    let both = PutOptions(protection: Protection(lock: hour, legalHold: true))
    _ = try await store.put("both", from: MemorySource([8]), options: both)
    try demand(
        try await store.stat("both")?.protection == both.protection, "the lock and the hold are not there")
}

func liftsHolds(_ store: any Store) async throws {
    try await store.put("held", [7])
    guard store.capabilities.protects else {
        do {
            try await store.amend("held", .liftHold)
            throw ContractViolation(description: "it took what its capabilities exclude")
        } catch is NotSupportedByStore {}
        return
    }
    try await store.amend("held", .protect(Protection(legalHold: true)))
    for _ in 0..<2 {
        try await store.amend("held", .liftHold)
        try demand(try await store.stat("held")?.protection == Protection(), "the hold is still there")
    }
    try await store.delete("held")
    let both = Protection(lock: lock(.governance), legalHold: true)
    _ = try await store.put("both", from: MemorySource([8]), options: PutOptions(protection: both))
    try await store.amend("both", .liftHold)
    try demand(try await store.stat("both")?.protection == Protection(lock: both.lock), "the lock went with the hold")
    try await demandKept(store, "both", [8])
}

func keepsStorageClasses(_ store: any Store) async throws {
    guard store.capabilities.hasStorageClasses else {
        return try await demandNotSupported(store, PutOptions(storageClass: .standardIA))
    }
    for storageClass in StorageClass.allCases {
        let options = PutOptions(storageClass: storageClass)
        _ = try await store.put("in/\(storageClass.rawValue)", from: MemorySource([1]), options: options)
    }
    var listed = 0
    for try await info in store.list("in/") {
        listed += 1
        try demand(
            info.key == "in/\(info.storageClass.rawValue)", "the listing has \(info.storageClass) for \(info.key)")
        let found = try await store.stat(info.key)?.storageClass
        try demand(found == info.storageClass, "stat has \(String(describing: found)) for \(info.key)")
    }
    try demand(listed == StorageClass.allCases.count, "\(listed) are listed")
}

func keepsThaws(_ store: any Store) async throws {
    guard store.capabilities.hasStorageClasses else {
        try await store.put("warm", [1])
        do {
            try await store.amend("warm", .thaw(days: 1))
            throw ContractViolation(description: "it took what its capabilities exclude")
        } catch is NotSupportedByStore {}
        return
    }
    for storageClass in StorageClass.allCases {
        let key = storageClass.rawValue
        let options = PutOptions(storageClass: storageClass)
        _ = try await store.put(key, from: MemorySource([1, 2]), options: options)
        if try await store.stat(key)?.availability == .archived {
            try demand(storageClass.isArchive, "\(key) is archived")
            do {
                _ = try await store.get(key, range: nil)
                throw ContractViolation(description: "what is archived in \(key) was read")
            } catch let archived as ObjectArchived {
                try demand(
                    archived.storageClass == storageClass && !archived.isThawing, "the error has \(archived)")
            }
        }
        for _ in 0..<2 { try await store.amend(key, .thaw(days: 2)) }
        switch try await store.stat(key)?.availability {
        case .online: try demand(try await store.read(key) == [1, 2], "other bytes came back from \(key)")
        case .thawing: try demand(storageClass.isArchive, "\(key) is thawing")
        case let other:
            throw ContractViolation(description: "after the thaw of \(key) it is \(String(describing: other))")
        }
    }
}

func amendsNothing(_ store: any Store) async throws {
    var amendments: [Amendment] = []
    if store.capabilities.protects { amendments += [.protect(Protection(legalHold: true)), .liftHold] }
    if store.capabilities.hasStorageClasses { amendments.append(.thaw(days: 1)) }
    for amendment in amendments {
        do {
            try await store.amend("nothing", amendment)
            throw ContractViolation(description: "what is not there was amended")
        } catch let error as ObjectNotFound {
            try demand(error.key == "nothing", "the error names \(error.key)")
        }
    }
}
