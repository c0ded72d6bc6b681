import Core
import Glibc
import TestSupport
import Testing

/// Bad events and configurations through the real program: the code, the field, and nothing touched.
struct RefusalTests {
    struct Case: Sendable, CustomStringConvertible {
        var name: String
        var event: String?
        var yaml: String?
        var environment: [String: String]
        var exitCode: Int64
        var field: String

        var description: String { name }
    }

    @Test("A run leaves no shared memory behind, and nothing but its own lines on standard error")
    func leavesNothing() async throws {
        let known = Guarded<pid_t>(0)
        let ended = try await Binary.run(environment: ["BACKUP_EVENT": "{}"]) { pid in known.withLock { $0 = pid } }
        #expect(ended.exitCode == 4, "\(ended)")
        #expect(known.value != 0 && access("/dev/shm/mongoc-\(known.value)", F_OK) != 0)
        for line in ended.log.split(separator: "\n") {
            #expect(throws: Never.self) { try JSON(parsing: Array(line.utf8)) }
        }
    }

    @Test("Every bad event and configuration ends with its code, names its field, shows no secret, touches nothing")
    func table() async throws {
        let (base, cases) = try Self.table()
        #expect(cases.count >= 60)
        try await withScratchDirectory { directory in
            _ = try await runProgram("/bin/mkdir", ["\(directory)/store"])
            try writeFile(directory + "/clinic.key", String(repeating: "5a", count: 32))
            for entry in cases {
                var environment = base.merging(entry.environment) { $1 }.filter { !$0.value.isEmpty }
                environment["BACKUP_EVENT"] = entry.event
                if let yaml = entry.yaml {
                    try writeFile(directory + "/lifeboat.yaml", yaml.replacing("{directory}", with: directory))
                    environment["LIFEBOAT_CONFIG"] = directory + "/lifeboat.yaml"
                }
                environment = environment.mapValues { $0.replacing("{directory}", with: directory) }
                let ended = try await Binary.run(environment: environment)
                #expect(ended.exitCode == Int32(entry.exitCode), "\(entry): \(ended)")
                #expect(ended.output.contains(entry.field), "\(entry) does not name \(entry.field): \(ended)")
                #expect(!ended.everything.contains("NEVER-SHOW-ME"), "\(entry) shows a secret")
                #expect(ended.error("hint") != "", "\(entry) gives no hint: \(ended)")
                #expect(try await listFiles(directory + "/store").isEmpty, "\(entry) touched the store")
            }
        }
    }

    private static func table() throws -> (base: [String: String], cases: [Case]) {
        let path = #filePath.split(separator: "/").dropLast(2).joined(separator: "/")
        var document = try JSONFields(
            try JSON(parsing: try contentsOfFile("/\(path)/Fixtures/bad-input.json")), path: "")
        _ = try document.string("about")
        let base = try document.stringMap("base")
        let cases = try document.array("cases").map { json in
            var fields = try JSONFields(json, path: "case")
            return Case(
                name: try fields.string("name"), event: fields.text("event"), yaml: fields.text("yaml"),
                environment: try fields.stringMap("environment"), exitCode: try fields.integer("exitCode"),
                field: try fields.string("field"))
        }
        return (base, cases)
    }

    @Test("A usage error on the command line is a refused event, and help is none")
    func usage() async throws {
        #expect(try await Binary.run(["--nonsense"], environment: [:]).exitCode == 2)
        #expect(try await Binary.run(["backup", "--type"], environment: [:]).exitCode == 2)
        let help = try await Binary.run(["--help"], environment: [:])
        #expect(help.exitCode == 0 && help.output.contains("restore"))
    }
}

extension JSONFields {
    /// A string, or nothing for `null`.
    fileprivate mutating func text(_ field: String) -> String? {
        if case .string(let text)? = optional(field) { text } else { nil }
    }
}
