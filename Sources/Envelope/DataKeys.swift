package import Core

/// A fresh data key, wrapped.
package struct SealedDataKey: Sendable {
    package var dataKey: SecretBytes
    /// In the order of the recipients.
    package var wrapped: [EncryptedDataKey]
    /// Of optional recipients that could not wrap it: name and reason, ready to be recorded.
    package var unsealed: [String]
}

/// Makes a data key and wraps it for each of `recipients` under `context`, in their order: the first one makes it, for
/// a key service makes better ones than we do. Then for each of `optional`.
///
/// Every recipient has to succeed: a set that one of them cannot open is not the set that was asked for. Only an
/// optional one may fail, and is named. Throws ``EnvelopeError/noRecipients``, also where all are optional, and
/// ``EnvelopeError/recipientFailed(name:reason:hint:)``, which names the one that failed; may be repeated.
package func makeDataKey(
    for recipients: [any KeyProvider], optional: [any KeyProvider] = [], context: [String: String],
    random: RandomBytes
) async throws -> SealedDataKey {
    guard let first = recipients.first else { throw EnvelopeError.noRecipients }
    let made = try await sealing(for: first) { try await first.generate(context: context, random: random) }
    var sealed = SealedDataKey(dataKey: made.dataKey, wrapped: [made.wrapped], unsealed: [])
    for recipient in recipients.dropFirst() { try await sealed.add(recipient, context: context) }
    for recipient in optional { try await sealed.addOptional(recipient, context: context) }
    return sealed
}

/// The same for a data key that there is already.
package func resealDataKey(
    _ dataKey: SecretBytes, for recipients: [any KeyProvider], optional: [any KeyProvider] = [],
    context: [String: String]
) async throws -> SealedDataKey {
    guard !recipients.isEmpty else { throw EnvelopeError.noRecipients }
    var sealed = SealedDataKey(dataKey: dataKey, wrapped: [], unsealed: [])
    for recipient in recipients { try await sealed.add(recipient, context: context) }
    for recipient in optional { try await sealed.addOptional(recipient, context: context) }
    return sealed
}

/// The same for recipients of which none is optional.
package func sealDataKey(
    _ dataKey: SecretBytes, for recipients: [any KeyProvider], context: [String: String]
) async throws -> [EncryptedDataKey] {
    try await resealDataKey(dataKey, for: recipients, context: context).wrapped
}

extension SealedDataKey {
    fileprivate mutating func add(_ recipient: any KeyProvider, context: [String: String]) async throws {
        wrapped.append(try await seal(dataKey, for: recipient, context: context))
    }

    fileprivate mutating func addOptional(_ recipient: any KeyProvider, context: [String: String]) async throws {
        do {
            try await add(recipient, context: context)
        } catch EnvelopeError.recipientFailed(let name, let reason, _) {
            unsealed.append("not sealed for the optional recipient \(name): \(reason)")
        }
    }
}

private func seal(
    _ dataKey: SecretBytes, for recipient: any KeyProvider, context: [String: String]
) async throws -> EncryptedDataKey {
    try await sealing(for: recipient) { try await recipient.wrap(dataKey, context: context) }
}

private func sealing<Result>(
    for recipient: any KeyProvider, _ body: () async throws -> Result
) async throws -> Result {
    let name = recipient.capabilities.name
    guard recipient.capabilities.canWrap else {
        throw EnvelopeError.recipientFailed(
            name: name, reason: "this key cannot seal", hint: "name another key in BACKUP_RECIPIENTS")
    }
    do {
        return try await body()
    } catch let error as CancellationError {
        throw error
    } catch let error as any Failure {
        throw EnvelopeError.recipientFailed(name: name, reason: error.cause, hint: error.hint)
    } catch {
        // What a stranger's error says may hold anything; its kind may not.
        throw EnvelopeError.recipientFailed(
            name: name, reason: "it failed with \(type(of: error))", hint: "check the key, and run again")
    }
}

/// Opens the first of `dataKeys` that one of `identities` can open.
///
/// Throws ``EnvelopeError/noKeyOpens(_:recipients:)`` with each identity's reason where none does. That the key is
/// the right one shows in ``MessageReader/init(header:dataKey:)``.
package func openDataKey(
    _ dataKeys: [EncryptedDataKey], context: [String: String], with identities: [any KeyProvider]
) async throws -> SecretBytes {
    var refusals: [KeyRefusal] = []
    for identity in identities {
        let name = identity.capabilities.name
        guard identity.capabilities.canUnwrap else {
            refusals.append(KeyRefusal(key: name, reason: .sealsOnly))
            continue
        }
        var reason = KeyRefusal.Reason.notAddressed
        for wrapped in dataKeys {
            do {
                guard let dataKey = try await identity.unwrap(wrapped, context: context) else { continue }
                guard dataKey.count == Format.dataKeyLength else {
                    reason = .failed("what it opens has \(dataKey.count) bytes and is no data key")
                    continue
                }
                return dataKey
            } catch let error as CancellationError {
                throw error
            } catch let error as any Failure {
                reason = .failed(error.cause)
            } catch {
                reason = .failed("it failed with \(type(of: error))")
            }
        }
        refusals.append(KeyRefusal(key: name, reason: reason))
    }
    // A header may name thousands of recipients; a message to a person, a few.
    throw EnvelopeError.noKeyOpens(refusals, recipients: dataKeys.prefix(8).map(\.recipientName))
}
