import Core
import PostgresEngine
import TestSupport

/// One awkward database and its dump, made once for all the tests that only read it.
struct AwkwardDump {
    let server: PostgresServer
    let database: String
    let bytes: [UInt8]
    let summary: DumpSummary

    private static let made = Task {
        let server = try await PostgresServer.shared()
        let database = try await AwkwardDatabase.create(on: server)
        let bytes = try await server.dump(database)
        return AwkwardDump(
            server: server, database: database, bytes: bytes, summary: try read(bytes, pieces: Chunk.size))
    }

    static func get() async throws -> AwkwardDump { try await made.value }
}

/// What the reader finds in `bytes` given in pieces of one size.
func read(_ bytes: [UInt8], pieces: Int) throws -> DumpSummary {
    var reader = DumpReader()
    try bytes.withUnsafeBytes { whole in
        for start in stride(from: 0, to: whole.count, by: pieces) {
            try reader.update(UnsafeRawBufferPointer(rebasing: whole[start..<min(start + pieces, whole.count)]))
        }
    }
    return try reader.finish()
}

func read(_ text: String) throws -> DumpSummary { try read(Array(text.utf8), pieces: Chunk.size) }

/// A small dump around `body`, as pg_dump frames it.
func dumpText(_ body: String, restricted: Bool = true) -> String {
    """
    --
    -- PostgreSQL database dump
    --

    \(restricted ? "\\restrict AbC123\n" : "")
    SET standard_conforming_strings = on;

    \(body)

    --
    -- PostgreSQL database dump complete
    --

    \(restricted ? "\\unrestrict AbC123\n" : "")

    """
}
