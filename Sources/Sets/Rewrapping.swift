package import Core
import Crypto
import Envelope

/// Brings sets up to the recipients that are configured now, by a record beside each: what was stored stays as it is.
///
/// May be ended at any point and begun again, for what a set has already is found and left: a record is there whole
/// or not at all.
package struct Rewrapping: Sendable {
    private let writer: SetWriterConfiguration
    private let reader: SetReaderConfiguration
    /// Of the optional recipients those that can wrap now.
    private let optional: [any KeyProvider]
    private let wanted: Set<Addressee>
    /// The recipients that can say whether a wrapping under their name is theirs.
    private let checking: [any KeyProvider]
    /// Of the others, name and reason.
    package let unsealed: [String]

    /// Wraps a data key of no set for each recipient, to know how each shows in a set and that it can be had: one
    /// that is required and fails is ``EnvelopeError/recipientFailed(name:reason:hint:)``, before any set is touched.
    /// `key` is one of the sets that are to be rewrapped, for the encryption context that key policies may ask for.
    package init(
        of key: BackupKey, target: String, writer: SetWriterConfiguration, reader: SetReaderConfiguration
    ) async throws {
        let context = setContext(key, target: target)
        var bytes = writer.random(32)
        let probe = SecretBytes(wiping: &bytes)
        var wrapped = try await sealDataKey(probe, for: writer.recipients, context: context)
        var optional: [any KeyProvider] = []
        var unsealed: [String] = []
        for recipient in writer.optionalRecipients {
            do {
                wrapped += try await sealDataKey(probe, for: [recipient], context: context)
                optional.append(recipient)
            } catch EnvelopeError.recipientFailed(let name, let reason, _) {
                unsealed.append("not sealed for the optional recipient \(name): \(reason)")
            }
        }
        var checking: [any KeyProvider] = []
        for (recipient, own) in zip(writer.recipients + optional, wrapped)
        where recipient.capabilities.canUnwrap && !Self.isUnique(own) {
            // Half a key, and one whose other half is not allowed here, fails already at this one.
            do {
                if try await recipient.unwrap(own, context: context) != nil { checking.append(recipient) }
            } catch let error as CancellationError {
                throw error
            } catch {
                continue
            }
        }
        self.writer = writer
        self.reader = reader
        self.optional = optional
        self.unsealed = unsealed
        self.checking = checking
        wanted = Set(wrapped.map(\.addressee))
    }

    /// What a wrapping says of its key is true of no other: an ARN, a fingerprint. Names of files and of objects in
    /// tokens are not so.
    private static func isUnique(_ wrapped: EncryptedDataKey) -> Bool {
        ["aws-kms", "openpgp"].contains(wrapped.providerID)
    }

    /// What is to be done for one set.
    package struct Plan: Sendable {
        let stored: StoredManifest
        let dataKey: SecretBytes
        let home: CopyName
        /// The copies whose newest recipients are not those that are wanted.
        let lacking: [SetCopy]
        /// A record that says what is wanted, from a copy that has it.
        let made: RewrapRecord?
        /// By whom the newest recipients were named, where that was a rewrapping.
        package let requestID: String?
        /// Whom the set can be opened by now, as its first copy says.
        package let recipients: [String]
        /// Copies besides the first that could not be read.
        package let failures: [CopyFailure]

        package var key: BackupKey { stored.manifest.key }
        package var isDone: Bool { lacking.isEmpty }
        /// A new record is needed; otherwise one that is there is copied.
        package var needsWrapping: Bool { made == nil && !lacking.isEmpty }
    }

    /// A store that failed beside another that did not.
    package struct CopyFailure: Sendable {
        package let copy: CopyName
        package let error: any Error
    }

    /// Looks at the set `key`, which is in all of `copies` (never empty). Changes nothing.
    ///
    /// Throws what opening the set throws, and ``SetError`` where the copies hold different sets under the name.
    package func plan(
        _ key: BackupKey, of target: String, in copies: Copies, notes: ReadingNotes
    ) async throws -> Plan {
        let stored = try await Catalog(copies.first.store).manifest(key, of: target)
        let encryption = stored.manifest.encryption
        let search = DataKeySearch(stored: stored, identities: reader.identities, notes: notes)
        let found = try await search.find(
            home: copies.first.store, records: nil, others: copies.reserve.map(\.store))
        // As a restore would believe it: nobody is made a recipient of what is not to be trusted.
        _ = try ManifestSeal.origin(
            of: stored.manifest, opensItself: !found.isFromRecord, trustedSigners: reader.trustedSigners,
            symmetricProviders: reader.symmetricProviders)
        var lacking: [SetCopy] = []
        var made: RewrapRecord?
        var failures: [CopyFailure] = []
        var first: (recipients: [EncryptedDataKey], record: RewrapRecord?)?
        for copy in copies.all {
            do {
                if copy.name != copies.first.name { try await requireSame(stored, in: copy) }
                let newest = try await newestRecord(of: stored, found.dataKey, in: copy, notes)
                let dataKeys = newest?.dataKeys ?? encryption.dataKeys
                first = first ?? (dataKeys, newest)
                if try await isWanted(dataKeys, of: stored.manifest) {
                    made = made ?? newest
                } else {
                    lacking.append(copy)
                }
            } catch let failure as any Failure where failure.exitCode == .store && copy.name != copies.first.name {
                failures.append(CopyFailure(copy: copy.name, error: failure))
            }
        }
        return Plan(
            stored: stored, dataKey: found.dataKey, home: copies.first.name, lacking: lacking, made: made,
            requestID: first?.record?.requestID,
            recipients: (first?.recipients ?? encryption.dataKeys).map(\.recipientName), failures: failures)
    }

    /// Writes the record that `plan` is about to every copy that lacks it. Returns the copies whose store failed; where
    /// that is the first, it throws.
    package func carryOut(_ plan: Plan, at now: Timestamp, requestID: RequestID) async throws -> [CopyFailure] {
        let record: RewrapRecord
        if let made = plan.made {
            record = made
        } else {
            record = try await wrap(plan, at: now, requestID: requestID)
        }
        var failures: [CopyFailure] = []
        for copy in plan.lacking {
            do {
                try await addRecord(
                    RewrapRecord.kind, of: plan.stored.manifest, bytes: record.bytes, to: copy.store, at: now)
            } catch let failure as any Failure where failure.exitCode == .store && copy.name != plan.home {
                failures.append(CopyFailure(copy: copy.name, error: failure))
            }
        }
        return failures
    }

    private func wrap(_ plan: Plan, at now: Timestamp, requestID: RequestID) async throws -> RewrapRecord {
        let sealed = try await resealDataKey(
            plan.dataKey, for: writer.recipients, optional: optional,
            context: plan.stored.manifest.encryption.context)
        return try RewrapRecord(
            sealed.wrapped, of: plan.stored, dataKey: plan.dataKey, signer: writer.signer, time: now,
            requestID: requestID)
    }

    private func requireSame(_ stored: StoredManifest, in copy: SetCopy) async throws {
        let other = try await Catalog(copy.store).manifest(stored.manifest.key)
        guard other.sha256 == stored.sha256 else {
            throw SetError.wrongPlace(
                key: stored.manifest.key.description, problem: "the \(copy.name.text) holds another set of this name")
        }
    }

    /// The newest record of a copy that is one of ours; `nil` where there is none.
    private func newestRecord(
        of stored: StoredManifest, _ dataKey: SecretBytes, in copy: SetCopy, _ notes: ReadingNotes
    ) async throws -> RewrapRecord? {
        for path in try await RewrapRecord.paths(of: stored.manifest.key, in: copy.store).prefix(
            RewrapRecord.mostRead)
        {
            do {
                let record = try await RewrapRecord(path, of: stored, in: copy.store)
                try record.check(of: stored, dataKey: dataKey, path: path)
                return record
            } catch let error as SetError {
                notes.add("the record \(path) of the \(copy.name.text) was passed over: \(error.cause)")
            }
        }
        return nil
    }

    /// Whether `dataKeys` are for exactly the recipients that are configured. Names alone would take a new key for an
    /// old one of the same name: so whatever can be opened here is.
    private func isWanted(_ dataKeys: [EncryptedDataKey], of manifest: Manifest) async throws -> Bool {
        guard Set(dataKeys.map(\.addressee)) == wanted else { return false }
        for recipient in checking {
            for wrapped in dataKeys where !Self.isUnique(wrapped) {
                do {
                    guard
                        let opened = try await recipient.unwrap(wrapped, context: manifest.encryption.context)
                    else { continue }
                    try ManifestSeal.checkMAC(manifest, dataKey: opened)
                } catch let error as CancellationError {
                    throw error
                } catch {
                    // Whyever it does not open, the set is not one that this recipient opens.
                    return false
                }
            }
        }
        return true
    }
}
