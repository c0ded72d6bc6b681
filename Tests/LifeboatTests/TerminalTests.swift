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
}
