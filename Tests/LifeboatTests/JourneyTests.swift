import Core
import TestSupport
import Testing

/// What a user does with one kind of source and with files; what is the same for all kinds is ``SharedJourneyTests``'.
@Suite(.serialized, .needs(.postgres))
struct JourneyTests {
    @Test("A pod that holds only a public key backs up, and its verify never passes")
    func publicKeyOnly() async throws {
        try await Site.with { site in
            _ = try await runProgram(
                "/usr/bin/openssl",
                [
                    "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out",
                    "\(site.directory)/escrow.pem",
                ])
            _ = try await runProgram(
                "/usr/bin/openssl",
                ["pkey", "-in", "\(site.directory)/escrow.pem", "-pubout", "-out", "\(site.directory)/escrow.pub"])
            let publicOnly = ["BACKUP_RECIPIENTS": "rsa:\(site.directory)/escrow.pub"]
            let made = try await site.event(["backupType": .string("daily")], environment: publicOnly)
            let key = try #require(made.text("backupKey"))
            let closed = try await site.event(
                ["backupKey": .string(key)], environment: publicOnly, expecting: .inconclusive)
            #expect(closed.text("verdict") == "inconclusive")

            // The name of the key is that of its file, so the private half is named like the public one.
            _ = try await runProgram("/bin/mv", ["\(site.directory)/escrow.pub", "\(site.directory)/public.pem"])
            let opened = try await site.event(
                ["backupKey": .string(key)],
                environment: [
                    "BACKUP_RECIPIENTS": "aes:\(site.directory)/clinic.key",
                    "BACKUP_IDENTITIES": "rsa:\(site.directory)/escrow.pem",
                ])
            #expect(opened.text("verdict") == "proven")
            #expect(opened.text("origin") == "unauthenticated")
        }
    }

    @Test("encrypt and decrypt bring a file back, refuse to overwrite, and leave nothing of a damaged one")
    func singleFile() async throws {
        try await Site.with { site in
            let file = site.directory + "/letter.txt"
            try writeFile(file, "for the doctor")
            let sealed = try await Binary.run(["encrypt", file], environment: site.environment)
            #expect(sealed.exitCode == 0, "\(sealed)")
            #expect(try await Binary.run(["encrypt", file], environment: site.environment).exitCode != 0)
            let opened = try await Binary.run(
                ["decrypt", file + ".encrypted", "--output", file + ".again"], environment: site.environment)
            #expect(opened.exitCode == 0, "\(opened)")
            #expect(try contentsOfFile(file + ".again") == Array("for the doctor".utf8))

            var bytes = try contentsOfFile(file + ".encrypted")
            bytes[bytes.count - 3] ^= 1
            try writeFile(file + ".encrypted", bytes)
            let damaged = try await Binary.run(
                ["decrypt", file + ".encrypted", "--output", file + ".damaged"], environment: site.environment)
            #expect(damaged.exitCode == 13, "\(damaged)")
            let files = try await listFiles(site.directory)
            #expect(!files.contains("letter.txt.damaged"))
        }
    }

    @Test("config check prints what is in force and masks what is secret")
    func configCheck() async throws {
        try await Site.with { site in
            let ended = try await Binary.run(
                ["config", "check"],
                environment: site.environment.merging(["POSTGRES_PASSWORD": "NEVER-SHOW-ME"]) { $1 })
            #expect(ended.exitCode == 0, "\(ended)")
            #expect(ended.output.contains("BACKUP_STORE"))
            #expect(!ended.everything.contains("NEVER-SHOW-ME"))
        }
    }
}
