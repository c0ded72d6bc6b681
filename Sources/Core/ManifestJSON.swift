// The manifest's text form. Reading is strict: a member that is missing, unknown or out of bounds makes the manifest
// unreadable, and ``Manifest/init(storedBytes:)`` takes only the canonical bytes, so that no byte of a stored manifest
// can change unseen.

extension Manifest {
    package func json(includingMAC: Bool = true, includingSignature: Bool = true) -> JSON {
        .object(present: [
            "format": .integer(Self.formatVersion),
            "key": .string(key.description),
            "target": .string(target),
            "engine": .string(engine),
            "requestId": .string(requestID),
            "attempt": .string(attempt),
            "timestamp": .string(key.timestamp.description),
            "snapshotTime": .string(snapshotTime.description),
            "finishedTime": .string(finishedTime.description),
            "sequence": .exact(sequence),
            "previous": previous.map {
                .object(["key": .string($0.key.description), "sha256": .string(hexText($0.sha256))])
            },
            "needs": needs.isEmpty ? nil : .array(needs.map { .string($0.description) }),
            "details": .object(details.mapValues { .string($0) }),
            "exceptions": .array(exceptions.map { .string($0) }),
            "sourceSize": .exact(sourceSize),
            "compression": .object([
                "algorithm": .string(compression.algorithm.rawValue), "level": .integer(Int64(compression.level)),
            ]),
            "parts": .array(parts.map(\.json)),
            "contents": .object(contents.json),
            "encryption_info": encryption.json,
            "retention": .object(present: [
                "tier": .string(key.tier.rawValue),
                "retainUntil": retention.retainUntil.map { .string($0.description) },
                // Members of later versions: absent where nothing was asked for, as in manifests before them.
                "objectLock": retention.objectLock.map { .string($0.rawValue) },
                "legalHold": retention.legalHold ? .bool(true) : nil,
                "storageClass": retention.storageClass == .standard
                    ? nil : .string(retention.storageClass.rawValue),
                "dataClass": retention.dataClass.map { .string($0.rawValue) },
            ]),
            "mac": includingMAC ? .string(hexText(mac)) : nil,
            "signature": includingSignature ? signature.map(\.json) : nil,
        ])
    }

    /// Reads what a store holds.
    package init(storedBytes: [UInt8]) throws(ManifestError) {
        do {
            let json = try JSON(parsing: storedBytes)
            try self.init(json: json)
            // Canonical JSON alone is not enough: digests in capitals and times in another form would read the same.
            guard self.json().canonicalBytes == storedBytes else {
                throw ManifestError(problem: "it is not in canonical form, so it was changed after it was written")
            }
        } catch let error as ManifestError {
            throw error
        } catch {
            throw ManifestError(problem: "\(error)")
        }
    }

    init(json: JSON) throws(JSONFieldError) {
        var fields = try JSONFields(json, path: "")
        let version = try fields.integer("format")
        guard version == Self.formatVersion else {
            throw fields.error("format", "is \(version); this program reads \(Self.formatVersion)")
        }
        let key = try fields.backupKey("key")
        guard try fields.timestamp("timestamp") == key.timestamp else {
            throw fields.error("timestamp", "is not the key's")
        }
        var parts: [StoredPart] = []
        for (index, part) in try fields.array("parts").enumerated() {
            parts.append(try StoredPart(json: part, path: "parts[\(index)]"))
        }
        self.init(
            key: key, target: try fields.string("target"), engine: try fields.string("engine"),
            requestID: try fields.string("requestId"), attempt: try fields.string("attempt"),
            snapshotTime: try fields.timestamp("snapshotTime"), finishedTime: try fields.timestamp("finishedTime"),
            sequence: try fields.integer("sequence"), previous: try fields.chainLink("previous"),
            details: try fields.stringMap("details"), exceptions: try fields.strings("exceptions"),
            sourceSize: try fields.size("sourceSize"), compression: try fields.compression("compression"),
            parts: parts, contents: try fields.contentsSummary("contents"),
            encryption: try EncryptionInfo(json: try fields.required("encryption_info"), path: "encryption_info"),
            retention: try fields.retention("retention", tier: key.tier), needs: try fields.needs("needs"),
            mac: try fields.hex("mac", count: 32),
            signature: try fields.signature("signature"))
        try fields.finish()
        guard sequence >= 1, (sequence == 1) == (previous == nil) else {
            throw fields.error("sequence", "does not fit 'previous'")
        }
        guard Set(parts.map(\.name)).count == parts.count, !parts.isEmpty else {
            throw fields.error("parts", "must be there, each once")
        }
    }
}

