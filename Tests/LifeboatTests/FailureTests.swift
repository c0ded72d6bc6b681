import Core
import Glibc
import TestSupport
import Testing

/// Everything around a backup that can fail, for every kind of source alike: the right code, a hint, and no set.
@Suite(.serialized)
struct FailureTests {
    private static let daily: [String: JSON] = ["backupType": .string("daily")]
    /// Bytes a second that make a large source take its time.
    private static let slow = ["BACKUP_RATE_LIMIT": "400000", "BACKUP_COMPRESSION": "none"]

    @Test(
        "A source that is down, refuses, has nothing, or whose program is missing: the source's code, and no set",
        arguments: SourceKind.present, SourceFailure.allCases)
    func source(_ kind: SourceKind, _ failure: SourceFailure) async throws {
        try await EngineSite.with(kind) { site in
            guard let environment = try site.source.failing(failure, in: site.directory) else { return }
            let ended = try await site.event(Self.daily, environment: environment, expecting: .source)
            #expect(!ended.everything.contains("NEVER-SHOW-ME"))
            try await site.expectNoSet(ended)
            // It was that and nothing else.
            try await site.event(Self.daily)
        }
    }

    @Test(
        "A dump program that is killed midway, fails late, stops early or writes nothing leaves no set",
        arguments: SourceKind.present,
        [
            "killed midway": #"exec 3>&1; "$REAL" "$@" | head -c 3000 >&3; kill -KILL $$"#,
            "exits 1 after everything": #""$REAL" "$@"; exit 1"#,
            "exits 0 without its last bytes": #""$REAL" "$@" | head -c -40; exit 0"#,
            "exits 0 halfway": #""$REAL" "$@" | head -c 3000; exit 0"#,
            "writes nothing": "exit 0",
        ])
    func dumpProgram(_ kind: SourceKind, _ fault: (key: String, value: String)) async throws {
        try await EngineSite.with(kind) { site in
            guard let environment = try site.source.faking(fault.value, in: site.directory) else { return }
            let ended = try await site.event(Self.daily, environment: environment, expecting: .source)
            try await site.expectNoSet(ended)
        }
    }

    @Test("No progress for the stall timeout ends the job by the name of the stage", arguments: SourceKind.present)
    func stalled(_ kind: SourceKind) async throws {
        try await EngineSite.with(kind) { site in
            guard let environment = try site.source.faking("exec sleep 1000", in: site.directory) else { return }
            let ended = try await site.event(
                Self.daily, environment: environment.merging(["BACKUP_STALL_TIMEOUT": "2"]) { $1 }, expecting: .source
            )
            #expect(ended.error("object") == "dump")
            try await site.expectNoSet(ended)
        }
    }

    @Test(
        "A full disk ends the backup with the store's code and leaves no set",
        .enabled(if: getuid() == 0 || runsInCI, "needs root, for a small file system"),
        // Keys fit on any disk.
        arguments: SourceKind.present.filter { $0 != .keys })
    func fullDisk(_ kind: SourceKind) async throws {
        try await EngineSite.with(kind, .large) { site in
            try await runProgram(
                "/bin/mount", ["-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", site.store])
            do {
                let ended = try await site.event(Self.daily, expecting: .store)
                #expect(ended.error("cause").contains("space") || ended.error("cause").contains("full"))
                try await site.expectNoSet(ended)
            } catch {
                try await runProgram("/bin/umount", ["-l", site.store])
                throw error
            }
            try await runProgram("/bin/umount", ["-l", site.store])
        }
    }

    @Test(
        "A second backup meanwhile ends with 75 and names the holder; SIGTERM ends the first within ten seconds",
        arguments: SourceKind.present.filter { $0 != .keys })
    func lockedAndTerminated(_ kind: SourceKind) async throws {
        try await EngineSite.with(kind, .large) { site in
            let asked = Guarded<ContinuousClock.Instant?>(nil)
            let ended = try await site.run(Self.daily, environment: Self.slow) { pid in
                try await until("it has begun to store") {
                    try await site.listing().contains { $0.hasPrefix("daily/") }
                }
                let second = try await site.event(["backupType": .string("weekly")], expecting: .locked)
                #expect(second.error("cause").contains("pid"))
                asked.withLock { $0 = .now }
                kill(pid, SIGTERM)
            }
            #expect(ended.exitCode == 143, "\(ended)")
            let began = try #require(asked.value)
            #expect(ContinuousClock.now - began < .seconds(10))
            #expect(try await site.stored().isEmpty)
            // The lock was given back: the next run need not wait for it to run out.
            try await site.event(Self.daily)
        }
    }

    @Test(
        "A set with a byte changed, a segment cut or a segment gone fails its verify, and no restore of it takes harm in",
        arguments: SourceKind.present)
    func damagedSet(_ kind: SourceKind) async throws {
        try await EngineSite.with(kind) { site in
            let before = try await site.source.fingerprint()
            let key = try await site.backup()
            try await site.source.spoil(1)
            var standing = try await site.source.fingerprint()
            var spoilt = 1
            // Keys have a second copy, which a restore takes what is damaged from: it is damaged alike.
            let stores = [site.store] + (kind == .keys ? [site.directory + "/second"] : [])
            for segment in try await site.segments(key) {
                let whole = try contentsOfFile("\(stores[0])/\(segment)")
                var changed = whole
                changed[whole.count / 2] ^= 1
                for bytes in [changed, Array(whole.dropLast(whole.count / 3)), nil] {
                    for store in stores {
                        unlink("\(store)/\(segment)")
                        if let bytes { try writeFile("\(store)/\(segment)", bytes) }
                    }
                    let verified = try await site.event(
                        ["backupKey": .string(key)], expecting: .verificationFailed)
                    #expect(verified.text("verdict") == "failed" && verified.error("hint") != "", "\(verified)")
                    guard SourceKind.restorable.contains(kind) else { continue }
                    let restored = try await site.run(site.confirmedRestore(key))
                    guard restored.exitCode == 0 else {
                        #expect([12, 13, 15].contains(restored.exitCode), "\(segment): \(restored)")
                        #expect(restored.error("hint") != "")
                        #expect(try await site.source.fingerprint() == standing)
                        continue
                    }
                    // The damage is where a restore need not look; what it has put in place is proven.
                    #expect(restored.text("verdict") == "proven")
                    #expect(try await site.source.fingerprint() == before, "\(segment)")
                    spoilt += 1
                    try await site.source.spoil(spoilt)
                    standing = try await site.source.fingerprint()
                }
                for store in stores { try writeFile("\(store)/\(segment)", whole) }
            }
            // A verify of keys compares them with the source, which has others by now.
            if kind != .keys { try await site.event(["backupKey": .string(key)]) }
            // One generation of what was replaced may stay; nothing else may.
            #expect(try await site.source.leftovers().count <= 1)
        }
    }
}
