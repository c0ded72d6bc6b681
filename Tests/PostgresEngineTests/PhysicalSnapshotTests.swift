import Core
import Glibc
import Streams
import TestSupport
import Testing

@testable import PostgresEngine

@Suite("A base backup of a whole server", .needs(.postgres))
struct PhysicalSnapshotTests {
    /// Files of all kinds: a tablespace, and files whose names no program of PostgreSQL would give.
    private func furnish(_ server: PostgresServer) async throws -> String {
        try await server.shell("mkdir ../space")
        try await server.sql("CREATE TABLESPACE \"odd \"\" späce\" LOCATION '\(server.host)/space'")
        let database = try await Clinic.create(on: server, patients: 20)
        try await server.sql(
            "CREATE TABLE \"in the tablespace\" (a text) TABLESPACE \"odd \"\" späce\"; "
                + "INSERT INTO \"in the tablespace\" SELECT repeat('x', 50) FROM generate_series(1, 1000)",
            database: database)
        try await server.shell(#"touch 'a "quoted" \ näme'; printf xyz > "$(printf 'bytes\377\nname')""#)
        return try await server.sql("SELECT oid FROM pg_tablespace WHERE spcname LIKE 'odd%'")
    }

    private func extract(_ set: TakenSet, to directory: String, space: String) throws {
        for (name, bytes) in set.parts { try write(bytes, to: "\(directory)/\(name)") }
        for (archive, path) in [("base.tar", "data"), ("\(space).tar", "data/pg_tblspc/\(space)")] {
            #expect(try runProgram("/bin/mkdir", ["-p", "\(directory)/\(path)"]).status == 0)
            let result = try runProgram("/bin/tar", ["-xf", "\(directory)/\(archive)", "-C", "\(directory)/\(path)"])
            #expect(result.status == 0, "\(result.output)")
        }
        try write(try #require(set.parts["backup_manifest"]), to: "\(directory)/data/backup_manifest")
    }

    private func write(_ bytes: [UInt8], to path: String) throws {
        guard let file = fopen(path, "w") else { throw TestFailure("no file \(path)") }
        defer { fclose(file) }
        guard fwrite(bytes, 1, bytes.count, file) == bytes.count else { throw TestFailure("\(path) is not written") }
    }

    /// What comes out is what tar unpacks and the server's own pg_verifybackup finds right, log included.
    @Test("has every tablespace, the log and the manifest, as PostgreSQL's own tools find")
    func whole() async throws {
        let server = try await PostgresServer.start(.init(hasChecksums: true))
        let space = try await furnish(server)
        let engine = server.cluster()
        let set = try await engine.take()
        #expect(set.order == ["\(space).tar", "base.tar", "backup_manifest"])
        #expect(set.facts.exceptions.isEmpty)
        let details = set.facts.details
        #expect(details["method"] == "physical" && details["tablespaces"] == space && details["checksums"] == "on")
        #expect(
            try await details["systemIdentifier"] == server.sql("SELECT system_identifier FROM pg_control_system()"))
        #expect(details["walSegmentSize"] == "16777216" && details["timeline"] == "1" && details["major"] != nil)
        let base = try #require(PhysicalBase(set.manifest))
        #expect(base.start < base.end && base.endTime >= set.facts.time)
        #expect(set.facts.sourceSize > 20 << 20)
        #expect(set.contents.counts["tablespaces"] == 2 && set.contents.counts["segments"] == 1)
        try await withScratchDirectory { directory in
            try extract(set, to: directory, space: space)
            let verified = try runProgram("\(server.binaries)/pg_verifybackup", ["\(directory)/data"])
            #expect(verified.status == 0, "\(verified.output)")
        }
        try await server.stop()
    }

    /// The same set is read again without its server, and every kind of damage to it is found by name.
    @Test("is proven or refused when its archives are examined without a server")
    func examination() async throws {
        let server = try await PostgresServer.start()
        let space = try await furnish(server)
        let engine = server.cluster()
        let set = try await engine.take()
        let other = try await engine.take()
        try await server.stop()
        #expect(set.facts.exceptions.contains { $0.contains("no checksums") })
        #expect(try await engine.examine(set.examineRequest(recompute: false)).contents == nil)
        #expect(try await engine.examine(set.examineRequest(recompute: true)).contents == set.contents)

        func problem(_ name: String, _ change: (inout [String: [UInt8]]) throws -> Void) async throws -> String {
            var damaged = set
            try change(&damaged.parts)
            let request = damaged.examineRequest(recompute: false)
            let error = await #expect(throws: PostgresError.self, "\(name)") { try await engine.examine(request) }
            #expect(error?.kind == .damagedPart && error?.exitCode == .verificationFailed, "\(name)")
            return error.map { "\($0.object): \($0.cause)" } ?? ""
        }
        for name in set.order {
            #expect(try await problem("\(name) missing") { $0[name] = nil }.contains("no such part"))
            #expect(try await problem("\(name) cut") { $0[name]?.removeLast(700) }.contains("too early"))
        }
        let control = try #require(set.parts["base.tar"]?.offset(ofMember: "global/pg_control"))
        #expect(
            try await problem("a byte changed") { $0["base.tar"]?[control + 512 + 100] ^= 1 }
                .contains("'global/pg_control' has another size or content"))
        #expect(
            try await problem("a file renamed") { parts in
                let header = TestArchive.header(Array("global/pg_c0ntrol".utf8), size: 8192)
                parts["base.tar"]?.replaceSubrange(control..<control + 512, with: header)
            }.contains("'global/pg_control' is missing; 'global/pg_c0ntrol' is not in the manifest"))
        #expect(
            try await problem("another backup's archive") { $0["base.tar"] = other.parts["base.tar"] }
                .contains("backup_label"))
        #expect(
            try await problem("another backup's manifest") {
                $0["backup_manifest"] = other.parts["backup_manifest"]
            }.contains("backup_label"))
        let segment = try #require(set.parts["base.tar"]?.offset(ofMember: "pg_wal/0000000100000000"))
        #expect(
            try await problem("another place in a segment's header") { $0["base.tar"]?[segment + 512 + 9] ^= 1 }
                .contains("does not begin as one does"))
        // What the server's manifest says nothing of shows in the contents.
        var changed = set
        changed.parts["base.tar"]?[segment + 512 + 5000] ^= 1
        #expect(try await engine.examine(changed.examineRequest(recompute: true)).contents != set.contents)
        #expect(
            try await problem("an extra file in the tablespace") { parts in
                var archive = TestArchive()
                archive.add("marker", [1])
                parts["\(space).tar"]?.insert(contentsOf: archive.bytes, at: 0)
            }.contains("'pg_tblspc/\(space)/marker' is not in the manifest"))
    }

    /// A set of the other kind is not examined, and so not called damaged.
    @Test("is told apart from a database's dump")
    func otherKind() async throws {
        let server = try await PostgresServer.shared()
        let database = try await Clinic.create(on: server, patients: 1)
        let dump = try await server.engine(database).take()
        let error = await #expect(throws: PostgresError.self) {
            try await server.cluster().examine(dump.examineRequest(recompute: false))
        }
        #expect(error?.exitCode == .configuration && error?.hint.contains("BACKUP_METHOD") == true)
    }

    // MARK: What stands against it

    /// A byte is changed on the server's disk, under the server's feet: the backup fails and says where.
    @Test("fails, naming the file, when pages on the server's disk are damaged")
    func damagedPages() async throws {
        let server = try await PostgresServer.start(.init(hasChecksums: true))
        let database = try await server.createDatabase("damage")
        try await server.sql(
            "CREATE TABLE t AS SELECT 'marker-' || n AS secret FROM generate_series(1, 5000) n; CHECKPOINT",
            database: database)
        let file = try await server.sql("SELECT pg_relation_filepath('t')", database: database)
        try await server.shell("printf X | dd of=\(file) bs=1 seek=4321 conv=notrunc status=none")
        let error = await #expect(throws: PostgresError.self) { try await server.cluster().take() }
        #expect(error?.sqlState == "XX001" && error?.exitCode == .source)
        #expect(error?.cause.contains(file) == true)
        #expect(error?.hint.contains("pg_amcheck") == true)
        #expect(error.map { "\($0) \($0.hint)".contains("marker") } == false)
        try await server.stop()
    }

    @Test("is refused by name where the log says too little, or nobody may replicate")
    func minimalLog() async throws {
        let minimal = try await PostgresServer.start(
            .init(settings: ["wal_level": "minimal", "max_wal_senders": "0"]))
        let error = await #expect(throws: PostgresError.self) { try await minimal.cluster().take() }
        #expect(error?.kind == .configuration && error?.cause.contains("wal_level is minimal") == true)
        try await minimal.stop()
        let closed = try await PostgresServer.start(.init(settings: ["max_wal_senders": "0"]))
        let none = await #expect(throws: PostgresError.self) { try await closed.cluster().take() }
        #expect(none?.kind == .configuration && none?.cause.contains("max_wal_senders is 0") == true)
        try await closed.stop()
    }

    @Test("is refused by name without the right to replicate, without a rule for it, and without a place")
    func replicationRefused() async throws {
        let server = try await PostgresServer.start(.init(settings: ["max_wal_senders": "1"]))
        let role = try await server.createRole("reader", "LOGIN")
        let noRight = await #expect(throws: PostgresError.self) { try await server.cluster(user: role).take() }
        #expect(noRight?.sqlState == "42501" && noRight?.hint.contains("REPLICATION") == true)
        try await server.sql("ALTER ROLE \"\(role)\" REPLICATION")
        // Nothing but this right, and that to log in, is needed.
        _ = try await server.cluster(user: role).take()

        var taken: ReplicationConnection?
        // The place of the backup before is free a moment after its end.
        try await eventually {
            do {
                taken = try await ReplicationConnection.open(server.endpoint("postgres"), purpose: "test")
            } catch let error as PostgresError where error.sqlState == "53300" {
                return false
            }
            return true
        }
        let noPlace = await #expect(throws: PostgresError.self) { try await server.cluster(user: role).take() }
        #expect(noPlace?.sqlState == "53300" && noPlace?.hint.contains("max_wal_senders") == true)
        taken?.close()

        try await server.shell("grep -v replication pg_hba.conf > hba.new && cat hba.new > pg_hba.conf")
        try await server.sql("SELECT pg_reload_conf()")
        try await eventually {
            do {
                _ = try await server.cluster(user: role).take()
                return false
            } catch let error as PostgresError {
                return error.sqlState == "28000" && error.hint.contains("pg_hba.conf")
            }
        }
        try await server.stop()
    }

    /// A server that waits for its checkpoint does not see by itself that nobody is there any more.
    @Test("cancelled while the server makes its checkpoint, it leaves no session waiting there")
    func cancelledBeforeTheFirstByte() async throws {
        let server = try await PostgresServer.start()
        let text = try await server.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
        let checkpointer = try #require(Int32(text))
        #expect(kill(checkpointer, SIGSTOP) == 0)
        defer { kill(checkpointer, SIGCONT) }
        let backup = Task { try await server.cluster().take() }
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'"
        try await eventually { try await server.sql(waiting + " AND wait_event LIKE 'Checkpoint%'") == "1" }
        backup.cancel()
        await #expect(throws: CancellationError.self) { _ = try await backup.value }
        try await eventually { try await server.sql(waiting) == "0" }
        kill(checkpointer, SIGCONT)
        try await server.stop()
    }

    // MARK: Standbys

    /// The tests' servers write no full pages unless they are told to, which no backup of a standby survives.
    @Test("is refused by name on a standby whose primary writes no full pages")
    func unsafeStandby() async throws {
        let primary = try await PostgresServer.start()
        let standby = try await PostgresServer.start(.init(primary: primary))
        let error = await #expect(throws: PostgresError.self) { try await standby.cluster().take() }
        #expect(error?.kind == .configuration && error?.hint.contains("full_page_writes = on") == true)
        try await standby.stop()
        try await primary.stop()
    }

    @Test("can be taken from a standby, and fails by name when that is promoted midway")
    func standby() async throws {
        let primary = try await PostgresServer.start(.init(settings: ["full_page_writes": "on"]))
        try await primary.sql("CREATE TABLE t AS SELECT n, repeat('x', 200) FROM generate_series(1, 200000) n")
        let standby = try await PostgresServer.start(.init(primary: primary))
        try await primary.sql("SELECT pg_switch_wal(); CHECKPOINT")
        let set = try await standby.cluster().take()
        #expect(set.facts.details["standby"] == "true")
        #expect(try await standby.cluster().examine(set.examineRequest(recompute: true)).contents == set.contents)

        // More than what lies between the server and us, so that it is still sending when it is promoted.
        let snapshot = try await standby.cluster().picture()
        try await standby.sql("SELECT pg_promote()")
        let error = await #expect(throws: PostgresError.self) {
            for try await part in snapshot.parts { try await drain(part.source) }
        }
        #expect(
            error?.cause.contains("promoted") == true && error?.exitCode == .source, "\(String(describing: error))")
        await #expect(throws: PostgresError.self) { try await snapshot.finish() }
        await snapshot.cancel()
        try await standby.stop()
        try await primary.stop()
    }

    // MARK: Given up

    /// The sender ends, and the place it had is free; the slots and the state of the server are as before.
    @Test("leaves nothing behind on the server when it is given up")
    func givenUp() async throws {
        let server = try await PostgresServer.start()
        try await server.sql("CREATE TABLE t AS SELECT n, repeat('x', 200) FROM generate_series(1, 200000) n")
        let snapshot = try await server.cluster().picture()
        for try await part in snapshot.parts {
            let source = part.source
            _ = try await onThread("test") { try source.next() }
            break
        }
        #expect(try await server.sql("SELECT count(*) FROM pg_stat_progress_basebackup") == "1")
        await snapshot.cancel()
        await snapshot.cancel()
        await #expect(throws: PostgresError.self) { try await snapshot.finish() }
        try await eventually { try await server.sql("SELECT count(*) FROM pg_stat_progress_basebackup") == "0" }
        _ = try await server.cluster().take()
        try await server.stop()
    }

    /// The server goes away in the middle: an error of the source, and no end of a part that would look whole.
    @Test("fails when the server goes away")
    func lostServer() async throws {
        let server = try await PostgresServer.start()
        try await server.sql("CREATE TABLE t AS SELECT n, repeat('x', 200) FROM generate_series(1, 200000) n")
        let snapshot = try await server.cluster().picture()
        try await server.stop()
        let error = await #expect(throws: PostgresError.self) {
            for try await part in snapshot.parts { try await drain(part.source) }
        }
        #expect(error?.exitCode == .source && error?.hint.isEmpty == false)
        await snapshot.cancel()
    }
}

