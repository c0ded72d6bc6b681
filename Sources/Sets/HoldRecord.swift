package import Core
package import Crypto

/// What a person decided about a set's legal hold: `records/<n>-hold.json` or `<n>-release.json`, create-only.
package struct HoldRecord: Equatable, Sendable {
    package typealias Change = HoldJob.Change

    package var change: Change
    /// In the words of whoever asked. In clear in the store.
    package var reason: String
    /// Who ran the job: host, process and action.
    package var by: String
    package var time: Timestamp
    package var requestID: String

    package init(change: Change, reason: String, by: String, time: Timestamp, requestID: String) {
        self.change = change
        self.reason = reason
        self.by = by
        self.time = time
        self.requestID = requestID
    }
}

/// Whether a set is under legal hold, by its manifest and by its records after that.
package struct HoldState: Equatable, Sendable {
    package var isHeld: Bool
    /// The record that decided; `nil` where the manifest did.
    package var record: HoldRecord?
    /// Records that were passed over, and why.
    package var notes: [String] = []

    /// Why it is held, for people; `nil` where it is not.
    package var reason: String? {
        guard isHeld else { return nil }
        guard let record else { return "it was made under legal hold" }
        return "\(record.reason) (\(record.by), \(record.time))"
    }
}

/// With what records are authenticated, and by whom they have to be.
package struct RecordSeal: Sendable {
    /// Signs what is written.
    package var signer: Curve25519.Signing.PrivateKey?
    /// Ed25519 public keys that are believed.
    package var trustedSigners: [[UInt8]]

    package init(signer: Curve25519.Signing.PrivateKey?, trustedSigners: [[UInt8]]) {
        self.signer = signer
        self.trustedSigners = trustedSigners
    }

    /// The signature over `document`, which has no member of that name; `nil` without a signer.
    func signature(_ document: JSON) throws -> Signature? {
        guard let signer else { return nil }
        return Signature(
            publicKey: Array(signer.publicKey.rawRepresentation),
            value: Array(try signer.signature(for: document.canonicalBytes)))
    }

    /// Whether a trusted signer has signed `document`.
    func isTrusted(_ signature: Signature?, of document: JSON) -> Bool {
        guard let signature, trustedSigners.contains(signature.publicKey) else { return false }
        do {
            let key = try Curve25519.Signing.PublicKey(rawRepresentation: signature.publicKey)
            return key.isValidSignature(signature.value, for: document.canonicalBytes)
        } catch {
            return false
        }
    }
}

extension Manifest {
    /// Whether the set is under legal hold as far as the names of its records say, for those who only have to keep what
    /// they add as the rest is kept.
    func isHeld(records paths: [String]) -> Bool {
        let last = paths.sorted().last { HoldRecord.change(ofPath: $0) != nil }
        return last.map { HoldRecord.change(ofPath: $0) == .hold } ?? retention.legalHold
    }
}

extension HoldRecord {
    /// `nil` for a record of another kind.
    package static func change(ofPath path: String) -> Change? {
        Change.allCases.first { path.hasSuffix("-\($0.rawValue).json") }
    }
}

extension SetRecords {
    /// The fold of manifest and records. A hold counts whoever wrote it, and so does a record that cannot be read; a
    /// release only where it is believed: by the set's key, or by a trusted signer, or where neither is at hand by its
    /// form.
    func holdState(_ paths: [String], seal: RecordSeal) async throws -> HoldState {
        var state = HoldState(isHeld: manifest.retention.legalHold)
        for path in paths.sorted() {
            guard let change = HoldRecord.change(ofPath: path) else { continue }
            do {
                let document = try await document(path)
                let (record, isBelieved) = try hold(document, path: path, seal)
                guard record.change == change else {
                    throw SetError.damagedRecord(path: path, problem: "its kind is not its name's")
                }
                if change == .release && !isBelieved {
                    state.notes.append("\(path) was passed over: nobody who is trusted has written it")
                } else {
                    state.isHeld = change == .hold
                    state.record = record
                }
            } catch let failure as SetError {
                state.notes.append("\(failure)")
                if change == .hold {
                    state.isHeld = true
                    state.record = nil
                }
            }
        }
        return state
    }

    /// Adds the record, authenticated by what is at hand.
    func add(_ record: HoldRecord, seal: RecordSeal) async throws {
        var document = members(of: record)
        if let mac = mac(.object(document)) { document["mac"] = .string(hexText(mac)) }
        if let signature = try seal.signature(.object(document)) { document["signature"] = signature.json }
        try await addRecord(record.change.rawValue, of: manifest, .object(document), to: store, at: record.time)
    }

    private func members(of record: HoldRecord) -> [String: JSON] {
        [
            "format": .integer(1), "kind": .string(record.change.rawValue), "key": .string(manifest.key.description),
            "manifestSHA256": .string(hexText(stored.sha256)), "reason": .string(record.reason),
            "by": .string(record.by), "time": .string(record.time.description),
            "requestId": .string(record.requestID),
        ]
    }

    private func hold(
        _ json: JSON, path: String, _ seal: RecordSeal
    ) throws(SetError) -> (record: HoldRecord, isBelieved: Bool) {
        do throws(JSONFieldError) {
            var fields = try JSONFields(json, path: "")
            guard let change = HoldRecord.Change(rawValue: try fields.string("kind")) else {
                throw fields.error("kind", "is none that is known")
            }
            let record = HoldRecord(
                change: change, reason: try fields.string("reason"), by: try fields.string("by"),
                time: try fields.timestamp("time"), requestID: try fields.string("requestId"))
            var document = members(of: record)
            var hasMAC = false
            if fields.has("mac") {
                let mac = try fields.hex("mac", count: 32)
                guard isMAC(mac, of: .object(document)) else {
                    throw fields.error("mac", "does not match: the record was changed or is another set's")
                }
                hasMAC = dataKey != nil
                document["mac"] = .string(hexText(mac))
            }
            let signature = try fields.signature("signature")
            let isSigned = seal.isTrusted(signature, of: .object(document))
            document["signature"] = signature?.json
            guard json == .object(document) else {
                throw fields.error("kind", "stands beside members it does not know")
            }
            let cannotTell = dataKey == nil && seal.trustedSigners.isEmpty
            return (record, hasMAC || isSigned || cannotTell)
        } catch {
            throw .damagedRecord(path: path, problem: "\(error)")
        }
    }
}
