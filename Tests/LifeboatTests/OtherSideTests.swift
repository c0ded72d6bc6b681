import Core
import Glibc
import TestSupport
import Testing

/// Promise 6: a set opens without us. The Python SDK opens the message, zstd the frame, psql the dump.
@Suite(.serialized, .needs(.postgres), .needs(.program("zstd")))
struct OtherSideTests {
    @Test(
        "Python opens a set's dump with the AES key and with the RSA key, zstd unpacks it, psql loads it",
        arguments: ["aws-encryption-sdk-3.3.1", "aws-encryption-sdk-4.0.7"])
    func stockTools(_ sdk: String) async throws {
        guard let python = pythonEnvironment(sdk) else { return }
        try await Site.with { site in
            let directory = site.directory
            try await runProgram(
                "/usr/bin/openssl",
                [
                    "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out",
                    "\(directory)/escrow.pem",
                ])
            let made = try await site.event(
                ["backupType": .string("daily")],
                environment: ["BACKUP_RECIPIENTS": "aes:\(directory)/clinic.key,rsa:\(directory)/escrow.pem"])
            #expect(made.exitCode == 0)
            let set = "\(site.store)/\(try #require(made.text("backupKey")))"
            for key in ["aes:\(directory)/clinic.key", "rsa:\(directory)/escrow.pem"] {
                let packed = "\(directory)/opened.zst"
                try await runProgram(
                    "/bin/sh",
                    [
                        "-c", #"exec "$1" "$2" "$3" database.sql "$4" >"$5""#, "sh", python,
                        repositoryRoot + "/docs/open_set.py", set, key, packed,
                    ])
                try await runProgram("/usr/bin/zstd", ["-q", "-d", "-f", packed, "-o", "\(directory)/opened.sql"])
                let copy = try await site.server.createDatabase("copy")
                _ = try await site.server.run(
                    "psql", ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", copy],
                    input: try contentsOfFile("\(directory)/opened.sql"))
                #expect(try await site.fingerprint(copy) == site.fingerprint())
            }
        }
    }
}

/// The interpreter of an environment that `scripts/python-env` made, or a recorded lack of it.
func pythonEnvironment(_ name: String) -> String? {
    let path = "\(repositoryRoot)/.cache/python/\(name)/bin/python"
    if access(path, X_OK) == 0 { return path }
    if runsInCI { Issue.record("the Python environment \(name) is missing; scripts/test makes it") }
    return nil
}