extension PostgresServer {
    func cluster(user: String = "postgres") -> PostgresCluster {
        PostgresCluster(endpoint("postgres", user: user), timing: .init(checkpoint: 60, message: 60))
    }

    /// Runs `script` as the server's user in its data directory.
    func shell(_ script: String) async throws {
        try await sql("COPY (SELECT 1) TO PROGRAM \(quoted(literal: script))")
    }
}

/// Asks again until `condition` holds, for what a server does in its own time.
private func eventually(_ condition: () async throws -> Bool) async throws {
    let end = ContinuousClock.now + .seconds(20)
    while try await !condition() {
        guard .now < end else { throw TestFailure("what was waited for has not come") }
        try await Task.sleep(for: .milliseconds(50))
    }
}

extension [UInt8] {
    /// Where the header of the archive's first member stands whose name begins with `name`.
    fileprivate func offset(ofMember name: String) -> Int? {
        var offset = 0
        while offset + 512 <= count, self[offset] != 0 {
            if self[offset...].starts(with: name.utf8) { return offset }
            let digits = String(decoding: self[offset + 124..<offset + 135], as: UTF8.self)
            guard let size = Int(digits, radix: 8) else { return nil }
            offset += 512 + (size + 511) / 512 * 512
        }
        return nil
    }
}
