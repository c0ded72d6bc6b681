package import Core
package import Crypto

/// A set's data key wrapped anew, kept beside it as `records/<n>-rewrap.json`: create-only, authenticated like its
/// manifest. The segments keep their headers: a second header under the same data key would use its nonce again.
///
/// A record is a way to the data key and no more. What it opens to counts only where the manifest's MAC holds under it.
package struct RewrapRecord: Sendable {
    /// What the names of such records end in.
    static let suffix = "-\(kind).json"
    static let kind = "rewrap"
    /// Bytes; one with recipients of every kind has about three thousand.
    private static let largest = 1 << 20
    /// A set has as many records as it was rewrapped times. More than so many are a stranger's doing, and each may cost
    /// a call to a key service.
    static let mostRead = 100

    package let dataKeys: [EncryptedDataKey]
    package let requestID: String
    /// As it is stored.
    package let bytes: [UInt8]
    private let manifestSHA256: [UInt8]
    private let mac: [UInt8]
    private let signature: Signature?
    /// Without `mac` and `signature`.
    private let document: [String: JSON]

    /// A record for the set `stored`, whose data key is `dataKey`.
    package init(
        _ dataKeys: [EncryptedDataKey], of stored: StoredManifest, dataKey: SecretBytes,
        signer: Curve25519.Signing.PrivateKey?, time: Timestamp, requestID: RequestID
    ) throws {
        let encryption = stored.manifest.encryption
        var members: [String: JSON] = [
            "format": .integer(1), "kind": .string(Self.kind), "key": .string(stored.manifest.key.description),
            "manifestSHA256": .string(hexText(stored.sha256)),
            "encryption_info": EncryptionInfo(
                algorithm: encryption.algorithm, context: encryption.context, dataKeys: dataKeys
            ).json,
            "time": .string(time.description), "requestId": .string(requestID.description),
        ]
        document = members
        self.dataKeys = dataKeys
        self.requestID = requestID.description
        manifestSHA256 = stored.sha256
        mac = ManifestSeal.mac(.object(members), purpose: ManifestSeal.recordPurpose, dataKey: dataKey)
        members["mac"] = .string(hexText(mac))
        signature = try signer.map { try ManifestSeal.sign(.object(members), with: $0) }
        if let signature { members["signature"] = signature.json }
        bytes = JSON.object(members).canonicalBytes
    }

    /// Reads what lies under `path` in `store`. Proves nothing yet: ``check(of:dataKey:path:)`` does, once there is a
    /// data key to do it with.
    init(_ path: String, of stored: StoredManifest, in store: any Store) async throws {
        do {
            let bytes = try await store.read(path, limit: Self.largest)
            try self.init(storedBytes: bytes, of: stored)
        } catch let error as ObjectTooLarge {
            throw SetError.damagedRecord(path: path, problem: "\(error)")
        } catch let error as JSONError {
            throw SetError.damagedRecord(path: path, problem: "\(error)")
        } catch let error as JSONFieldError {
            throw SetError.damagedRecord(path: path, problem: "\(error)")
        }
    }

    private init(storedBytes: [UInt8], of stored: StoredManifest) throws {
        let json = try JSON(parsing: storedBytes)
        var fields = try JSONFields(json, path: "")
        guard json.canonicalBytes == storedBytes, case .object(var members) = json else {
            throw fields.error("document", "is not in canonical form")
        }
        guard try fields.integer("format") == 1 else { throw fields.error("format", "is none that is known") }
        guard try fields.string("kind") == Self.kind else { throw fields.error("kind", "is not '\(Self.kind)'") }
        guard try fields.backupKey("key") == stored.manifest.key else {
            throw fields.error("key", "is another set's")
        }
        manifestSHA256 = try fields.hex("manifestSHA256", count: 32)
        let encryption = try EncryptionInfo(json: try fields.required("encryption_info"), path: "encryption_info")
        // Under another context nothing in it would be for this set.
        guard encryption.context == stored.manifest.encryption.context,
            encryption.algorithm == stored.manifest.encryption.algorithm, !encryption.dataKeys.isEmpty
        else { throw fields.error("encryption_info", "is another set's, or empty") }
        dataKeys = encryption.dataKeys
        _ = try fields.timestamp("time")
        requestID = try fields.string("requestId")
        mac = try fields.hex("mac", count: 32)
        signature = try fields.signature("signature")
        try fields.finish()
        members["mac"] = nil
        members["signature"] = nil
        document = members
        bytes = storedBytes
    }

    /// Throws where it was not made by a holder of `dataKey`, which is that of the set, for the manifest `stored`, or
    /// where its signature is wrong.
    func check(of stored: StoredManifest, dataKey: SecretBytes, path: String) throws(SetError) {
        guard
            ManifestSeal.isMAC(
                mac, of: .object(document), purpose: ManifestSeal.recordPurpose, dataKey: dataKey)
        else {
            throw .damagedRecord(path: path, problem: "'mac' does not match: the record was changed or forged")
        }
        guard manifestSHA256 == stored.sha256 else {
            throw .damagedRecord(path: path, problem: "'manifestSHA256' is that of another manifest")
        }
        guard let signature else { return }
        var signed = document
        signed["mac"] = .string(hexText(mac))
        guard ManifestSeal.isSignature(signature, of: .object(signed)) else {
            throw .damagedRecord(path: path, problem: "'signature' is wrong")
        }
    }
}

extension RewrapRecord {
    /// Those of `paths` that are such records, newest first.
    static func newestFirst(_ paths: [String]) -> [String] {
        paths.filter { $0.hasSuffix(suffix) }
            .map { (number: SetLayout.recordNumber($0) ?? 0, path: $0) }
            .sorted { $0.number > $1.number }
            .map(\.path)
    }

    /// The set's records in `store` that read as such, oldest first. None of them is proven.
    static func all(of stored: StoredManifest, in store: any Store) async throws -> [RewrapRecord] {
        var records: [RewrapRecord] = []
        for path in try await paths(of: stored.manifest.key, in: store).prefix(mostRead).reversed() {
            do {
                records.append(try await RewrapRecord(path, of: stored, in: store))
            } catch is SetError {
                // Not one of ours; what opens the set names it.
                continue
            }
        }
        return records
    }

    /// Where the set's records lie in `store`, newest first.
    static func paths(of key: BackupKey, in store: any Store) async throws -> [String] {
        var paths: [String] = []
        for try await object in store.list(SetLayout.directory(key) + "records/") { paths.append(object.key) }
        try Task.checkCancellation()
        return newestFirst(paths)
    }
}

extension Catalog.Entry {
    /// How often its data key has been wrapped anew.
    package var rewrapCount: Int { records.count { $0.hasSuffix(RewrapRecord.suffix) } }
}
