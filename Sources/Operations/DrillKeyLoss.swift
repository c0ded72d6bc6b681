import Core
import Sets

extension Drill {
    /// The recipients that are left without the first.
    var remaining: [any KeyProvider] {
        Array(workplace.writer.recipients.dropFirst()) + workplace.writer.optionalRecipients
    }

    /// A committed set and the stores it is in.
    struct LiveSet: Sendable {
        let key: BackupKey
        let copies: Copies
    }

    /// A remaining recipient, and what here opens what is sealed for it.
    private struct Survivor: Sendable {
        let name: String
        let identity: any KeyProvider
    }

    /// The first recipient's key is gone: whether every live set's data key can be had by each of the others, without a
    /// byte of any set's body being read.
    func loseKey(_ course: DrillCourse, _ meter: ProgressMeter) async throws {
        course.change { $0.components = ["store", "keys"] }
        let sets = try await course.step("RETRIEVE_BACKUP", shows: "KEY_INTEGRITY") { findings in
            meter.begin("retrieve")
            return try await retrieve(course, findings, meter)
        }
        let survivors = try await course.step("RESTORE_KEYS", shows: "KEY_FUNCTIONALITY") { findings in
            meter.begin("keys")
            return try await findSurvivors(findings, course, meter)
        }
        try await course.step("VERIFY_ACCESS", shows: "DATA_ACCESSIBILITY") { findings in
            meter.begin("access")
            try await access(sets, survivors, findings, course, meter)
        }
    }

    // MARK: RETRIEVE_BACKUP

    /// Every committed set of every store, newest first.
    func liveSets(_ findings: StepFindings) async throws -> [LiveSet] {
        var places: [BackupKey: [SetCopy]] = [:]
        for copy in try workplace.copies(.primary).all {
            do {
                for entry in try await Catalog(copy.store).listing().entries where entry.isCommitted {
                    places[entry.key, default: []].append(copy)
                }
            } catch let failure as any Failure where failure.exitCode == .store && copy.name == .secondary {
                findings.doubt(
                    "the second store does not answer, and its sets were not looked at",
                    JobFailure(failure, as: failure.exitCode))
            }
        }
        return places.keys.sorted { ($0.timestamp, $0.tier.rawValue) > ($1.timestamp, $1.tier.rawValue) }
            .compactMap { key in
                places[key].flatMap { found in
                    found.first.map { LiveSet(key: key, copies: Copies($0, reserve: Array(found.dropFirst()))) }
                }
            }
    }

    /// Reads the manifest of every set, and finds the one whose key is to authenticate the record: the newest.
    private func retrieve(
        _ course: DrillCourse, _ findings: StepFindings, _ meter: ProgressMeter
    ) async throws -> [LiveSet] {
        let sets = try await liveSets(findings)
        guard !sets.isEmpty else { throw SetError.noSets(workplace.target) }
        let unread = Guarded(0)
        let target = workplace.target
        try await each(sets, meter) { set in
            do {
                let stored = try await Catalog(set.copies.first.store).manifest(set.key, of: target)
                course.takes(stored.manifest)
                course.change { state in
                    if state.set.map({ $0.manifest.snapshotTime < stored.manifest.snapshotTime }) ?? true {
                        state.set = stored
                    }
                }
                if stored.manifest.encryption.dataKeys.isEmpty { findings.fail("\(set.key) names no data key") }
            } catch let error as SetError {
                unread.withLock { $0 += 1 }
                findings.fail("\(error)", JobFailure(error, as: error.exitCode))
            }
        }
        guard unread.value < sets.count else { throw SetError.noSets("\(target), that can be read") }
        findings.say("\(sets.count - unread.value) of \(sets.count) manifests name their wrapped data keys")
        return sets
    }

    // MARK: RESTORE_KEYS

    /// Seals a fresh data key for each recipient and looks who opens it. What opens the first one's is gone with it; of
    /// the others each needs an identity that opens its own.
    private func findSurvivors(
        _ findings: StepFindings, _ course: DrillCourse, _ meter: ProgressMeter
    ) async throws -> [Survivor] {
        guard let lost = workplace.writer.recipients.first, let set = course.all.set else {
            throw JobFailure(
                .configuration, "lose the first recipient's key", object: workplace.target,
                cause: "no recipients are configured", hint: "set BACKUP_RECIPIENTS")
        }
        findings.say("treated as gone: \(lost.capabilities.name)")
        let trial = KeyWrapTrial(
            context: set.manifest.encryption.context, identities: workplace.reader.identities,
            random: workplace.random)
        // Where the first key is gone indeed, nothing can be sealed for it, and nothing has to be left out.
        var gone: Set<Int> = []
        do {
            gone = Set(try await trial.tried(by: lost).openers)
        } catch let failure as any Failure {
            findings.say("\(lost.capabilities.name) cannot seal any more: \(failure.exitCode.meaning)")
            for (index, identity) in workplace.reader.identities.enumerated()
            where identity.capabilities.name == lost.capabilities.name { gone.insert(index) }
        }
        var survivors: [Survivor] = []
        var doubts: [String] = []
        for recipient in remaining {
            meter.beat()
            let name = recipient.capabilities.name
            do {
                let found = try await trial.tried(by: recipient)
                if let index = found.openers.first(where: { !gone.contains($0) }) {
                    survivors.append(Survivor(name: name, identity: workplace.reader.identities[index]))
                    findings.say("\(name) seals and opens")
                } else if !found.openers.isEmpty {
                    findings.fail("\(name) opens with the key that is gone")
                } else if found.isRefused {
                    findings.fail("\(name) does not open what was sealed for it")
                } else {
                    doubts.append("\(name): no identity here opens what is sealed for it")
                }
            } catch let failure as any Failure {
                findings.fail("\(name) seals nothing: \(failure.exitCode.meaning)", JobFailure(failure, as: .keys))
            }
        }
        // A key that lies in a safe is not lost; whether it is any good shows where it is at hand.
        for doubt in doubts { findings.doubt(doubt) }
        guard !remaining.isEmpty else {
            findings.fail("there is no other recipient: with \(lost.capabilities.name) every set is lost")
            course.validate("ENCRYPTION_TEST", .failed, ["no recipient is left"])
            return []
        }
        course.validate(
            "ENCRYPTION_TEST", findings.all.outcome,
            ["\(survivors.count) of \(remaining.count) remaining recipients seal a data key that opens again"])
        return survivors
    }

