import Core
import Glibc
import TestSupport
import Testing

/// Keys of the kinds that are not files, as the program uses them.
@Suite(.serialized)
struct KeyKindTests {
    /// From a backup to a restore and one file, under the keys that `environment` names.
    private func wholeWay(_ environment: [String: String]) async throws {
        try await EngineSite.with(.files) { site in
            let before = try await site.source.fingerprint()
            let made = try await site.event(["backupType": .string("daily")], environment: environment)
            let key = try #require(made.text("backupKey"))
            let verified = try await site.event(
                ["backupKey": .string(key), "recomputeContents": .bool(true)], environment: environment)
            #expect(verified.text("verdict") == "proven")
            try await site.source.spoil(1)
            try await site.event(site.confirmedRestore(key), environment: environment)
            #expect(try await site.source.fingerprint() == before)
            let exported = try await site.event(
                [
                    "action": .string("export"), "backupKey": .string(key),
                    "directory": .string(site.directory + "/export"),
                ], environment: environment)
            #expect(exported.text("verdict") == "proven")
            let letter = site.directory + "/letter.txt"
            try writeFile(letter, "for the doctor")
            let all = site.environment.merging(environment) { $1 }
            #expect(try await Binary.run(["encrypt", letter], environment: all).exitCode == 0)
            let opened = try await Binary.run(
                ["decrypt", letter + ".encrypted", "--output", letter + ".again"], environment: all)
            #expect(opened.exitCode == 0, "\(opened)")
            #expect(try contentsOfFile(letter + ".again") == Array("for the doctor".utf8))
            #expect(try await Binary.run(["config", "check"], environment: all).exitCode == 0)
        }
    }

    @Test("An OpenPGP key, its secret half under a passphrase", .needs(GnuPG.part))
    func openPGP() async throws {
        try await withScratchDirectory { directory in
            let person = try GnuPG(in: directory)
            let key = try person.makeKey("archive", passphrase: "NEVER-SHOW-ME")
            let file = try person.exported(key, secret: true, passphrase: "NEVER-SHOW-ME")
            person.stop()
            try await wholeWay([
                "BACKUP_RECIPIENTS": "gpg:\(key)", "BACKUP_GPG_KEYS": file, "BACKUP_GPG_PASSPHRASE": "NEVER-SHOW-ME",
            ])
        }
    }

    @Test("An AES key in an HSM", .needs(.program("softhsm2-util")), .needs(.program("pkcs11-tool")))
    func hsm() async throws {
        try await withScratchDirectory { directory in
            mkdir(directory + "/tokens", 0o700)
            try writeFile(directory + "/softhsm2.conf", "directories.tokendir = \(directory)/tokens\n")
            let module = "/usr/lib/softhsm/libsofthsm2.so"
            let token = ["SOFTHSM2_CONF": directory + "/softhsm2.conf"]
            for (program, arguments) in [
                (
                    "softhsm2-util",
                    ["--init-token", "--free", "--label", "backup", "--so-pin", "5678", "--pin", "1234"]
                ),
                (
                    "pkcs11-tool",
                    [
                        "--module", module, "--token-label", "backup", "--login", "--pin", "1234", "--keygen",
                        "--key-type", "AES:32", "--label", "clinic-kek", "--sensitive",
                    ]
                ),
            ] {
                let ended = try TestSupport.runProgram("/usr/bin/" + program, arguments, environment: token)
                #expect(ended.status == 0, "\(program): \(ended.output)")
            }
            try await wholeWay(
                token.merging([
                    "BACKUP_RECIPIENTS": "pkcs11:token=backup;object=clinic-kek", "PKCS11_MODULE": module,
                    "PKCS11_PIN": "1234",
                ]) { $1 })
        }
    }
}
