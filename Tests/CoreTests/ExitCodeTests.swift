import Core
import Foundation
import Testing

@Suite("Exit codes, failures and secrets")
struct ExitCodeTests {
    private static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// Shows that the documentation's table is the code's: the same codes in the same order with the same words.
    @Test func documentation() throws {
        let text = try String(contentsOf: Self.root.appending(path: "docs/exit-codes.md"), encoding: .utf8)
        let rows = text.split(separator: "\n").compactMap { line -> (code: Int32, meaning: String, advice: String)? in
            let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
            guard cells.count == 3, let code = Int32(cells[0]) else { return nil }
            return (code, cells[1], cells[2])
        }
        #expect(rows.map(\.code) == ExitCode.allCases.map(\.rawValue))
        #expect(rows.map(\.meaning) == ExitCode.allCases.map(\.meaning))
        #expect(rows.allSatisfy { !$0.advice.isEmpty })
    }

    /// Shows that the codes are those that were promised, for other programs depend on them.
    @Test func codesAreFixed() {
        #expect(ExitCode.allCases.map(\.rawValue) == [0, 2, 3, 4, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 75, 143])
    }

    /// Shows that a failure keeps its words when an operation gives it another code.
    @Test func recoding() {
        let failure = JobFailure(.source, "dump", object: "clinic", cause: "it is gone", hint: "look")
        let other = JobFailure(failure, as: .restoreFailedOriginalIntact)
        #expect(other.exitCode == .restoreFailedOriginalIntact)
        #expect(other.description == failure.description && other.description == "cannot dump (clinic): it is gone")
        #expect(JobFailure(.source, "dump", cause: "c", hint: "h").description == "cannot dump: c")
    }

    /// Shows that a secret shows in none of the ways in which a value gets into a text by accident.
    @Test func secretsAreMasked() {
        let secret = Secret("swordfish")
        var dumped = ""
        dump(secret, to: &dumped)
        let all = ["\(secret)", String(describing: secret), String(reflecting: secret), dumped, "\([secret])"]
        #expect(all.allSatisfy { !$0.contains("swordfish") })
        #expect(secret.withRevealed { $0 } == "swordfish")
        var bytes = Array("swordfish".utf8)
        let key = SecretBytes(wiping: &bytes)
        #expect(bytes.isEmpty && key.count == 9)
        var dumpedKey = ""
        dump(key, to: &dumpedKey)
        #expect(!dumpedKey.contains("115") && "\(key)" == "••••")
        #expect(key.withBytes { Array($0) } == Array("swordfish".utf8))
    }

    /// Shows that hexadecimal text reads back, in either case, and that nothing else is taken for it.
    @Test func hexadecimal() {
        #expect(hexText([0, 0x0F, 0xA5, 0xFF]) == "000fa5ff")
        #expect(bytes(hexText: "000Fa5fF") == [0, 0x0F, 0xA5, 0xFF])
        for text in ["0", "0g", " 0", "é", "0x00"] { #expect(bytes(hexText: text) == nil) }
    }
}
