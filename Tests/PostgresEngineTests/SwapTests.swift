import Core
import TestSupport
import Testing

@testable import PostgresEngine

@Suite("The swap", .needs(.postgres))
struct SwapTests {
    /// A client that comes back at once whenever it is thrown out. A login that waited for the swap is turned away once
    /// ("just renamed"); `outages` counts those who come back and still find nothing.
    private static func pester(_ endpoint: PostgresEndpoint, _ outages: Guarded<Int>) async {
        var misses = 0
        while !Task.isCancelled {
            do {
                let connection = try await Connection.open(endpoint, purpose: "client")
                defer { connection.close() }
                misses = 0
                while !Task.isCancelled {
                    try await connection.rows("SELECT count(*) FROM clinic.patients", to: "work")
                }
            } catch let error as PostgresError where error.kind == .missingDatabase {
                misses += 1
                if misses > 1 { outages.withLock { $0 += 1 } }
            } catch {
                continue
            }
        }
    }

    @Test("succeeds under clients that reconnect as fast as they can, and they never find the name gone")
    func underClients() async throws {
        let server = try await PostgresServer.shared()
        let database = try await Clinic.create(on: server, patients: 5)
        let engine = server.engine(database)
        let set = try await engine.take()
        let outages = Guarded(0)
        let oid = try await server.sql("SELECT oid FROM pg_database WHERE datname = '\(database)'")
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<4 { group.addTask { await Self.pester(server.endpoint(database), outages) } }
            try await engine.restore(set.request("busy"))
            group.cancelAll()
        }
        #expect(outages.value == 0)
        #expect(try await server.sql("SELECT oid FROM pg_database WHERE datname = '\(database)'") != oid)
    }

    @Test("gives up with the original in place where somebody holds it who may not be ended")
    func heldByPreparedTransaction() async throws {
        let server = try await PostgresServer.shared()
        let database = try await Clinic.create(on: server, patients: 5)
        let engine = server.engine(database, timing: .init(swapAttempts: 1))
        let set = try await engine.take()
        let staged = try await engine.plan(set.request("held")).stage()
        try await server.sql(
            "BEGIN; CREATE TABLE held (a int); PREPARE TRANSACTION '\(database)'", database: database)
        let marker = RestoreMarker(requestID: .run("held"), setKey: testKey, safetyKey: nil, time: testTime)
        let error = await #expect(throws: PostgresError.self) {
            try await staged.promote(PromotionRequest(marker: marker, safety: nil, meter: ProgressMeter()))
        }
        #expect(error?.kind == .swap && error?.exitCode == .restoreFailedOriginalIntact)
        // The plan would have said so, had it been there then.
        let refused = await #expect(throws: PostgresError.self) { try await engine.plan(set.request("again")) }
        #expect(refused?.cause.contains("prepared transactions") == true)
        try await server.sql("ROLLBACK PREPARED '\(database)'", database: database)
        // The staged copy is still good once the way is free.
        _ = try await staged.promote(PromotionRequest(marker: marker, safety: nil, meter: ProgressMeter()))
        #expect(try await engine.take().contents == set.contents)
    }

    @Test("is refused where another database took the name since the restore began")
    func exchanged() async throws {
        let server = try await PostgresServer.shared()
        let database = try await Clinic.create(on: server, patients: 5)
        let engine = server.engine(database)
        let set = try await engine.take()
        let staged = try await engine.plan(set.request("exchanged")).stage()
        try await server.sql("ALTER DATABASE \(database) RENAME TO \(database)_aside")
        try await server.sql("CREATE DATABASE \(database)")
        let marker = RestoreMarker(requestID: .run("exchanged"), setKey: testKey, safetyKey: nil, time: testTime)
        let error = await #expect(throws: PostgresError.self) {
            try await staged.promote(PromotionRequest(marker: marker, safety: nil, meter: ProgressMeter()))
        }
        #expect(error?.exitCode == .restoreFailedOriginalIntact)
        try await staged.discard()
        #expect(try await engine.take().contents.rows == 0)
    }
}