/// Bytes that are no manifest.
package struct ManifestError: Error, CustomStringConvertible {
    package var problem: String

    package init(problem: String) { self.problem = problem }

    package var description: String { problem }
}

extension Signature {
    package var json: JSON {
        .object([
            "algorithm": .string("Ed25519"), "publicKey": .string(hexText(publicKey)),
            "value": .string(hexText(value)),
        ])
    }
}

extension StoredPart {
    package var json: JSON {
        .object([
            "name": .string(name), "plainSize": .exact(plainSize), "storedSize": .exact(storedSize),
            "segments": .array(
                segments.map {
                    .object([
                        "path": .string($0.path), "messageId": .string(hexText($0.messageID)),
                        "plainSize": .exact($0.plainSize), "storedSize": .exact($0.storedSize),
                        "storedSHA256": .string(hexText($0.storedSHA256)),
                    ])
                }),
        ])
    }

    init(json: JSON, path: String) throws(JSONFieldError) {
        var fields = try JSONFields(json, path: path)
        var segments: [Segment] = []
        for (index, segment) in try fields.array("segments").enumerated() {
            var inner = try JSONFields(segment, path: "\(path).segments[\(index)]")
            let segmentPath = try inner.string("path")
            guard
                segmentPath.split(separator: "/", omittingEmptySubsequences: false).allSatisfy({
                    !$0.isEmpty && $0 != "." && $0 != ".."
                })
            else { throw inner.error("path", "leaves the set") }
            segments.append(
                Segment(
                    path: segmentPath, messageID: try inner.hex("messageId", count: 32),
                    plainSize: try inner.size("plainSize"), storedSize: try inner.size("storedSize"),
                    storedSHA256: try inner.hex("storedSHA256", count: 32)))
            try inner.finish()
        }
        self.init(name: try fields.string("name"), segments: segments)
        guard !segments.isEmpty, try fields.size("plainSize") == plainSize,
            try fields.size("storedSize") == storedSize
        else { throw fields.error("segments", "do not add up to the part") }
        try fields.finish()
    }
}

extension EncryptionInfo {
    package var json: JSON {
        .object(present: [
            "algorithm": .string(algorithm),
            "encryption_context": .object(context.mapValues { .string($0) }),
            "encrypted_data_keys": .array(dataKeys.map(\.json)),
            // Where KMS is among the recipients, the two members that tools of the field look for.
            "kms_key_id": kmsKey.map { .string(String(decoding: $0.providerInfo, as: UTF8.self)) },
            "encrypted_data_key": kmsKey.map { .string(hexText($0.ciphertext)) },
        ])
    }

    private var kmsKey: EncryptedDataKey? { dataKeys.first { $0.providerID == "aws-kms" } }

    package init(json: JSON, path: String) throws(JSONFieldError) {
        var fields = try JSONFields(json, path: path)
        var dataKeys: [EncryptedDataKey] = []
        for (index, key) in try fields.array("encrypted_data_keys").enumerated() {
            dataKeys.append(try EncryptedDataKey(json: key, path: "\(path).encrypted_data_keys[\(index)]"))
        }
        self.init(
            algorithm: try fields.string("algorithm"), context: try fields.stringMap("encryption_context"),
            dataKeys: dataKeys)
        _ = try fields.optionalString("kms_key_id")
        _ = try fields.optionalString("encrypted_data_key")
        try fields.finish()
        guard self.json == json else { throw fields.error("encrypted_data_key", "is not that of the key list") }
    }
}

extension EncryptedDataKey {
    var json: JSON {
        .object([
            "provider": .string(providerID), "info": .string(hexText(providerInfo)),
            "ciphertext": .string(hexText(ciphertext)),
        ])
    }

    init(json: JSON, path: String) throws(JSONFieldError) {
        var fields = try JSONFields(json, path: path)
        let provider = try fields.string("provider")
        guard let info = bytes(hexText: try fields.string("info")) else {
            throw fields.error("info", "must be hexadecimal")
        }
        guard let ciphertext = bytes(hexText: try fields.string("ciphertext")) else {
            throw fields.error("ciphertext", "must be hexadecimal")
        }
        try fields.finish()
        self.init(providerID: provider, providerInfo: info, ciphertext: ciphertext)
    }
}

