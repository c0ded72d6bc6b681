import Glibc
import TestSupport
import Testing

@Suite("The throwaway server")
struct DumpServerTests {
    @Test("answers, asks for the password it was given, and is gone when stopped", .needs(.postgres))
    func lifeCycle() async throws {
        let server = try await PostgresServer.start(.init(password: "sécret / word", listensOnLoopback: true))
        #expect(try await server.sql("SELECT 6 * 7") == "42")
        let database = try await Clinic.create(on: server, patients: 10)
        #expect(try await server.sql("SELECT count(*) FROM clinic.results", database: database) == "50")
        let viaURL = try await server.run("psql", ["-XAtc", "SELECT 1", server.url(database: database)])
        #expect(viaURL == Array("1\n".utf8))
        await #expect(throws: TestFailure.self) { try await server.sql("SELECT nothing") }
        try await server.stop()
        #expect(access(server.host, F_OK) != 0)
    }
}
