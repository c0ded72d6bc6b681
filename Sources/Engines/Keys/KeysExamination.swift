package import Core
import Crypto
import Streams

/// Looks at every key of a set, and goes on after one that fails.
struct KeysExamination: Sendable {
    /// What is asked of each key.
    enum Check: String, CaseIterable, Sendable {
        /// The set holds what it recorded.
        case integrity
        /// The key is still at the source.
        case accessibility
        /// The key that the set holds works.
        case decryption
        /// The source has no other key under this id and version, and none that is older.
        case version
    }

    enum Outcome: String, Sendable {
        case passed, failed, inconclusive
        /// The source has a newer version; the set's is what it was.
        case superseded
        /// The set is not of this source.
        case notAsked
    }

    private struct Finding {
        var key: ListedKey
        var outcomes: [Check: Outcome] = [:]
        var errors: [String] = []

        mutating func note(_ check: Check, _ outcome: Outcome, _ error: String? = nil) {
            outcomes[check] = outcome
            if let error { errors.append("\(check.rawValue): \(error)") }
        }
    }

    /// What the source has: its keys, or why it cannot be asked; `nil` where it is not to be.
    typealias Source = Result<KeySet, JobFailure>?

    let listed: [ListedKey]
    let held: KeySet
    let source: Source
    let time: Timestamp
    let nextTime: Timestamp
    let random: RandomBytes
    let place: String

    func run() throws -> Examined {
        var findings = listed.map { Finding(key: $0) }
        for index in findings.indices {
            try checkSet(&findings[index])
            checkSource(&findings[index])
        }
        return Examined(
            contents: nil, details: ["keys": .array(findings.map(json))], notes: notes(findings),
            objection: objection(findings))
    }

    // MARK: The set

    private func checkSet(_ finding: inout Finding) throws {
        let listed = finding.key
        guard let key = held.keys.first(where: { $0.file == listed.file }) else {
            finding.note(.integrity, .failed, "the set does not hold \(listed.file)")
            finding.note(.decryption, .failed, "there is nothing to be used")
            return
        }
        let isWhole =
            key.digest == listed.digest && Int64(key.content.count) == listed.size && key.metadata == listed.metadata
        finding.note(.integrity, isWhole ? .passed : .failed, isWhole ? nil : "it is not what was recorded")
        let problem: String?
        do {
            problem = try KeyMaterial(key.content).roundTrip(random: random)
        } catch {
            // What a library says of a key that does not work may be about the key.
            problem = "it does not encrypt and decrypt"
        }
        finding.note(.decryption, problem == nil ? .passed : .failed, problem)
    }

    // MARK: The source

    private func checkSource(_ finding: inout Finding) {
        let keys: KeySet
        switch source {
        case nil:
            finding.note(.accessibility, .notAsked)
            finding.note(.version, .notAsked)
            return
        case .failure(let failure)?:
            finding.note(.accessibility, .inconclusive, "the source cannot be read: \(failure.cause)")
            finding.note(.version, .inconclusive)
            return
        case .success(let read)?: keys = read
        }
        let metadata = finding.key.metadata
        let same = keys.keys.filter { $0.metadata.id == metadata.id }
        guard !same.isEmpty else {
            finding.note(.accessibility, .failed, "the source has no key of this id")
            finding.note(.version, .failed, "the source has no version of it")
            return
        }
        finding.note(.accessibility, .passed)
        if let there = same.first(where: { $0.metadata.version == metadata.version }) {
            let isSame = there.digest == finding.key.digest
            finding.note(
                .version, isSame ? .passed : .failed,
                isSame ? nil : "the source has another key under the same version")
        } else if let newest = same.map(\.metadata).max(by: isOlder), isOlder(metadata, newest) {
            finding.note(.version, .superseded)
        } else {
            let versions = same.map(\.metadata.version).joined(separator: ", ")
            finding.note(.version, .failed, "the source has only older versions: \(versions)")
        }
    }

    /// By number where both have one, else by when they were made.
    private func isOlder(_ a: KeyMetadata, _ b: KeyMetadata) -> Bool {
        if let (a, b) = Int64(a.version).flatMap({ a in Int64(b.version).map { (a, $0) } }) { return a < b }
        return a.created < b.created
    }

    // MARK: The result

    private func json(_ finding: Finding) -> JSON {
        var members = finding.key.metadata.members
        let checks = Check.allCases.map {
            ($0.rawValue, JSON.string((finding.outcomes[$0] ?? .inconclusive).rawValue))
        }
        members["checks"] = .object(Dictionary(uniqueKeysWithValues: checks))
        members["errors"] = .array(finding.errors.map { .string($0) })
        members["expired"] = .bool(finding.key.metadata.expires.map { $0 <= time } ?? false)
        members["lastVerified"] = .string(time.description)
        members["nextVerification"] = .string(nextTime.description)
        return .object(members)
    }

    private func notes(_ findings: [Finding]) -> [String] {
        var notes: [String] = []
        for key in held.expired(at: time) { notes.append("key \(key.label) has expired") }
        for finding in findings where finding.outcomes[.version] == .superseded {
            let metadata = finding.key.metadata
            notes.append(
                "key \(metadata.id): the source has a newer version than \(metadata.version), which this set holds")
        }
        if case .success(let keys)? = source {
            let known = Set(listed.map(\.metadata.id))
            let fresh = Set(keys.keys.map(\.metadata.id)).subtracting(known).sorted()
            if !fresh.isEmpty { notes.append("keys of the source that this set does not hold: \(shown(fresh))") }
        }
        return notes
    }

