import Core
import TestSupport
import Testing

/// What a person at a terminal reads in the place of the JSON.
struct TerminalTests {
    @Test("A count agrees with its word, be it one or several, in the result of a backup and in a list")
    func counts() async throws {
        try await EngineSite.with(.files) { site in
            let made = try await Binary.atTerminal(["backup", "--type", "daily"], environment: site.environment)
            #expect(made.exitCode == 0 && made.output.contains(" entries in 1 tree\r\n"), "\(made)")
            let listed = try await Binary.atTerminal(["list"], environment: site.environment)
            #expect(listed.exitCode == 0 && listed.output.contains(" entries in 1 tree "), "\(listed)")
        }
    }

    @Test("A drill is read as its steps, what each showed, and how long a disaster would have taken")
    func drill() async throws {
        try await EngineSite.with(.files) { site in
            let environment = site.environment.merging(try site.scratch()) { $1 }
            _ = try await site.backup()
            let planned = try await Binary.atTerminal(
                ["drill", "SYSTEM_FAILURE", "latest", "--dry-run"], environment: environment)
            #expect(planned.output.contains("  scenario       SYSTEM_FAILURE\r\n"), "\(planned)")
            #expect(planned.output.contains("  restored to    the directory "), "\(planned)")
            let made = try await Binary.atTerminal(
                ["drill", "SYSTEM_FAILURE", "latest"], environment: environment)
            for line in [
                "drill: done", "  scenario       SYSTEM_FAILURE", "  steps",
                "    RETRIEVE_BACKUP               PASSED        BACKUP_AVAILABILITY",
                "    RESTORE_SYSTEM                PASSED        RECOVERABILITY", "  validations",
                "    CONTENTS_CHECK                PASSED", "  passed         100 %, 4 of 4 steps and validations",
            ] { #expect(made.output.contains("\(line)\r\n"), "'\(line)' in \(made)") }
            #expect(made.output.contains(" s until all was back and proven\r\n"), "\(made)")
            #expect(made.output.contains(" s of writes would have been lost\r\n"), "\(made)")
            let proven = try await Binary.atTerminal(
                ["verify", "latest", "--depth", "restore"], environment: environment)
            #expect(proven.output.contains("  verdict        proven (restore)\r\n"), "\(proven)")
            #expect(proven.output.contains("  restored       1 of 1 object as recorded\r\n"), "\(proven)")
            // With one key there is none left to open anything with.
            let lost = try await Binary.atTerminal(["drill", "KEY_LOSS", "latest"], environment: environment)
            #expect(lost.exitCode == ExitCode.keys.rawValue, "\(lost)")
            #expect(lost.output.contains("    RESTORE_KEYS                  FAILED        KEY_FUNCTIONALITY\r\n"))
        }
    }
}
