import Core

/// Finds recipients that are themselves among the keys: by what the keys can open, not by what they are called.
struct RecipientCheck: Sendable {
    let recipients: [any KeyProvider]
    let candidates: KeyCandidates
    let random: RandomBytes

    /// A recipient that a file of the directory opens.
    struct Found: Sendable {
        var recipient: String
        var file: String
    }

    private static let context = ["lifeboat-probe": "keys"]

    /// Wraps a random data key for each recipient, as a set's is, and lets each key file try to open it. Throws what a
    /// recipient throws that cannot wrap.
    func run(_ keys: [KeySet.Key]) async throws -> [Found] {
        var found: [Found] = []
        for (index, recipient) in recipients.enumerated() {
            let probe = try await probe(for: recipient, isFirst: index == 0)
            let name = recipient.capabilities.name
            for key in keys where try await opens(probe, with: key.content, as: name) {
                found.append(Found(recipient: name, file: key.file))
                break
            }
        }
        return found
    }

    private typealias Probe = (dataKey: SecretBytes, wrapped: EncryptedDataKey)

    private func probe(for recipient: any KeyProvider, isFirst: Bool) async throws -> Probe {
        // As a set's data key comes to be, so that nothing more has to be allowed at a key service.
        if isFirst { return try await recipient.generate(context: Self.context, random: random) }
        var fresh = random(32)
        let dataKey = SecretBytes(wiping: &fresh)
        return (dataKey, try await recipient.wrap(dataKey, context: Self.context))
    }

    private func opens(_ probe: Probe, with content: SecretBytes, as recipient: String) async throws -> Bool {
        for candidate in candidates(content, recipient) where candidate.capabilities.canUnwrap {
            do {
                guard let opened = try await candidate.unwrap(probe.wrapped, context: Self.context) else { continue }
                if isSame(opened, probe.dataKey) { return true }
            } catch let failure as any Failure where failure.exitCode == .keys {
                // It is another key. What keeps a key from being tried at all is no answer.
                continue
            }
        }
        return false
    }

    private func isSame(_ a: SecretBytes, _ b: SecretBytes) -> Bool {
        a.withBytes { a in b.withBytes { b in a.elementsEqual(b) } }
    }
}
