import Core
import Glibc
import Streams
import TestSupport
import Testing

@testable import PostgresEngine

@Suite("Scratch servers", .needs(.postgres), .needs(.program("python3")))
struct RecoveryScratchTests {
    /// A whole server is restored, recovered, started and looked through in a scratch place; one of its databases is
    /// taken out and restored into a live server; nothing is left of it.
    @Test("bring a whole server to life, give one database of it, and are gone")
    func physical() async throws {
        let fixture = try await RecoveryFixture.shared.value
        let live = try await PostgresServer.shared()
        try await withHandOver { program in
            try await withClusterDirectory { directory in
                let place = PostgresScratch(fixture.site(directory, program)) { Issue.record("left: \($0)") }
                let scratch = try await place.open(for: fixture.base.manifest, meter: ProgressMeter())
                try await scratch.destination.restore(
                    fixture.request("scratch", RecoveryTarget(.time(microseconds: fixture.commits[2].time))))
                let notes = try await scratch.check(meter: ProgressMeter())
                #expect(notes.contains { $0.hasSuffix("found nothing wrong") })
                let taken = try await scratch.database(RecoveryFixture.database, meter: ProgressMeter())
                #expect(taken.contents.data.first { $0.name == "events" }?.rows == 3)
                // What the check needed in the database is none of its own.
                #expect(!taken.contents.schema.contains { $0.type == "EXTENSION" })
                await #expect(throws: PostgresError.self) {
                    try await scratch.database("nobody", meter: ProgressMeter())
                }
                try await restore(taken, on: live, fixture)
                await scratch.close()
                await scratch.close()
                try expectNothingLeft(in: directory)
            }
        }
    }

    private func restore(
        _ taken: RecoveredDatabase, on live: PostgresServer, _ fixture: RecoveryFixture
    ) async throws {
        let name = try await live.createDatabase("recovered")
        try await live.sql("DROP DATABASE \"\(name)\"")
        var set = fixture.base
        set.facts = taken.facts
        set.contents = taken.contents
        var request = set.request("live", create: true)
        request.parts = taken.parts
        try await live.engine(name).restore(request)
        #expect(try await live.sql("SELECT count(*) FROM events", database: name) == "3")
    }

    /// A table whose page was overwritten after the restore is named by the check, which then fails the proof.
    @Test("find a damaged table")
    func damagedTable() async throws {
        let fixture = try await RecoveryFixture.shared.value
        try await withClusterDirectory { directory in
            let place = PostgresScratch(fixture.site(directory, ["/bin/false"])) { Issue.record("left: \($0)") }
            let scratch = try await place.open(for: fixture.base.manifest, meter: ProgressMeter())
            try await scratch.destination.restore(fixture.request("damaged", nil))
            let room = try #require(try ClusterDirectory.names(in: directory).first)
            let path = "\(directory)/\(room)/cluster/data/\(fixture.tablePath)"
            let file = try #require(fopen(path, "r+"))
            // The first line pointer of the first page: to an offset at which no row can begin.
            fseek(file, 24, SEEK_SET)
            withUnsafeBytes(of: UInt32(8190 | 1 << 15 | 30 << 17).littleEndian) { bytes in
                _ = fwrite(bytes.baseAddress, 1, bytes.count, file)
            }
            fclose(file)
            let error = await #expect(throws: PostgresError.self) { try await scratch.check(meter: ProgressMeter()) }
            #expect(error?.exitCode == .verificationFailed)
            #expect(error?.cause == "damaged in the copy: clinic.public.patients")
            await scratch.close()
            try expectNothingLeft(in: directory)
        }
    }

    /// A database's dump is restored into an empty server of its own; what a killed run has left beside it is removed,
    /// what a running one has there is not.
    @Test("bring one database to life")
    func logical() async throws {
        let server = try await PostgresServer.shared()
        let database = try await Clinic.create(on: server, patients: 20)
        let set = try await server.engine(database).take()
        let fixture = try await RecoveryFixture.shared.value
        try await withClusterDirectory { directory in
            let left = "\(directory)/lifeboat-scratch-0123456789abcdef"
            mkdir(left, 0o700)
            try writeFile("\(left)/left", "over")
            let running = ClusterDirectory(path: "\(directory)/lifeboat-scratch-fedcba9876543210")
            let lock = try running.lock(owner: nil)
            let place = PostgresScratch(fixture.site(directory, [])) { Issue.record("left: \($0)") }
            let scratch = try await place.open(for: set.manifest, meter: ProgressMeter())
            #expect(access(left, F_OK) != 0)
            try await scratch.destination.restore(set.request("scratch", create: true))
            #expect(try await scratch.check(meter: ProgressMeter()).contains { $0.hasSuffix("found nothing wrong") })
            await #expect(throws: (any Error).self) { try await scratch.database("clinic", meter: ProgressMeter()) }
            await scratch.close()
            #expect(try ClusterDirectory.names(in: directory) == ["lifeboat-scratch-fedcba9876543210"])
            #expect(try processes(naming: directory).isEmpty)
            withExtendedLifetime(lock) {}
        }
    }

    /// A set of a version that is not installed, one of no PostgreSQL, and a place that is not there are errors by name,
    /// and nothing is made.
    @Test("refuse what they cannot bring to life")
    func refused() async throws {
        let fixture = try await RecoveryFixture.shared.value
        try await withClusterDirectory { directory in
            let place = PostgresScratch(fixture.site(directory, [])) { Issue.record("left: \($0)") }
            var manifest = fixture.base.manifest
            manifest.details[PostgresCluster.Detail.major] = "9"
            let version = await #expect(throws: PostgresError.self) {
                try await place.open(for: manifest, meter: ProgressMeter())
            }
            #expect(version?.kind == .toolVersion)
            manifest.details = [:]
            await #expect(throws: PostgresError.self) { try await place.open(for: manifest, meter: ProgressMeter()) }
            let nowhere = PostgresScratch(fixture.site("\(directory)/none", [])) { Issue.record("left: \($0)") }
            await #expect(throws: PostgresError.self) {
                try await nowhere.open(for: fixture.base.manifest, meter: ProgressMeter())
            }
            try expectNothingLeft(in: directory)
        }
    }
}
