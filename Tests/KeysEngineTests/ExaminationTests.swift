import Core
import Glibc
import TestSupport
import Testing

@testable import KeysEngine

@Suite("Verification of keys")
struct ExaminationTests {
    private let passed = [
        "integrity": "passed", "accessibility": "passed", "decryption": "passed", "version": "passed",
    ]

    /// Four checks of each key pass, with when the next is expected; the contents are computed from the set's own bytes.
    @Test func passesEveryCheck() async throws {
        try await withKeys { keys, _ in
            try keys.putMaster()
            try keys.put("token", marker)
            let engine = keys.engine()
            let set = try await engine.take()
            let examined = try await engine.examine(set.examineRequest(recompute: true, comparesSource: true))
            #expect(examined.contents == set.contents && examined.objection == nil && examined.notes.isEmpty)
            #expect(examined.checks == ["master": passed, "token": passed])
            #expect(examined.member("lastVerified", of: "master") == .string("2025-01-15T07:00:00.000Z"))
            #expect(examined.member("nextVerification", of: "master") == .string("2025-01-16T07:00:00.000Z"))
            #expect(examined.member("errors", of: "master") == .array([]))
            #expect(!"\(examined)".contains(marker))
            let apart = try await engine.examine(set.examineRequest(recompute: false))
            #expect(apart.checks["master"]?["accessibility"] == "notAsked" && apart.objection == nil)
        }
    }

    /// A key that is gone from the source, and one that is another under the same version, fail by name; the set is not
    /// at fault. A newer version at the source, and a key it has more, are noted.
    @Test func comparesTheSource() async throws {
        try await withKeys { keys, _ in
            try keys.putMaster()
            try keys.put("token", "one")
            try keys.put("gone", "two")
            let engine = keys.engine()
            let set = try await engine.take()
            unlink(keys.directory + "/gone")
            try keys.put("token", "other")
            try keys.put("fresh", "three")
            try keys.putMaster(version: 2, seed: 9)
            let examined = try await engine.examine(set.examineRequest(recompute: false, comparesSource: true))
            let objection = try #require(examined.objection)
            #expect(objection.failure.exitCode == .verificationFailed && !objection.isOfSet)
            #expect(objection.failure.cause.contains("gone version 1 (accessibility, version)"))
            #expect(objection.failure.cause.contains("token version 1 (version)"))
            #expect(examined.checks["master"]?["version"] == "superseded")
            #expect(examined.notes.contains { $0.contains("newer version than 1") })
            #expect(examined.notes.contains { $0.contains("does not hold: fresh") })
            guard case .array(let errors)? = examined.member("errors", of: "gone") else { throw TestFailure("none") }
            #expect(errors.count == 2)
        }
    }

    /// A source that has gone back to an older version fails the check.
    @Test func seesAnOlderSource() async throws {
        try await withKeys { keys, _ in
            try keys.putMaster(version: 10)
            let engine = keys.engine()
            let set = try await engine.take()
            try keys.putMaster(version: 9)
            let examined = try await engine.examine(set.examineRequest(recompute: false, comparesSource: true))
            #expect(examined.checks["master"]?["version"] == "failed")
            #expect(examined.objection?.failure.cause == "checks failed of master version 10 (version)")
        }
    }

    /// A source that cannot be read makes nothing pass: inconclusive, and the set is not at fault.
    @Test func isInconclusiveWithoutTheSource() async throws {
        try await withKeys { keys, _ in
            try keys.putMaster()
            let engine = keys.engine()
            let set = try await engine.take()
            removeTree(keys.directory)
            let examined = try await engine.examine(set.examineRequest(recompute: false, comparesSource: true))
            #expect(examined.objection?.failure.exitCode == .inconclusive && examined.objection?.isOfSet == false)
            #expect(examined.checks["master"]?["accessibility"] == "inconclusive")
            #expect(examined.checks["master"]?["integrity"] == "passed")
        }
    }

