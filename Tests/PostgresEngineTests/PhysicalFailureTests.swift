import Core
import TestSupport
import Testing

@testable import PostgresEngine

@Suite("Why a server cannot be backed up")
struct PhysicalFailureTests {
    private func facts(
        _ versionNumber: Int = 150_020, walLevel: String = "replica", clients: Int64 = 10
    ) -> ClusterFacts {
        ClusterFacts(
            version: "\(versionNumber / 10000).1", versionNumber: versionNumber, time: testTime, isInRecovery: false,
            hasChecksums: true, segmentSize: 1 << 24, walLevel: walLevel, replicatingClients: clients)
    }

    private let endpoint = PostgresEndpoint(host: "db.example", database: "clinic", user: "backup")

    /// Servers before 13 write no manifest of their files; nothing is asked of them.
    @Test("A server that is too old is refused by its version")
    func tooOld() throws {
        try facts(130_000).check(endpoint)
        let error = #expect(throws: PostgresError.self) { try facts(120_022).check(endpoint) }
        #expect(error?.kind == .toolVersion && error?.cause.contains("12.1") == true)
    }

    @Test("A log that says too little, and no place for replicating clients, are told apart")
    func settings() {
        let minimal = #expect(throws: PostgresError.self) {
            try facts(walLevel: "minimal", clients: 0).check(endpoint)
        }
        #expect(minimal?.hint.contains("wal_level") == true && minimal?.object == "the server db.example:5432")
        let none = #expect(throws: PostgresError.self) { try facts(clients: 0).check(endpoint) }
        #expect(none?.hint.contains("max_wal_senders") == true)
    }

    /// The server has one code for several refusals; what it was and is now tells them apart.
    @Test("What the server's code means depends on what it was and what it is")
    func codes() throws {
        let damaged = DamagedPages()
        for number in 0..<12 {
            damaged.note("checksum verification failed in file \"./base/5/\(number / 2)\", block 1")
        }
        func meaning(
            _ sqlState: String, wasStandby: Bool = false, isStandby: () throws -> Bool = { false }
        ) -> PostgresError {
            .refusedBackup(
                .query("back up", sqlState: sqlState, on: "the server x"), damaged: damaged, wasStandby: wasStandby,
                isStandby: isStandby)
        }
        #expect(meaning("55000", wasStandby: true).cause.contains("promoted"))
        #expect(meaning("55000", wasStandby: true, isStandby: { true }).hint.contains("full_page_writes"))
        #expect(meaning("55000").cause.contains("SQLSTATE 55000"))
        // Where the server cannot be asked any more, nothing is claimed.
        #expect(
            meaning("55000", wasStandby: true, isStandby: { throw TestFailure("gone") }).cause
                .contains("SQLSTATE 55000"))
        #expect(meaning("58P01").hint.contains("wal_keep_size"))
        #expect(meaning("57P01").cause.contains("SQLSTATE 57P01"))
        let pages = meaning("XX001").cause
        #expect(pages.contains("base/5/0, base/5/1") && !pages.contains("more"))
        for number in 0..<12 { damaged.note("checksum verification failed in file \"./base/6/\(number)\", block 1") }
        #expect(meaning("XX001").cause.contains("and 10 more"))
    }
}