    private func objection(_ findings: [Finding]) -> Objection? {
        let ofSet = failing(findings, [.integrity, .decryption], .failed)
        let ofSource = failing(findings, [.accessibility, .version], .failed)
        if !ofSet.isEmpty {
            return Objection(
                KeysError.checksFailed(
                    shown(ofSet + ofSource), in: place,
                    hint: "do not rely on this set; verify others, and take the second copy"), isOfSet: true)
        }
        if !ofSource.isEmpty {
            return Objection(
                KeysError.checksFailed(
                    shown(ofSource), in: place,
                    hint: "the set itself is sound: find out what became of these keys at the source, and restore "
                        + "them where they are lost"), isOfSet: false)
        }
        guard case .failure(let failure)? = source else { return nil }
        return Objection(
            JobFailure(
                .inconclusive, "compare the keys with their source", object: place, cause: failure.cause,
                hint: "run verify where the keys are mounted; the set itself is sound"), isOfSet: false)
    }

    /// `clinic version 3 (integrity)` of each key that has such an outcome in one of the checks.
    private func failing(_ findings: [Finding], _ checks: [Check], _ outcome: Outcome) -> [String] {
        findings.compactMap { finding in
            let failed = checks.filter { finding.outcomes[$0] == outcome }.map(\.rawValue)
            guard !failed.isEmpty else { return nil }
            let metadata = finding.key.metadata
            return "\(metadata.id) version \(metadata.version) (\(failed.joined(separator: ", ")))"
        }
    }

    private func shown(_ names: [String]) -> String {
        names.prefix(20).joined(separator: ", ") + (names.count > 20 ? " and \(names.count - 20) more" : "")
    }
}

extension KeysError {
    fileprivate static func checksFailed(_ keys: String, in place: String, hint: String) -> JobFailure {
        JobFailure(
            .verificationFailed, "verify the keys", object: place, cause: "checks failed of \(keys)", hint: hint)
    }
}

extension KeysEngine {
    package func examine(_ request: ExamineRequest) async throws -> Examined {
        let key = request.manifest.key.description
        let listed = try await listing(request.parts, of: key, request.meter)
        let held = try await archive(request.parts, of: key, request.meter)
        let source = request.comparesSource ? try await asked() : nil
        let time = clock.now()
        let examination = KeysExamination(
            listed: listed, held: held, source: source, time: time,
            nextTime: time.adding(seconds: settings.verifyInterval), random: random, place: key)
        var examined = try await onThread("verify") { try examination.run() }
        let files = Set(listed.map(\.file))
        if let stranger = held.keys.first(where: { !files.contains($0.file) }) {
            throw KeysError.damaged(key, "it holds \(stranger.file), which is not in its list of keys")
        }
        examined.contents = request.recompute ? held.contents : nil
        return examined
    }

    private func asked() async throws -> KeysExamination.Source {
        do {
            return .success(try await readSource())
        } catch let failure as any Failure {
            return .failure(JobFailure(failure, as: .inconclusive))
        }
    }

    private func listing(
        _ parts: any PartOpener, of key: String, _ meter: ProgressMeter
    ) async throws -> [ListedKey] {
        let text = try await content(of: PartName.listing, parts, key, meter)
        do {
            return try ListedKey.all(in: try text.withBytes { try JSON(parsing: $0) })
        } catch let error as JSONFieldError {
            throw KeysError.damaged(key, "its list of keys is not one: \(error)")
        } catch is JSONError {
            throw KeysError.damaged(key, "its list of keys is not JSON")
        }
    }

    func archive(_ parts: any PartOpener, of key: String, _ meter: ProgressMeter) async throws -> KeySet {
        let entries = try await entries(parts, of: key, meter)
        do {
            return try KeySet(entries, at: key)
        } catch {
            throw KeysError.damaged(key, error.cause)
        }
    }

    func entries(_ parts: any PartOpener, of key: String, _ meter: ProgressMeter) async throws -> [KeyEntry] {
        let archive = try await content(of: PartName.archive, parts, key, meter)
        do throws(KeyArchive.Problem) {
            return try KeyArchive.read(archive)
        } catch {
            throw KeysError.damaged(key, error.text)
        }
    }

    private func content(
        of part: String, _ parts: any PartOpener, _ key: String, _ meter: ProgressMeter
    ) async throws -> SecretBytes {
        let source = MeteredSource(try await parts.open(part), meter: meter)
        return try await withTaskCancellationHandler {
            try await onThread("read") {
                do {
                    var bytes = try source.collect(limit: Self.largestPart)
                    return SecretBytes(wiping: &bytes)
                } catch is ObjectTooLarge {
                    throw KeysError.damaged(key, "\(part) is larger than keys can be")
                }
            }
        } onCancel: {
            source.cancel()
        }
    }

    /// Bytes of the largest archive that a snapshot makes: the files, and their headers and padding.
    private static let largestPart = KeyDirectory.largestSet + KeyDirectory.mostEntries * 2048
}
