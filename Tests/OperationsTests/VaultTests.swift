import Core
import Operations
import Sets
import TestSupport
import Testing

@Suite("A copy in a vault")
struct VaultTests {
    /// Promises a copy for each token, unless it is told to fail.
    private final class RecordingVault: Vault {
        struct Call: Equatable {
            var token: String
            var keepDays: Int?
        }

        private let state = Guarded<(calls: [Call], failures: Int)>(([], 0))

        var calls: [Call] { state.value.calls }
        var label: String { "the vault of the test" }

        func fail(times: Int) { state.withLock { $0.failures = times } }

        func start(token: String, keepDays: Int?) async throws -> VaultJob {
            try Task.checkCancellation()
            let fails = state.withLock { state in
                state.calls.append(Call(token: token, keepDays: keepDays))
                state.failures -= 1
                return state.failures >= 0
            }
            if fails { throw JobFailure(.configuration, "call", object: "role", cause: "it may not", hint: "let it") }
            return VaultJob(id: "job-" + token.prefix(8), vault: "clinic", resource: "arn:x", recoveryPoint: "arn:y")
        }

        func state(of job: VaultJob) async throws -> VaultJobState { throw TestFailure("nobody asks") }
    }

    private func with(_ body: (Clinic, RecordingVault) async throws -> Void) async throws {
        try await Clinic.open { clinic in
            var clinic = clinic
            let vault = RecordingVault()
            clinic.workplace.vault = vault
            try await body(clinic, vault)
        }
    }

    private func records(_ clinic: Clinic) -> [String] {
        clinic.firstMemory.keys.filter { $0.hasSuffix("-vault-job.json") }
    }

    @Test(
        "Once a set is stored the vault is asked once, for as long as the set is kept; the job stands beside the set")
    func asked() async throws {
        try await with { clinic, vault in
            let result = try await clinic.backup(.daily, requestID: .run("uid"))
            #expect(result.exitCode == .done)
            let stored = try await Catalog(clinic.first).manifest(try #require(result.backupKey))
            // 90 days from the picture, which is a moment older than the manifest.
            #expect(vault.calls == [.init(token: hexText(stored.sha256), keepDays: 90)])
            let job = try #require(try await VaultJobRecord.newest(of: stored, in: clinic.first))
            #expect(result.details["vaultJob"] == .object(job.members) && job.recoveryPoint == "arn:y")

            let again = try await clinic.backup(.daily, requestID: .run("uid"))
            #expect(again.replayed && again.details["vaultJob"] == .object(job.members))
            #expect(vault.calls.count == 1 && records(clinic).count == 1)
        }
    }

    @Test("A set without an end asks for a copy without one; a plan and a set that was not made ask for none")
    func terms() async throws {
        try await with { clinic, vault in
            let plan = try await clinic.backup(.manual, dryRun: true)
            #expect(vault.calls.isEmpty && plan.notes.contains { $0.contains("the vault of the test") })
            clinic.first.fail(.put, keyContaining: "/manifest.json")
            await #expect(throws: (any Error).self) { try await clinic.backup(.manual) }
            #expect(vault.calls.isEmpty)
            try await clinic.backup(.manual)
            #expect(vault.calls.map(\.keepDays) == [nil])
        }
    }

    @Test("A vault that refuses keeps the set and ends with 18; the same event again asks for the same copy")
    func refused() async throws {
        try await with { clinic, vault in
            vault.fail(times: 1)
            let failed = try await clinic.backup(.daily, requestID: .run("uid"))
            #expect(failed.exitCode == .notReplicated && failed.details["vaultJob"] == nil)
            #expect(failed.failure?.cause == "role: it may not" && failed.failure?.hint.contains("let it") == true)
            // The second store has its copy all the same.
            #expect(failed.copies == CopyCount(made: 1, failed: 0, missing: 0))
            #expect(try await clinic.verify(.exact(try #require(failed.backupKey))).verdict == .proven)

            let again = try await clinic.backup(.daily, requestID: .run("uid"))
            #expect(again.exitCode == .done && again.replayed)
            #expect(vault.calls.count == 2 && vault.calls[0] == vault.calls[1])
        }
    }

    @Test("A promise that could not be noted beside the set is no success: the next try gets the same one")
    func unrecorded() async throws {
        try await with { clinic, vault in
            clinic.first.fail(.put, keyContaining: "-vault-job.json")
            let failed = try await clinic.backup(.daily, requestID: .run("uid"))
            #expect(failed.exitCode == .notReplicated)
            let again = try await clinic.backup(.daily, requestID: .run("uid"))
            #expect(again.exitCode == .done && records(clinic).count == 1)
            #expect(vault.calls.count == 2 && vault.calls[0] == vault.calls[1])
        }
    }

    @Test("With the second store away as well both are told")
    func bothFail() async throws {
        try await with { clinic, vault in
            vault.fail(times: 1)
            clinic.second.die(afterCalls: 0)
            let failed = try await clinic.backup()
            #expect(failed.exitCode == .notReplicated && failed.failure?.operation == "copy to the second store")
            #expect(failed.notes.contains { $0.contains("the vault of the test") && $0.contains("it may not") })
        }
    }

    @Test("An end from outside while the vault is asked is told as that, with and without a second store")
    func ended() async throws {
        for hasSecond in [true, false] {
            try await with { clinic, vault in
                var clinic = clinic
                if !hasSecond { clinic.workplace.secondary = nil }
                let report = clinic.workplace.report
                clinic.workplace.report = { event in
                    await report(event)
                    if case .step("vault") = event { withUnsafeCurrentTask { $0?.cancel() } }
                }
                let run = Task { [clinic] in try await clinic.backup(.daily, requestID: .run("uid")) }
                let ended = try await run.value
                #expect(ended.exitCode == .terminated && ended.backupKey != nil, "\(ended)")
                #expect(vault.calls.isEmpty)
                #expect(records(clinic).isEmpty)
            }
        }
    }

    @Test("A note that was changed, or is of another set, is refused by name")
    func damagedRecords() async throws {
        try await with { clinic, _ in
            let key = try #require(try await clinic.backup().backupKey)
            let other = try #require(try await clinic.backup().backupKey)
            let stored = try await Catalog(clinic.first).manifest(key)
            let path = try #require(records(clinic).first { $0.hasPrefix("\(key)/") })
            let foreign = try #require(
                records(clinic).first { $0.hasPrefix("\(other)/") }.flatMap { clinic.firstMemory.bytes($0) })
            let own = try #require(clinic.firstMemory.bytes(path))
            let damaged: [[UInt8]] = [
                foreign, [], Array("{}".utf8), own + [0x20],
                Array(
                    String(decoding: own, as: UTF8.self).replacing("{\"format\"", with: "{\"a\":1,\"format\"").utf8),
            ]
            for bytes in damaged {
                clinic.firstMemory.damage(path) { $0 = bytes }
                await #expect(throws: SetError.self) {
                    try await VaultJobRecord.newest(of: stored, in: clinic.first)
                }
            }
        }
    }
}
