import Core
import Glibc
import TestSupport
import Testing

/// A target as tests run the program over it: the variables that lead to it, and a store that is a directory.
protocol TestTarget: Sendable {
    var environment: [String: String] { get }
    /// The directory.
    var store: String { get }
}

extension TestTarget {
    /// Runs one event and expects it to end with `code`.
    @discardableResult
    func event(
        _ fields: [String: JSON], environment more: [String: String] = [:], expecting code: Core.ExitCode = .done,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> Binary.Ended {
        let ended = try await Binary.run(
            environment: environment.merging(more) { $1 }, input: JSON.object(fields).canonicalText)
        #expect(ended.exitCode == code.rawValue, "\(ended)", sourceLocation: sourceLocation)
        return ended
    }

    func backup(_ second: Int = 0) async throws -> String {
        let time = Timestamp(milliseconds: 1_736_924_400_000).adding(seconds: Int64(second))
        let ended = try await event(["backupType": .string("daily"), "timestamp": .string(time.description)])
        return try #require(ended.text("backupKey"))
    }

    func confirmedRestore(_ key: String, _ more: [String: JSON] = [:]) -> [String: JSON] {
        [
            "backupKey": .string(key), "CONFIRM_RESTORE": .string("YES_I_WANT_TO_RESTORE"),
        ].merging(more) { $1 }
    }

    /// Every path in the store.
    func listing() async throws -> [String] {
        try await listFiles(store)
    }

    func manifests() async throws -> [String] {
        try await listing().filter { $0.hasSuffix("/manifest.json") }
    }

    /// Runs one event, however it ends.
    func run(
        _ fields: [String: JSON], environment more: [String: String] = [:],
        during: (@Sendable (pid_t) async throws -> Void)? = nil
    ) async throws -> Binary.Ended {
        try await Binary.run(
            environment: environment.merging(more) { $1 }, input: JSON.object(fields).canonicalText, during: during)
    }

    /// Runs `fields` until the lock of a run that was killed has run out.
    func runUnlocked(_ fields: [String: JSON]) async throws -> Binary.Ended {
        while true {
            let ended = try await run(fields)
            guard ended.exitCode == Core.ExitCode.locked.rawValue else { return ended }
            try await Task.sleep(for: .milliseconds(200))
        }
    }

    /// Runs `fields` and kills the process after `delay`.
    func runKilled(_ fields: [String: JSON], after delay: Duration) async throws {
        _ = try await run(fields) { pid in
            // The instant is the test's subject, so it has to be a real one.
            try await Task.sleep(for: delay)
            kill(pid, SIGKILL)
        }
    }

    /// What is in the store beside locks.
    func stored() async throws -> [String] { try await listing().filter { !$0.hasPrefix("locks/") } }

    /// Expects that `ended` says what to do, and that it has left no set and nothing of one.
    func expectNoSet(_ ended: Binary.Ended, sourceLocation: SourceLocation = #_sourceLocation) async throws {
        #expect(ended.error("hint") != "", "no hint: \(ended)", sourceLocation: sourceLocation)
        let left = try await stored()
        #expect(left.isEmpty, "left behind: \(left)", sourceLocation: sourceLocation)
    }
}

/// Waits until `condition` holds, and gives up after half a minute: what it waits for has failed then.
func until(_ what: String, _ condition: () async throws -> Bool) async throws {
    let limit = ContinuousClock.now + .seconds(30)
    while try await !condition() {
        guard ContinuousClock.now < limit else { throw TestFailure("waited for nothing: \(what)") }
        try await Task.sleep(for: .milliseconds(20))
    }
}
