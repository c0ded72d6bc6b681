import Core
import Streams

/// Reads the parts of a set as a restore would, without a server.
struct Examination {
    let parts: any PartOpener
    let meter: ProgressMeter

    private static let propertiesLimit = 16 << 20

    /// Whether every part is there and complete; with `recompute`, also what is in the dump.
    func run(recompute: Bool) async throws -> Contents? {
        try checkNames()
        try await checkCompletion(PostgresDatabase.PartName.globals, CompletionLine.globals)
        _ = try await properties()
        guard recompute else {
            try await checkCompletion(PostgresDatabase.PartName.database, CompletionLine.database)
            return nil
        }
        let source = MeteredSource(try await parts.open(PostgresDatabase.PartName.database), meter: meter)
        let reader = ContentsReader()
        try await drain(try ObservedSource(source, name: "contents") { try reader.read($0) })
        return try reader.finish()
    }

    func checkNames() throws {
        let present = Set(parts.partNames)
        for name in PostgresDatabase.PartName.all where !present.contains(name) {
            throw PostgresError.damagedPart(name, "the set has no such part")
        }
    }

    func properties() async throws -> DatabaseProperties {
        let name = PostgresDatabase.PartName.properties
        let source = MeteredSource(try await parts.open(name), meter: meter)
        do {
            let bytes = try await onThread("properties") { try source.collect(limit: Self.propertiesLimit) }
            return try DatabaseProperties(json: JSON(parsing: bytes))
        } catch let error as JSONError {
            throw PostgresError.damagedPart(name, error.description)
        } catch let error as JSONFieldError {
            throw PostgresError.damagedPart(name, error.description)
        } catch let error as ObjectTooLarge {
            throw PostgresError.damagedPart(name, error.description)
        }
    }

    /// Cheap: every byte is authenticated and decompressed by the source, and only the last of them are looked at.
    private func checkCompletion(_ name: String, _ line: String) async throws {
        let source = MeteredSource(try await parts.open(name), meter: meter)
        let tail = Guarded(StreamTail())
        try await pull(source, named: "examine") { chunk in tail.withLock { $0.add(chunk.bytes) } }
        guard tail.value.ends(with: line) else {
            throw PostgresError.damagedPart(name, "it does not end with the completion line of a dump")
        }
    }
}