    // MARK: VERIFY_ACCESS

    private struct AccessCount: Sendable {
        var opened: Int64 = 0
        var notSealed: Int64 = 0
        var refused: Int64 = 0
    }

    private func access(
        _ sets: [LiveSet], _ survivors: [Survivor], _ findings: StepFindings, _ course: DrillCourse,
        _ meter: ProgressMeter
    ) async throws {
        let count = Guarded(AccessCount())
        let workplace = workplace
        try await each(sets, meter) { set in
            do {
                let stored = try await Catalog(set.copies.first.store).manifest(set.key, of: workplace.target)
                for survivor in survivors {
                    let trial = try await KeyTrial.of(
                        survivor.identity, on: stored, in: set.copies.first.store,
                        others: set.copies.reserve.map(\.store), configuration: workplace.reader)
                    meter.beat()
                    switch trial {
                    case .opens: count.withLock { $0.opened += 1 }
                    case .notAddressed:
                        count.withLock { $0.notSealed += 1 }
                        findings.fail("\(set.key) is not sealed for \(survivor.name)")
                    case .refuses:
                        count.withLock { $0.refused += 1 }
                        findings.fail("\(set.key) is sealed for \(survivor.name) and does not open")
                    }
                }
            } catch SetError.notFound {
                // Pruned since it was listed.
            } catch let error as SetError {
                count.withLock { $0.refused += Int64(survivors.count) }
                findings.fail("\(error)", JobFailure(error, as: error.exitCode))
            }
        }
        let found = count.value
        let pairs = found.opened + found.notSealed + found.refused
        course.change {
            $0.compared = pairs
            $0.matched = found.opened
        }
        findings.say("\(found.opened) of \(pairs) data keys open, for \(sets.count) sets and \(survivors.count) keys")
        if survivors.isEmpty {
            findings.fail("no key is left to open any set with")
        } else if pairs == 0 {
            findings.doubt("no data key was tried: every set has been pruned since it was listed")
        }
        let areAddressed = found.notSealed == 0 && !survivors.isEmpty
        course.validate(
            "KEY_VERSION_CHECK", !areAddressed ? .failed : pairs == 0 ? .inconclusive : .passed,
            found.notSealed == 0
                ? []
                : ["\(found.notSealed) wrapped data keys are missing for recipients of now; run 'lifeboat rewrap'"])
        course.validate(
            "ACCESS_VERIFICATION", findings.all.outcome,
            ["\(found.opened) of \(pairs) data keys open with a key other than the lost one"])
    }

    /// A few sets side by side: most of the time goes into waiting for stores and key services.
    private func each(
        _ sets: [LiveSet], _ meter: ProgressMeter, _ body: @escaping @Sendable (LiveSet) async throws -> Void
    ) async throws {
        let width = max(1, workplace.writer.parallelJobs)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (index, set) in sets.enumerated() {
                if index >= width { try await group.next() }
                group.addTask {
                    try await body(set)
                    meter.beat()
                }
            }
            try await group.waitForAll()
        }
    }
}

/// Who opens what is sealed for a recipient.
private struct KeyWrapTrial: Sendable {
    let context: [String: String]
    let identities: [any KeyProvider]
    let random: RandomBytes

    struct Found: Sendable {
        /// The places of the identities that open what was sealed, to the same bytes.
        var openers: [Int] = []
        /// One that it was for refused, or opened it to other bytes.
        var isRefused = false
    }

    /// Seals a fresh data key for `recipient` and has every identity try it. Throws where nothing can be sealed.
    func tried(by recipient: any KeyProvider) async throws -> Found {
        let sealed = try await recipient.generate(context: context, random: random)
        let wanted = sealed.dataKey.withBytes { Array($0) }
        var found = Found()
        for (index, identity) in identities.enumerated() where identity.capabilities.canUnwrap {
            do {
                guard let opened = try await identity.unwrap(sealed.wrapped, context: context) else { continue }
                if opened.withBytes({ $0.elementsEqual(wanted) }) {
                    found.openers.append(index)
                } else {
                    found.isRefused = true
                }
            } catch is any Failure {
                // Another identity may open it.
                found.isRefused = true
            }
        }
        return found
    }
}
