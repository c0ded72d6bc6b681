package import Core

/// What stands in the place of a set that was pruned: `tombstones/<sequence>-<digest>.json`, written before anything of
/// the set is deleted, so that what is missing without one was not removed by us.
package struct Tombstone: Equatable, Sendable {
    package var key: BackupKey
    package var target: String
    package var sequence: Int64
    /// Whose segments they were.
    package var attempt: String
    /// Of the manifest that was deleted: what the next set of the chain names.
    package var manifestSHA256: [UInt8]
    package var previous: ChainLink?
    package var snapshotTime: Timestamp
    package var retainUntil: Timestamp
    /// Why, for people.
    package var reason: String
    package var time: Timestamp
    /// Who: host, process and action.
    package var by: String
    package var requestID: String
    /// The set under whose data key the MAC is: the target's newest, which is never pruned while it is that.
    package var sealedBy: BackupKey?
    package var mac: [UInt8]?
    package var signature: Signature?

    package init(
        _ facts: SetFacts, target: String, retainUntil: Timestamp, reason: String, time: Timestamp, by: String,
        requestID: String
    ) {
        key = facts.key
        self.target = target
        sequence = facts.sequence
        attempt = facts.attempt
        manifestSHA256 = facts.sha256
        previous = facts.previous
        snapshotTime = facts.snapshotTime
        self.retainUntil = retainUntil
        self.reason = reason
        self.time = time
        self.by = by
        self.requestID = requestID
    }

    package var isAuthenticated: Bool { mac != nil || signature != nil }
    package var link: ChainLink { ChainLink(key: key, sha256: manifestSHA256) }
}

/// What a reader makes of who wrote a tombstone.
package enum TombstoneOrigin: Equatable, Sendable {
    /// A trusted signer, or a holder of the data key of a set that still stands.
    case authenticated
    /// Nothing at hand can tell.
    case unauthenticated
    /// Its MAC or its signature is wrong, or signers are demanded and it has none of theirs.
    case refused(String)
}

extension Tombstone {
    static let macPurpose = "lifeboat tombstone mac v1"

    package func json(includingMAC: Bool = true, includingSignature: Bool = true) -> JSON {
        .object(present: [
            "format": .integer(1), "kind": .string("tombstone"), "key": .string(key.description),
            "target": .string(target), "sequence": .exact(sequence), "attempt": .string(attempt),
            "manifestSHA256": .string(hexText(manifestSHA256)),
            "previous": previous.map {
                .object(["key": .string($0.key.description), "sha256": .string(hexText($0.sha256))])
            },
            "snapshotTime": .string(snapshotTime.description), "retainUntil": .string(retainUntil.description),
            "reason": .string(reason), "time": .string(time.description), "by": .string(by),
            "requestId": .string(requestID),
            "sealedBy": sealedBy.map { .string($0.description) },
            "mac": includingMAC ? mac.map { .string(hexText($0)) } : nil,
            "signature": includingSignature ? signature?.json : nil,
        ])
    }

    package init(json: JSON) throws(JSONFieldError) {
        var fields = try JSONFields(json, path: "")
        guard try fields.integer("format") == 1, try fields.string("kind") == "tombstone" else {
            throw fields.error("kind", "is none that is known")
        }
        key = try fields.backupKey("key")
        target = try fields.string("target")
        sequence = try fields.integer("sequence")
        attempt = try fields.string("attempt")
        manifestSHA256 = try fields.hex("manifestSHA256", count: 32)
        previous = try fields.chainLink("previous")
        snapshotTime = try fields.timestamp("snapshotTime")
        retainUntil = try fields.timestamp("retainUntil")
        reason = try fields.string("reason")
        time = try fields.timestamp("time")
        by = try fields.string("by")
        requestID = try fields.string("requestId")
        sealedBy = fields.has("sealedBy") ? try fields.backupKey("sealedBy") : nil
        mac = fields.has("mac") ? try fields.hex("mac", count: 32) : nil
        signature = try fields.signature("signature")
        try fields.finish()
        guard (mac == nil) == (sealedBy == nil), sequence >= 1 else {
            throw fields.error("mac", "stands without the set it is made under")
        }
    }

    /// Authenticates it by what is at hand.
    mutating func seal(under set: SetRecords?, _ seal: RecordSeal) throws {
        if let set, let dataKey = set.dataKey {
            sealedBy = set.manifest.key
            mac = ManifestSeal.mac(
                json(includingMAC: false, includingSignature: false), purpose: Self.macPurpose, dataKey: dataKey)
        }
        signature = try seal.signature(json(includingSignature: false))
    }

    /// `dataKey` is that of ``sealedBy``, where that set stands and opens.
    func origin(dataKey: SecretBytes?, _ seal: RecordSeal) -> TombstoneOrigin {
        if let mac, let dataKey {
            let document = json(includingMAC: false, includingSignature: false)
            guard ManifestSeal.isMAC(mac, of: document, purpose: Self.macPurpose, dataKey: dataKey) else {
                return .refused("its MAC is not that of \(sealedBy.map { "\($0)" } ?? "its set")")
            }
        }
        if seal.isTrusted(signature, of: json(includingSignature: false)) { return .authenticated }
        guard seal.trustedSigners.isEmpty else { return .refused("no trusted signer has signed it") }
        return mac != nil && dataKey != nil ? .authenticated : .unauthenticated
    }
}
