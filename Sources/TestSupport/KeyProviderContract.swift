package import Core

/// What every ``KeyProvider`` has to hold, whatever kind of key it stands for. Throws ``ContractViolation`` with the
/// first clause that it does not.
///
/// - `identity` wraps and unwraps.
/// - `stranger` wraps under another key with another name.
/// - `impostor` wraps under another key with the same name.
/// - `bindsContext`: whether the wrapped key opens only under the context it was wrapped under.
/// - `isDeterministic`: whether one data key is always wrapped into the same bytes.
package func keyProviderContract(
    identity: any KeyProvider, stranger: any KeyProvider, impostor: any KeyProvider, bindsContext: Bool,
    isDeterministic: Bool = false
) async throws {
    let dataKey = Samples.dataKey.withUnsafeBytes { SecretBytes($0) }
    try require(!identity.capabilities.name.isEmpty, "has a name")
    try require(identity.capabilities.canWrap && identity.capabilities.canUnwrap, "wraps and unwraps")
    for context in Samples.contexts {
        let wrapped = try await identity.wrap(dataKey, context: context)
        let opened = try await identity.unwrap(wrapped, context: context)
        try require(opened.map(bytes) == bytes(dataKey), "unwraps what it has wrapped")
        try require(!wrapped.ciphertext.isEmpty, "wraps into something")
        try require(wrapped.ciphertext.count <= Int(UInt16.max), "fits a message's header")
        try require(!contains(wrapped, bytes(dataKey)), "does not show the data key in what it wraps")
        let again = try await identity.wrap(dataKey, context: context)
        try require(
            (again.ciphertext == wrapped.ciphertext) == isDeterministic,
            isDeterministic ? "wraps alike each time" : "wraps with fresh randomness each time")
    }
    try await generates(identity, bindsContext: bindsContext)
    try await refusesStrangers(identity, stranger, dataKey)
    try await refusesDamage(identity, impostor, dataKey, bindsContext: bindsContext)
    try await servesManyAtOnce(identity, dataKey)
}

/// A key that is made is as good as one that is given.
private func generates(_ identity: any KeyProvider, bindsContext: Bool) async throws {
    let random = Samples.random()
    for context in Samples.contexts {
        let made = try await identity.generate(context: context, random: random)
        try require(made.dataKey.count == 32, "makes data keys of 32 bytes")
        try require(!contains(made.wrapped, bytes(made.dataKey)), "does not show the data key that it makes")
        let opened = try await identity.unwrap(made.wrapped, context: context)
        try require(opened.map(bytes) == bytes(made.dataKey), "wraps the data key that it makes")
        let again = try await identity.generate(context: context, random: random)
        try require(bytes(again.dataKey) != bytes(made.dataKey), "makes a fresh data key each time")
        let wrapped = try await identity.wrap(made.dataKey, context: context)
        try require(wrapped.providerID == made.wrapped.providerID, "names itself alike in both")
        if bindsContext {
            try await requireRefusal(
                identity, made.wrapped, ["lifeboat-target": "another"], "a made key under another context")
        }
    }
}

/// What is for another key is nobody's fault: `nil`, so that the next identity is tried.
private func refusesStrangers(
    _ identity: any KeyProvider, _ stranger: any KeyProvider, _ dataKey: SecretBytes
) async throws {
    let context = Samples.contexts[1]
    let foreign = try await stranger.wrap(dataKey, context: context)
    try require(try await identity.unwrap(foreign, context: context) == nil, "leaves another key's to that key")
    let own = try await identity.wrap(dataKey, context: context)
    var changed = own
    changed.providerID += "-2"
    try require(try await identity.unwrap(changed, context: context) == nil, "compares the whole provider id")
    changed = own
    changed.providerInfo.append(UInt8(ascii: "x"))
    try require(try await identity.unwrap(changed, context: context) == nil, "compares the whole provider info")
    changed.providerInfo = Array(own.providerInfo.dropLast())
    try require(try await identity.unwrap(changed, context: context) == nil, "takes no shorter name for its own")
    changed.providerInfo = []
    try require(try await identity.unwrap(changed, context: context) == nil, "takes an empty name for no one's")
}

/// What is for this key and does not open is an error with exit code 12 that shows no key.
private func refusesDamage(
    _ identity: any KeyProvider, _ impostor: any KeyProvider, _ dataKey: SecretBytes, bindsContext: Bool
) async throws {
    let context = Samples.contexts[1]
    let wrapped = try await identity.wrap(dataKey, context: context)
    for index in wrapped.ciphertext.indices {
        var changed = wrapped
        changed.ciphertext[index] ^= 1 << (index % 8)
        try await requireRefusal(identity, changed, context, "byte \(index) changed")
    }
    for count in [0, 1, wrapped.ciphertext.count - 1] {
        var changed = wrapped
        changed.ciphertext = Array(wrapped.ciphertext.prefix(count))
        try await requireRefusal(identity, changed, context, "cut to \(count) bytes")
    }
    var longer = wrapped
    longer.ciphertext.append(0)
    try await requireRefusal(identity, longer, context, "a byte added")
    let other = try await impostor.wrap(dataKey, context: context)
    try await requireRefusal(identity, other, context, "wrapped under another key of the same name")
    if bindsContext {
        for other in [[:], Samples.contexts[2]] {
            try await requireRefusal(identity, wrapped, other, "another context")
        }
    }
}

private func servesManyAtOnce(_ identity: any KeyProvider, _ dataKey: SecretBytes) async throws {
    let context = Samples.contexts[2]
    try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<8 {
            group.addTask {
                let wrapped = try await identity.wrap(dataKey, context: context)
                let opened = try await identity.unwrap(wrapped, context: context)
                try require(opened.map(bytes) == bytes(dataKey), "serves several tasks at once")
            }
        }
        try await group.waitForAll()
    }
}

private func requireRefusal(
    _ identity: any KeyProvider, _ wrapped: EncryptedDataKey, _ context: [String: String], _ change: String
) async throws {
    do {
        _ = try await identity.unwrap(wrapped, context: context)
    } catch let error as any Failure {
        try require(error.exitCode == .keys, "ends with exit code 12: \(change)")
        try require(!error.hint.isEmpty, "says what to do next: \(change)")
        return
    }
    throw ContractViolation(description: "a key provider refuses a wrapped key with \(change)")
}

private enum Samples {
    static let dataKey: [UInt8] = (0..<32).map { $0 &* 37 &+ 11 }
    /// Other bytes with every call, the same in every run.
    static func random() -> RandomBytes {
        let generator = Guarded(SeededRandom(seed: 7))
        return { count in generator.withLock { $0.bytes(count) } }
    }

    static let contexts: [[String: String]] = [
        [:],
        ["lifeboat-set": "daily/backup-2025-01-15T07-00-00-000Z", "lifeboat-target": "clinic"],
        ["lifeboat-target": "Ärzte \u{1F691}", "a": "", "": "b"],
    ]
}

private func require(_ condition: Bool, _ clause: String) throws {
    guard condition else { throw ContractViolation(description: "a key provider \(clause)") }
}

private func bytes(_ secret: SecretBytes) -> [UInt8] { secret.withBytes { Array($0) } }

private func contains(_ wrapped: EncryptedDataKey, _ key: [UInt8]) -> Bool {
    [wrapped.ciphertext, wrapped.providerInfo].contains { field in
        field.indices.contains { field[$0...].starts(with: key) }
    }
}