extension JSONFields {
    package mutating func backupKey(_ field: String) throws(JSONFieldError) -> BackupKey {
        guard let key = BackupKey(try string(field)) else { throw error(field, "is no set's key") }
        return key
    }

    fileprivate mutating func size(_ field: String) throws(JSONFieldError) -> Int64 {
        let size = try integer(field)
        // Far above any store, far below where sums overflow.
        guard (0...(1 << 56)).contains(size) else { throw error(field, "is no size") }
        return size
    }

    fileprivate mutating func count(_ field: String) throws(JSONFieldError) -> Int64 {
        let count = try integer(field)
        guard count >= 0 else { throw error(field, "is no count") }
        return count
    }

    package mutating func chainLink(_ field: String) throws(JSONFieldError) -> ChainLink? {
        guard let json = optional(field) else { return nil }
        var inner = try JSONFields(json, path: name(field))
        let link = ChainLink(key: try inner.backupKey("key"), sha256: try inner.hex("sha256", count: 32))
        try inner.finish()
        return link
    }

    fileprivate mutating func compression(_ field: String) throws(JSONFieldError) -> Compression {
        var inner = try JSONFields(try required(field), path: name(field))
        guard let algorithm = Compression.Algorithm(rawValue: try inner.string("algorithm")) else {
            throw inner.error("algorithm", "is none that is known")
        }
        let level = try inner.integer("level")
        guard (0...22).contains(level) else { throw inner.error("level", "is none that is known") }
        try inner.finish()
        return Compression(algorithm: algorithm, level: Int(level))
    }

    fileprivate mutating func contentsSummary(_ field: String) throws(JSONFieldError) -> ContentsSummary {
        var inner = try JSONFields(try required(field), path: name(field))
        var counts: [String: Int64] = [:]
        for name in inner.names { counts[name] = try inner.count(name) }
        guard !counts.isEmpty else { throw error(field, "is empty") }
        return ContentsSummary(counts)
    }

    package mutating func needs(_ field: String) throws(JSONFieldError) -> [BackupKey] {
        guard has(field) else { return [] }
        var keys: [BackupKey] = []
        for text in try strings(field) {
            guard let key = BackupKey(text), !keys.contains(key) else {
                throw error(field, "must name sets, each once")
            }
            keys.append(key)
        }
        guard !keys.isEmpty else { throw error(field, "is empty") }
        return keys
    }

    fileprivate mutating func retention(_ field: String, tier: Tier) throws(JSONFieldError) -> Retention {
        var inner = try JSONFields(try required(field), path: name(field))
        guard try inner.string("tier") == tier.rawValue else { throw inner.error("tier", "is not the key's") }
        var retention = Retention(
            retainUntil: inner.has("retainUntil") ? try inner.timestamp("retainUntil") : nil)
        if let name = try inner.optionalString("objectLock") {
            guard let mode = ObjectLock.Mode(rawValue: name), retention.retainUntil != nil else {
                throw inner.error("objectLock", "is none that is known, or has no end")
            }
            retention.objectLock = mode
        }
        retention.legalHold = try inner.optionalBool("legalHold") ?? false
        if let name = try inner.optionalString("storageClass") {
            guard let storageClass = StorageClass(rawValue: name) else {
                throw inner.error("storageClass", "is none that is known")
            }
            retention.storageClass = storageClass
        }
        if let name = try inner.optionalString("dataClass") {
            guard let dataClass = DataClass(rawValue: name) else {
                throw inner.error("dataClass", "is none that is known")
            }
            retention.dataClass = dataClass
        }
        try inner.finish()
        return retention
    }

    package mutating func signature(_ field: String) throws(JSONFieldError) -> Signature? {
        guard let json = optional(field) else { return nil }
        var inner = try JSONFields(json, path: name(field))
        guard try inner.string("algorithm") == "Ed25519" else { throw inner.error("algorithm", "must be Ed25519") }
        let signature = Signature(
            publicKey: try inner.hex("publicKey", count: 32), value: try inner.hex("value", count: 64))
        try inner.finish()
        return signature
    }
}
