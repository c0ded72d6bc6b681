import Core
import Sets
import TestSupport
import Testing

@testable import Operations

@Suite("Keys that end")
struct KeyExpiryTests {
    /// A key that ends, or that does not say when.
    private struct EndingKey: KeyProvider {
        let base: any KeyProvider
        let name: String
        /// `nil`: asking for it fails.
        let end: Timestamp?
        var capabilities: KeyCapabilities {
            KeyCapabilities(name: name, canWrap: true, canUnwrap: false, isSymmetric: false)
        }

        func wrap(_ dataKey: SecretBytes, context: [String: String]) async throws -> EncryptedDataKey {
            try await base.wrap(dataKey, context: context)
        }
        func unwrap(_ wrapped: EncryptedDataKey, context: [String: String]) async throws -> SecretBytes? { nil }
        func expiry() async throws -> Timestamp? {
            guard let end else { throw JobFailure(.keys, "look", cause: "it is away", hint: "wait") }
            return end
        }
    }

    @Test("Keys that are stored warn by the first of them, in words of their own")
    func storedKeys() {
        let now = ManualClock().now()
        let stored = KeyExpiry(key: KeyExpiry.stored, expires: now.adding(seconds: 86_400))
        var result = JobResult(action: "backup", target: "keys", requestID: .run("uid"))
        result.note([], stored: stored, at: now)
        #expect(result.keyExpiries == [stored])
        #expect(
            result.notes == [
                "the first of the keys that are backed up ends on \(stored.expires.day), in 1 day: rotate it before"
            ])
    }

    @Test("A backup and its plan say when keys end, and warn 30 days before; what cannot be asked ends nothing")
    func warned() async throws {
        try await Clinic.open { clinic in
            var clinic = clinic
            let days = { (count: Int64) in clinic.clock.now().adding(seconds: count * 86_400) }
            let key = clinic.workplace.writer.recipients[0]
            let (soon, late) = (days(29), days(31))
            clinic.workplace.writer.recipients = [
                key, EndingKey(base: key, name: "gpg:soon", end: soon),
                EndingKey(base: key, name: "gpg:late", end: late),
                EndingKey(base: key, name: "gpg:away", end: nil),
            ]
            for dryRun in [true, false] {
                let result = try await clinic.backup(dryRun: dryRun)
                #expect(
                    result.keyExpiries == [
                        KeyExpiry(key: "gpg:soon", expires: soon), KeyExpiry(key: "gpg:late", expires: late),
                    ])
                let warnings = result.notes.filter { $0.contains("gpg:") }
                #expect(warnings.count == 1)
                #expect(warnings.first?.hasPrefix("the key gpg:soon ends on \(soon.day), in 28 days") == true)
                let outcome = result.outcome(started: clinic.clock.now(), finished: clinic.clock.now())
                #expect(outcome.keyExpiries == result.keyExpiries)
                guard case .object(let members) = result.json, case .array(let shown)? = members["keyExpiries"] else {
                    Issue.record("the result does not show when keys end")
                    continue
                }
                #expect(
                    shown.first
                        == .object(["key": .string("gpg:soon"), "expires": .string(soon.description)]))
            }
        }
    }
}
