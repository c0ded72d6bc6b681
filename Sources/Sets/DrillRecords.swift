package import Core

/// The records of a target's drills, authenticated by the key of the set that each was made with, and signed where there
/// is a key to sign with. Only a holder of the set's key, or of the signing key, can have written one that is believed.
package struct DrillRecords: Sendable {
    private let store: any Store
    private let configuration: SetReaderConfiguration
    private let seal: RecordSeal

    /// `store` is the target's own part of it.
    package init(_ store: any Store, configuration: SetReaderConfiguration, seal: RecordSeal) {
        self.store = store
        self.configuration = configuration
        self.seal = seal
    }

    package static let purpose = "lifeboat drill mac v1"
    /// Bytes: a record has a few thousand, and one about very many sets names only some of them.
    private static let largest = 1 << 20
    /// Tries of one request whose record is kept.
    private static let mostTries = 100

    /// Stores `record` under its name or, where an earlier try of the request has that, under the next that is free;
    /// returns it as it is stored. It is kept as its set is. Throws where nothing here can authenticate it.
    package func add(_ record: DrillRecord, of stored: StoredManifest) async throws -> DrillRecord {
        let records = try await SetRecords.open(stored, in: store, configuration: configuration)
        var record = record
        let name = record.testID
        var number = 1
        while true {
            var document = try members(of: record)
            if let dataKey = records.dataKey {
                document["mac"] = .string(
                    hexText(ManifestSeal.mac(.object(document), purpose: Self.purpose, dataKey: dataKey)))
            }
            if let signature = try seal.signature(.object(document)) { document["signature"] = signature.json }
            guard document["mac"] != nil || document["signature"] != nil else { throw unsealed(record) }
            do {
                _ = try await store.put(
                    DrillRecord.path(record.testID), from: MemorySource(JSON.object(document).canonicalBytes),
                    options: PutOptions(
                        createOnly: true, protection: stored.manifest.protection(in: store, at: record.finished)))
                return record
            } catch let conflict as StoreConflict {
                guard number < Self.mostTries else { throw conflict }
                number += 1
                record.testID = "\(name)-\(number)"
            }
        }
    }

    /// The newest try under the name `testID`; `nil` where there is none that is to be believed: its set is gone, or no
    /// key here opens that. ``SetError/damagedRecord(path:problem:)`` for one that its set's key did not make.
    package func newest(_ testID: String) async throws -> DrillRecord? {
        var tries: [(number: Int, testID: String)] = []
        for try await object in store.list(DrillRecord.directory + testID) {
            guard let found = Self.name(object.key) else { continue }
            if found == testID {
                tries.append((1, found))
            } else if found.hasPrefix("\(testID)-"), let number = Int(found.dropFirst(testID.count + 1)) {
                tries.append((number, found))
            }
        }
        try Task.checkCancellation()
        guard let last = tries.max(by: { $0.number < $1.number }) else { return nil }
        return try await read(last.testID)
    }

    private static func name(_ path: String) -> String? {
        guard path.hasPrefix(DrillRecord.directory), path.hasSuffix(".json") else { return nil }
        return String(path.dropFirst(DrillRecord.directory.count).dropLast(5))
    }

    /// The record of this very name; `nil` where nothing here can tell who wrote it.
    package func read(_ testID: String) async throws -> DrillRecord? {
        let path = DrillRecord.path(testID)
        let (record, mac, signature, document) = try await parse(path)
        guard record.testID == testID else {
            throw SetError.damagedRecord(path: path, problem: "it is the record of \(record.testID)")
        }
        var signed = document
        if let mac { signed["mac"] = .string(hexText(mac)) }
        if seal.isTrusted(signature, of: .object(signed)) { return record }
        guard let mac else { return nil }
        let stored: StoredManifest
        do {
            stored = try await Catalog(store).manifest(record.set.key)
        } catch SetError.notFound {
            return nil
        }
        // The set was made anew under its name: its key says nothing about the record.
        guard stored.sha256 == record.set.sha256,
            let dataKey = try await SetRecords.open(stored, in: store, configuration: configuration).dataKey
        else { return nil }
        guard ManifestSeal.isMAC(mac, of: .object(document), purpose: Self.purpose, dataKey: dataKey) else {
            throw SetError.damagedRecord(
                path: path, problem: "'mac' does not match: the record was changed or forged")
        }
        return record
    }

    private typealias Parsed = (
        record: DrillRecord, mac: [UInt8]?, signature: Signature?, document: [String: JSON]
    )

    private func parse(_ path: String) async throws -> Parsed {
        do {
            let bytes = try await store.read(path, limit: Self.largest)
            let json = try JSON(parsing: bytes)
            guard json.canonicalBytes == bytes, case .object(var members) = json else {
                throw ManifestError(problem: "it is not in canonical form")
            }
            var fields = try JSONFields(json, path: "")
            let mac = fields.has("mac") ? try fields.hex("mac", count: 32) : nil
            let signature = try fields.signature("signature")
            members["mac"] = nil
            members["signature"] = nil
            return (try DrillRecord(json: .object(members)), mac, signature, members)
        } catch let failure as any Failure {
            throw failure
        } catch let error as CancellationError {
            throw error
        } catch {
            throw SetError.damagedRecord(path: path, problem: "\(error)")
        }
    }

    private func members(of record: DrillRecord) throws -> [String: JSON] {
        guard case .object(let members) = record.json else { throw unsealed(record) }
        return members
    }

    private func unsealed(_ record: DrillRecord) -> JobFailure {
        JobFailure(
            .keys, "keep the drill's record", object: DrillRecord.path(record.testID),
            cause: "no identity here opens \(record.set.key), and there is no key to sign it with",
            hint: "run drills where a private key is at hand, with BACKUP_IDENTITIES, or set BACKUP_SIGNING_KEY")
    }
}
