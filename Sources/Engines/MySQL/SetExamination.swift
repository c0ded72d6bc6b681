import Core
import Streams

/// Reads the parts of a set as a restore would, without a server.
struct SetExamination {
    let manifest: Manifest
    let parts: any PartOpener
    let meter: ProgressMeter

    private static let smallLimit = 16 << 20

    /// Whether every part is there and complete; with `recompute`, also what is in the dump.
    func run(recompute: Bool) async throws -> Contents? {
        try checkNames()
        _ = try await accounts()
        _ = try await properties()
        let source = MeteredSource(try await parts.open(DatabaseSnapshot.PartName.database), meter: meter)
        guard recompute else {
            // Cheap: every byte is authenticated and decompressed by the source, and only the last are looked at.
            let tail = Guarded(StreamTail())
            try await pull(source, named: "examine") { chunk in tail.withLock { $0.add(chunk.bytes) } }
            try Self.checkCompletion(tail.value)
            return nil
        }
        let reader = SQLContentsReader(database: try database())
        let tail = Guarded(StreamTail())
        try await drain(
            try ObservedSource(source, name: "contents") { chunk in
                tail.withLock { $0.add(chunk.bytes) }
                try reader.read(chunk)
            })
        try Self.checkCompletion(tail.value)
        return try reader.finish().contents
    }

    /// The name of the database the set is of.
    func database() throws -> String {
        guard let name = manifest.details[DatabaseSnapshot.Detail.database] else {
            throw MySQLError.damagedPart("manifest", "it does not say which database the set is of")
        }
        return name
    }

    static func checkCompletion(_ tail: StreamTail) throws {
        guard tail.endsWithCompletedDump else {
            throw MySQLError.damagedPart(
                DatabaseSnapshot.PartName.database, "it does not end with the completion line of a dump")
        }
    }

    func checkNames() throws {
        let present = Set(parts.partNames)
        for name in DatabaseSnapshot.PartName.all where !present.contains(name) {
            throw MySQLError.damagedPart(name, "the set has no such part")
        }
    }

    func properties() async throws -> SchemaProperties {
        let name = DatabaseSnapshot.PartName.properties
        do {
            return try SchemaProperties(json: JSON(parsing: try await collect(name)))
        } catch let error as JSONError {
            throw MySQLError.damagedPart(name, error.description)
        } catch let error as JSONFieldError {
            throw MySQLError.damagedPart(name, error.description)
        }
    }

    /// The statements of the part with users and grants, one each.
    func accounts() async throws -> [String] {
        let name = DatabaseSnapshot.PartName.globals
        var lines = String(decoding: try await collect(name), as: UTF8.self).split(separator: "\n").map(String.init)
        guard lines.popLast() == SchemaAccounts.completionLine else {
            throw MySQLError.damagedPart(name, "it does not end with its completion line")
        }
        return try lines.filter { !$0.hasPrefix("-- ") }.map { line in
            guard line.hasSuffix(";"),
                ["CREATE USER ", "CREATE ROLE ", "GRANT "].contains(where: { line.hasPrefix($0) })
            else { throw MySQLError.damagedPart(name, "it has a statement that makes no user and grants nothing") }
            return String(line.dropLast())
        }
    }

    private func collect(_ name: String) async throws -> [UInt8] {
        let source = MeteredSource(try await parts.open(name), meter: meter)
        do {
            return try await onThread("collect") { try source.collect(limit: Self.smallLimit) }
        } catch let error as ObjectTooLarge {
            throw MySQLError.damagedPart(name, error.description)
        }
    }
}
