import Core
import Envelope

/// Finds the data key of a set: in the newest rewrap record that opens, else in the manifest itself.
///
/// Nothing is believed for where it lies. A data key is the set's only where the manifest's MAC holds under it, and a
/// record is one of ours only where its own does. One that is not is passed over and named, for whoever can write to
/// the store could put it there, and must not be able to keep a set from being opened by it.
struct DataKeySearch: Sendable {
    let stored: StoredManifest
    let identities: [any KeyProvider]
    let notes: ReadingNotes

    struct Found: Sendable {
        let dataKey: SecretBytes
        let isFromRecord: Bool
    }

    /// Looks beside the manifest first, in `home`, where `records` are the paths of its records if they are known;
    /// what is in `others`, the stores of further copies, is read only where nothing here opens.
    ///
    /// Throws ``EnvelopeError/noKeyOpens(_:recipients:)`` with what all of them said, ``SetError`` where the manifest
    /// or a record was changed, and the store's error where the records could not be read and may be what is missing.
    func find(home: any Store, records: [String]?, others: [any Store]) async throws -> Found {
        var refusals = Refusals()
        if let found = try await look(in: home, records, &refusals) { return found }
        do {
            return Found(dataKey: try await openOwn(), isFromRecord: false)
        } catch let error as EnvelopeError {
            refusals.add(error)
        }
        for store in others {
            if let found = try await look(in: store, nil, &refusals) { return found }
        }
        throw refusals.error
    }

    /// Whether an identity opens what the manifest itself holds.
    func opensItself() async throws -> Bool {
        do {
            _ = try await openOwn()
            return true
        } catch is EnvelopeError {
            return false
        }
    }

    private func openOwn() async throws -> SecretBytes {
        let dataKey = try await openDataKey(
            stored.manifest.encryption.dataKeys, context: stored.manifest.encryption.context, with: identities)
        try ManifestSeal.checkMAC(stored.manifest, dataKey: dataKey)
        return dataKey
    }

    private func look(
        in store: any Store, _ records: [String]?, _ refusals: inout Refusals
    ) async throws -> Found? {
        var paths: [String]
        do {
            if let records {
                paths = RewrapRecord.newestFirst(records)
            } else {
                paths = try await RewrapRecord.paths(of: stored.manifest.key, in: store)
            }
        } catch let error as CancellationError {
            throw error
        } catch {
            refusals.unread = refusals.unread ?? error
            return nil
        }
        if paths.count > RewrapRecord.mostRead {
            notes.add("only the newest \(RewrapRecord.mostRead) of \(paths.count) records of recipients were read")
            paths.removeLast(paths.count - RewrapRecord.mostRead)
        }
        for path in paths {
            do {
                return Found(dataKey: try await open(path, in: store), isFromRecord: true)
            } catch let error as CancellationError {
                throw error
            } catch let error as EnvelopeError {
                refusals.add(error)
            } catch {
                if let error = error as? SetError { refusals.damaged = refusals.damaged ?? error }
                refusals.unread = refusals.unread ?? error
                notes.add("the record \(path) was passed over: \((error as? any Failure)?.cause ?? "\(error)")")
            }
        }
        return nil
    }

    private func open(_ path: String, in store: any Store) async throws -> SecretBytes {
        let record = try await RewrapRecord(path, of: stored, in: store)
        let dataKey = try await openDataKey(
            record.dataKeys, context: stored.manifest.encryption.context, with: identities)
        do {
            try ManifestSeal.checkMAC(stored.manifest, dataKey: dataKey)
        } catch {
            throw SetError.damagedRecord(
                path: path,
                problem:
                    "the data key in it is not that of the manifest beside it: one of the two was changed or forged")
        }
        try record.check(of: stored, dataKey: dataKey, path: path)
        return dataKey
    }
}

/// Why nothing opened, from the manifest and every record together.
private struct Refusals {
    private var keys: [KeyRefusal] = []
    private var recipients: [String] = []
    private var envelope: EnvelopeError?
    /// A record that is not what its place says.
    var damaged: SetError?
    /// What kept a record from being read.
    var unread: (any Error)?

    mutating func add(_ error: EnvelopeError) {
        guard case .noKeyOpens(let refusals, let names) = error else {
            envelope = envelope ?? error
            return
        }
        for refusal in refusals {
            if let index = keys.firstIndex(where: { $0.key == refusal.key }) {
                // What went wrong says more than that something was for others.
                if case .notAddressed = keys[index].reason { keys[index] = refusal }
            } else {
                keys.append(refusal)
            }
        }
        recipients += names.filter { !recipients.contains($0) }
    }

    var error: any Error {
        if let damaged { return damaged }
        if let unread { return unread }
        return envelope ?? EnvelopeError.noKeyOpens(keys, recipients: Array(recipients.prefix(8)))
    }
}

extension SetReader {
    /// Looks through the set's rewrap records, which opening it does only as far as it needs them. One that is not
    /// what this set's key made is an error that names it.
    package func checkRewraps(_ paths: [String]) async throws {
        for path in RewrapRecord.newestFirst(paths) {
            let record = try await RewrapRecord(path, of: stored, in: home)
            try record.check(of: stored, dataKey: dataKey, path: path)
        }
    }
}
