import Core
import Glibc
import TestSupport
import Testing

/// Recoveries as people meet them: at a terminal, in a pod's volumes, and without the program.
@Suite(.serialized, .needs(.postgres))
struct RecoveryByHandTests {
    /// Shows that the result at a terminal says what was asked for, what it takes and what is to be done next, and
    /// names no place that is gone.
    @Test("A person reads the target, the estimate and the directory to start, and no scratch place")
    func terminal() async throws {
        try await ServerSite.with { site in
            _ = try await site.backup()
            let moment = try await site.now().replacing(" ", with: "T").replacing("+00", with: "Z")
            try await site.mark("mistake")
            try await site.archive()
            let restore = ["restore", "--recovery-target-time", moment, "--confirm", "YES_I_WANT_TO_RESTORE"]
            let planned = try await Binary.atTerminal(restore + ["--dry-run"], environment: site.environment)
            for text in [
                "  target         the time ", " files in 1 tablespace\r\n", "  would take     no rate measured",
            ] {
                #expect(planned.output.contains(text), "\(text): \(planned)")
            }
            let done = try await Binary.atTerminal(restore, environment: site.environment)
            #expect(done.output.contains("  start it on    \(site.restored)/data\r\n"), "\(done)")
            // That is the base's time, and not that of what was restored.
            #expect(!done.output.contains("data as of"), "\(done)")
            let proven = try await Binary.atTerminal(
                ["verify", "daily/latest", "--depth", "restore"], environment: site.environment)
            #expect(proven.exitCode == 0 && !proven.output.contains(site.scratch), "\(proven)")
        }
    }

    /// A volume in a pod belongs to root and may be written by the job's group. Shows that a job that is not root proves
    /// and recovers on such, and that one that may not write there says so before it begins.
    @Test("Volumes of the job's group are enough for a job that is not root", .enabled(if: getuid() == 0))
    func groupVolumes() async throws {
        try await ServerSite.with { site in
            let key = try await site.backup()
            try await site.archive()
            let user = try #require(getpwnam("postgres")).pointee
            for path in [site.restored, site.scratch] {
                #expect(chown(path, 0, user.pw_gid) == 0 && chmod(path, 0o2770) == 0)
            }
            _ = try await runProgram(
                "/usr/bin/chown", ["-R", "postgres:", site.store, site.temporary, "\(site.directory)/clinic.key"])
            let environment = site.environment.merging(["BACKUP_RECIPIENTS": "aes:\(site.directory)/clinic.key"]) {
                $1
            }
            let run = { (arguments: [String]) in
                try await Binary.run(
                    ["--reuid=postgres", "--regid=postgres", "--clear-groups", "--", Binary.path] + arguments,
                    environment: environment, program: "/usr/bin/setpriv")
            }
            let proven = try await run(["verify", key, "--depth", "restore"])
            #expect(proven.exitCode == 0 && proven.text("proofDepth") == "restore", "\(proven)")
            let restored = try await run(
                ["restore", "--recovery-target-latest", "--confirm", "YES_I_WANT_TO_RESTORE"])
            #expect(restored.exitCode == 0, "\(restored)")
            #expect(restored.details["dataDirectory"] == .string(site.restored + "/data"), "\(restored)")

            #expect(chmod(site.scratch, 0o700) == 0)
            let refused = try await run(["verify", key, "--depth", "restore"])
            #expect(refused.exitCode == Core.ExitCode.configuration.rawValue, "\(refused)")
            #expect(refused.error("object") == site.scratch, "\(refused)")
        }
    }

    /// Shows that the documented program opens a stored segment to what the server wrote, and nothing that was changed.
    @Test(
        "The stored log opens without the program", .needs(.program("zstd")),
        arguments: ["aws-encryption-sdk-3.3.1", "aws-encryption-sdk-4.0.7"])
    func openedLog(_ sdk: String) async throws {
        guard let python = pythonEnvironment(sdk) else { return }
        try await ServerSite.with { site in
            try await site.archive()
            try await site.mark("before")
            let name = try await site.server.sql("SELECT pg_walfile_name(pg_switch_wal())")
            try await site.archive()
            let object = try #require(try await site.listing().first { $0.hasSuffix("/\(name).zst.encrypted") })
            let stored = "\(site.store)/\(object)"
            let opened = site.directory + "/opened"
            let open = { (path: String) in
                try await runProgram(
                    "/bin/bash",
                    [
                        "-c", #"set -o pipefail; "$1" "$2" "$3" "$4" | zstd -q -d -f -o "$5""#, "bash", python,
                        repositoryRoot + "/docs/open_set.py", path, "aes:\(site.directory)/clinic.key", opened,
                    ])
            }
            _ = try await open(stored)
            let written = try contentsOfFile("\(site.server.dataDirectory)/pg_wal/\(name)")
            #expect(try contentsOfFile(opened) == written)
            var bytes = try contentsOfFile(stored)
            bytes[bytes.count / 2] ^= 1
            let damaged = site.directory + "/damaged"
            try writeFile(damaged, bytes)
            await #expect(throws: TestFailure.self) { _ = try await open(damaged) }
        }
    }
}