    /// What is not what was recorded fails the set by the key's name, and the other keys are looked at all the same.
    @Test func seesDamage() async throws {
        try await withKeys { keys, _ in
            try keys.putMaster()
            try keys.put("token", "one")
            let engine = keys.engine()
            let set = try await engine.take()
            try keys.put("token", "two")
            let other = try await engine.take()
            var mixed = set
            mixed.parts["keys.tar"] = other.parts["keys.tar"]
            let examined = try await engine.examine(mixed.examineRequest(recompute: false))
            #expect(examined.objection?.isOfSet == true)
            #expect(examined.objection?.failure.cause == "checks failed of token version 1 (integrity)")
            #expect(examined.checks["master"]?["integrity"] == "passed")

            unlink(keys.directory + "/token")
            mixed.parts["keys.tar"] = try await engine.take().parts["keys.tar"]
            let missing = try await engine.examine(mixed.examineRequest(recompute: false))
            #expect(missing.objection?.failure.cause == "checks failed of token version 1 (integrity, decryption)")

            mixed = try await engine.take()
            mixed.parts["keys.tar"] = set.parts["keys.tar"]
            #expect(
                try await failure { try await engine.examine(mixed.examineRequest(recompute: false)) }.kind
                    == .damaged)
            for part in ["keys.json", "keys.tar"] {
                var broken = set
                broken.parts[part]?.removeLast(30)
                let found = try await failure { try await engine.examine(broken.examineRequest(recompute: false)) }
                #expect(found.exitCode == .verificationFailed)
            }
        }
    }
}

@Suite("Restores of keys")
struct RestoreTests {
    /// The restored directory is the one that was stored, metadata, modes and times too; what it replaces is kept aside,
    /// and goes when a later restore knows a verified set that holds it.
    @Test func exchangesTheDirectory() async throws {
        try await withKeys { keys, _ in
            try keys.putMaster()
            mkdir(keys.directory + "/tls", 0o711)
            try keys.put("tls/server.key", "x")
            chmod(keys.directory + "/tls/server.key", 0o444)
            let engine = keys.engine()
            let set = try await engine.take()
            try keys.putMaster(version: 2, seed: 9)
            let safety = try await engine.take(set.next(isForced: true))

            #expect(try await engine.plan(set.request("one")).summary.replaces == "the directory \(keys.directory)")
            let done = try await engine.restore(set.request("one"), safety: safety)
            #expect(try await engine.take().contents == set.contents)
            #expect(mode(keys.directory) == 0o750 && mode(keys.directory + "/tls") == 0o711)
            #expect(mode(keys.directory + "/tls/server.key") == 0o444)
            #expect(try await engine.plan(set.request("one")).summary.alreadyDone)
            let aside = try #require(done.replacedName)
            #expect(access(aside, F_OK) == 0)

            let again = set.request("two") { _ in safety.contents }
            try await engine.restore(again, safety: safety)
            #expect(access(aside, F_OK) != 0)
        }
    }

    private func mode(_ path: String) -> mode_t {
        var status = stat()
        return lstat(path, &status) == 0 ? status.st_mode & 0o7777 : 0
    }

    /// A set that is damaged leaves everything as it was, with nothing beside it.
    @Test func leavesTheOriginal() async throws {
        try await withKeys { keys, _ in
            try keys.putMaster()
            let engine = keys.engine()
            let before = try await engine.take()
            try keys.putMaster(version: 2)
            let other = try await engine.take()
            var mixed = before
            mixed.parts["keys.tar"] = other.parts["keys.tar"]
            await #expect(throws: TestFailure.self) { try await engine.restore(mixed.request("one")) }
            mixed.parts["keys.tar"]?.removeLast(600)
            #expect(try await failure { try await engine.restore(mixed.request("one")) }.kind == .damaged)
            #expect(try await engine.take().contents == other.contents)
            let parent = String(keys.directory.dropLast("/keys".count))
            #expect(try runProgram("/bin/ls", ["-A", parent]).output == "elsewhere\nkeys\n")
        }
    }

    /// Several sources are restored into one directory that was named, each below its name.
    @Test func restoresSeveralSources() async throws {
        try await withKeys { keys, elsewhere in
            try keys.putMaster()
            try writeFile(elsewhere + "/b.key", "x")
            let set = try await keysEngine([keys.directory, elsewhere]).take()
            let several = try await failure {
                try await keysEngine([keys.directory, elsewhere]).plan(set.request("one"))
            }
            #expect(several.kind == .refused && several.hint.contains("targetDatabase"))
            let place = elsewhere + "/restored"
            try await keysEngine([place]).restore(set.request("one"))
            #expect(try contentsOfFile(place + "/elsewhere/b.key") == Array("x".utf8))
            #expect(access(place + "/keys/master.key.json", F_OK) == 0)
        }
    }
}
