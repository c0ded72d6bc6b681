package import Core

/// What was found when a set was looked at: kept beside it, create-only, authenticated like its manifest.
package struct Proof: Equatable, Sendable {
    package var depth: ProofDepth
    package var verdict: Verdict
    package var time: Timestamp
    package var requestID: String
    /// The contents were computed again from the bytes and found equal.
    package var contentsCompared: Bool
    /// How long a restore took; `nil` where none was made.
    package var measured: RestoreMeasurement?

    package init(
        depth: ProofDepth, verdict: Verdict, time: Timestamp, requestID: String, contentsCompared: Bool,
        measured: RestoreMeasurement? = nil
    ) {
        self.measured = measured
        self.depth = depth
        self.verdict = verdict
        self.time = time
        self.requestID = requestID
        self.contentsCompared = contentsCompared
    }
}

/// What a restore moved and how long that took, for the estimates of later ones.
package struct RestoreMeasurement: Equatable, Sendable {
    /// Of the set's data, before compression: what was put in place, without the record of what is in it.
    package var bytes: Int64
    /// Until they were in place, compared, and without what the log took.
    package var milliseconds: Int64
    /// Bytes of the log that were replayed at most; 0 where none was.
    package var logBytes: Int64
    package var logMilliseconds: Int64

    package init(bytes: Int64, milliseconds: Int64, logBytes: Int64 = 0, logMilliseconds: Int64 = 0) {
        self.bytes = bytes
        self.milliseconds = milliseconds
        self.logBytes = logBytes
        self.logMilliseconds = logMilliseconds
    }

    var json: JSON {
        .object([
            "bytes": .exact(bytes), "milliseconds": .exact(milliseconds), "logBytes": .exact(logBytes),
            "logMilliseconds": .exact(logMilliseconds),
        ])
    }

    init(json: JSON, path: String) throws(JSONFieldError) {
        var fields = try JSONFields(json, path: path)
        bytes = try fields.integer("bytes")
        milliseconds = try fields.integer("milliseconds")
        logBytes = try fields.integer("logBytes")
        logMilliseconds = try fields.integer("logMilliseconds")
        for (name, value) in [
            ("bytes", bytes), ("milliseconds", milliseconds), ("logBytes", logBytes),
            ("logMilliseconds", logMilliseconds),
        ] where value < 0 { throw fields.error(name, "must not be negative") }
        try fields.finish()
    }
}

extension SetReader {
    /// The set's proofs, oldest first. A record that is not what this set's key made is an error that names it.
    package func proofs(_ paths: [String]) async throws -> [Proof] {
        var proofs: [Proof] = []
        for path in paths.sorted() where path.hasSuffix("-proof.json") {
            proofs.append(try await records.proof(path))
        }
        return proofs
    }

    /// Adds a proof after those that are there.
    package func add(_ proof: Proof) async throws {
        var document = records.members(of: proof)
        let mac = ManifestSeal.mac(.object(document), purpose: ManifestSeal.recordPurpose, dataKey: dataKey)
        document["mac"] = .string(hexText(mac))
        try await addRecord("proof", of: manifest, .object(document), to: home, at: proof.time)
    }

    /// Those that lie where its manifest was read from.
    var records: SetRecords { SetRecords(stored: stored, store: home, dataKey: dataKey) }
}

extension SetRecords {
    /// One proof. A record that is none of this set, or that its key did not make where that can be seen, is
    /// ``SetError/damagedRecord(path:problem:)``.
    func proof(_ path: String) async throws -> Proof {
        let document = try await document(path)
        do {
            return try proof(document)
        } catch {
            throw SetError.damagedRecord(path: path, problem: "\(error)")
        }
    }

    fileprivate func members(of proof: Proof) -> [String: JSON] {
        var members: [String: JSON] = [
            "format": .integer(1), "kind": .string("proof"), "key": .string(manifest.key.description),
            "manifestSHA256": .string(hexText(stored.sha256)), "depth": .string(proof.depth.rawValue),
            "verdict": .string(proof.verdict.rawValue), "time": .string(proof.time.description),
            "requestId": .string(proof.requestID), "contentsCompared": .bool(proof.contentsCompared),
        ]
        if let measured = proof.measured { members["measured"] = measured.json }
        return members
    }

    private func proof(_ json: JSON) throws(JSONFieldError) -> Proof {
        var fields = try JSONFields(json, path: "")
        guard let depth = ProofDepth(rawValue: try fields.string("depth")) else {
            throw fields.error("depth", "is none that is known")
        }
        guard let verdict = Verdict(rawValue: try fields.string("verdict")) else {
            throw fields.error("verdict", "is none that is known")
        }
        var proof = Proof(
            depth: depth, verdict: verdict, time: try fields.timestamp("time"),
            requestID: try fields.string("requestId"), contentsCompared: try fields.bool("contentsCompared"))
        if let measured = fields.optional("measured") {
            proof.measured = try RestoreMeasurement(json: measured, path: "measured")
        }
        let mac = try fields.hex("mac", count: 32)
        var document = members(of: proof)
        guard isMAC(mac, of: .object(document)) else {
            throw fields.error("mac", "does not match: the record was changed or is another set's")
        }
        document["mac"] = .string(hexText(mac))
        guard json == .object(document) else { throw fields.error("kind", "stands beside members it does not know") }
        return proof
    }
}

extension SetRecords {
    /// What the proofs among `paths` come to: the deepest that holds, unless the set was found damaged since. A record
    /// that cannot be read counts for nothing; `damaged` is told of it.
    func standing(_ paths: [String], damaged: (any Failure) -> Void) async throws -> SetFacts.Standing? {
        var deepest: ProofDepth?
        for path in paths.sorted() where path.hasSuffix("-proof.json") {
            let proof: Proof
            do {
                proof = try await self.proof(path)
            } catch let failure as SetError {
                damaged(failure)
                continue
            }
            switch proof.verdict {
            case .proven: deepest = deepest == .restore ? .restore : proof.depth
            // An older restore does not vouch for what is damaged now.
            case .failed: deepest = nil
            case .inconclusive: break
            }
        }
        return deepest.map { SetFacts.Standing(depth: $0, isBelieved: areBelieved) }
    }
}
