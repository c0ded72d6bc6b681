import Core
import Foundation
import TestSupport
import Testing

/// A bad event or configuration with what has to come of it. The table stands in `Tests/Fixtures/bad-input.json`, so
/// that the binary is run over the same one.
struct BadInput: CustomTestStringConvertible {
    var name: String
    /// Complete: the table's base with the case's own variables laid over it. Empty ones count as unset.
    var environment: [String: String]
    /// For `BACKUP_EVENT`.
    var event: String?
    /// For the file that `LIFEBOAT_CONFIG` names.
    var yaml: String?
    var exitCode: ExitCode
    var field: String

    var testDescription: String { name }

    /// Stands wherever a secret would, and may never be shown.
    static let marker = "NEVER-SHOW-ME"

    static func table(directory: String) throws -> [BadInput] {
        let json = try JSON(parsing: try Fixture.bytes("Tests/Fixtures/bad-input.json"))
        var fields = try JSONFields(json, path: "")
        _ = try fields.string("about")
        let base = try fields.stringMap("base")
        let cases = try fields.array("cases")
        try fields.finish()
        return try cases.map { try BadInput(json: $0, base: base, directory: directory) }
    }

    private init(json: JSON, base: [String: String], directory: String) throws {
        var fields = try JSONFields(json, path: "case")
        name = try fields.string("name")
        let own = try fields.stringMap("environment")
        environment = base.merging(own) { _, own in own }
            .mapValues { $0.replacingOccurrences(of: "{directory}", with: directory) }
        event = fields.optional("event").flatMap { if case .string(let text) = $0 { text } else { nil } }
        yaml = fields.optional("yaml").flatMap { if case .string(let text) = $0 { text } else { nil } }
            .map { $0.replacingOccurrences(of: "{directory}", with: directory) }
        exitCode = try #require(ExitCode(rawValue: Int32(try fields.integer("exitCode"))))
        field = try fields.string("field")
        try fields.finish()
    }
}

/// Files of the repository.
enum Fixture {
    static let root = URL(filePath: repositoryRoot)

    static func bytes(_ path: String) throws -> [UInt8] { Array(try Data(contentsOf: root.appending(path: path))) }

    static func names(in directory: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: root.appending(path: directory).path).sorted()
    }
}
