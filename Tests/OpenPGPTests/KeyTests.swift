import Core
import Crypto
import Foundation
import OpenPGPKeyring
import TestSupport
import Testing

@Suite("OpenPGP keys", .needs(GnuPG.part))
struct KeyTests {
    private let context = ["lifeboat-target": "clinic"]
    private let dataKey = Array(repeating: UInt8(0xA7), count: 32).withUnsafeBytes { SecretBytes($0) }

    /// A key provider for another key that says it is `claimed`.
    private struct Impostor: KeyProvider {
        let own: OpenPGPKeyProvider
        let claimed: String
        var capabilities: KeyCapabilities { own.capabilities }

        func wrap(_ dataKey: SecretBytes, context: [String: String]) async throws -> EncryptedDataKey {
            var wrapped = try await own.wrap(dataKey, context: context)
            wrapped.providerInfo = Array(claimed.utf8) + wrapped.providerInfo.dropFirst(claimed.utf8.count)
            return wrapped
        }

        func unwrap(_ wrapped: EncryptedDataKey, context: [String: String]) async throws -> SecretBytes? { nil }
    }

    @Test("The keyring keeps the contract of key providers")
    func contract() async throws {
        try await Desk.use { desk in
            let (anna, bert) = (try desk.person.makeKey("anna"), try desk.person.makeKey("bert"))
            let keyring = try desk.keyring([anna, bert], secret: true)
            let stranger = try desk.provider(bert, in: keyring)
            try await keyProviderContract(
                identity: desk.provider(anna, in: keyring), stranger: stranger,
                impostor: Impostor(own: stranger, claimed: desk.person.fingerprints(anna)[1]), bindsContext: false)
            await keyring.close()
        }
    }

    @Test("The private key's passphrase opens; a wrong one and none are told apart, and neither is shown")
    func passphrases() async throws {
        try await Desk.use { desk in
            let key = try desk.person.makeKey("anna", passphrase: "mirabelle-plum-7")
            let open = try desk.keyring(
                [key], secret: true, passphrase: "mirabelle-plum-7", given: Secret("mirabelle-plum-7"))
            let wrapped = try await desk.provider(key, in: open).wrap(dataKey, context: context)
            let opened = try #require(try await desk.provider(key, in: open).unwrap(wrapped, context: context))
            #expect(opened.withBytes { Array($0) } == dataKey.withBytes { Array($0) })
            await open.close()

            for (given, cause) in [(Secret("damson-plum-8"), "is wrong"), (nil, "none is set")] {
                let closed = try desk.keyring(
                    [key], secret: true, passphrase: "mirabelle-plum-7", given: given)
                let error = try await failure(.keys) {
                    _ = try await desk.provider(key, in: closed).unwrap(wrapped, context: context)
                }
                #expect(error.cause.contains(cause), "\(error)")
                #expect(!"\(error) \(error.hint)".contains("plum"))
                #expect(error.object == "gpg:\(key)")
                await closed.close()
            }
        }
    }

    @Test("A public key seals and does not open, and says that it has no private half")
    func publicOnly() async throws {
        try await Desk.use { desk in
            let key = try desk.person.makeKey("anna")
            let keyring = try desk.keyring([key], secret: false)
            let provider = try desk.provider(key, in: keyring)
            let wrapped = try await provider.wrap(dataKey, context: context)
            let error = try await failure(.keys) { _ = try await provider.unwrap(wrapped, context: context) }
            #expect(error.cause == "the keyring has no private key for it")
            await keyring.close()
        }
    }

    @Test("A key that has expired, been revoked, or has nothing to encrypt for is refused by name before it is used")
    func unfitKeys() async throws {
        try await Desk.use { desk in
            let expired = try desk.person.makeKey("expired", expires: "1y", at: 1_577_836_800)
            let revoked = try desk.person.makeKey("revoked")
            try desk.person.run(["--import", try revocation(of: revoked, desk)])
            let signing = try desk.person.makeKey("signing", canEncrypt: false)
            let keyring = try desk.keyring([expired, revoked, signing], secret: false)
            for (key, cause) in [
                (expired, "the key expired on 2020-12-31"), (revoked, "the key has been revoked"),
                (signing, "the key has no subkey that can encrypt and has neither expired nor been revoked"),
                (String(repeating: "AB", count: 20), "the keyring has no such key"),
            ] {
                let error = try await failure(.keys) {
                    _ = try await desk.provider(key, in: keyring).wrap(dataKey, context: context)
                }
                #expect(error.cause == cause)
                #expect(error.object == "gpg:\(key)")
                await #expect(throws: OpenPGPError.self) { try await desk.provider(key, in: keyring).expiry() }
            }
            await keyring.close()
        }
    }

    /// The revocation that gpg keeps ready beside a key, made valid as its text tells.
    private func revocation(of key: String, _ desk: Desk) throws -> String {
        let text = try String(
            contentsOfFile: "\(desk.person.home)/openpgp-revocs.d/\(key).rev", encoding: .utf8)
        let path = "\(desk.directory)/revocation.asc"
        try writeFile(path, text.replacingOccurrences(of: ":-----BEGIN", with: "-----BEGIN"))
        return path
    }

    @Test("A key says when it ends; an unlimited one says that it does not")
    func expiry() async throws {
        try await Desk.use { desk in
            let limited = try desk.person.makeKey("limited", expires: "20d")
            let unlimited = try desk.person.makeKey("unlimited")
            let keyring = try desk.keyring([limited, unlimited], secret: false)
            let end = try #require(try await desk.provider(limited, in: keyring).expiry())
            #expect((19...21).contains(end.seconds(since: Desk.now()) / 86_400))
            #expect(try await desk.provider(unlimited, in: keyring).expiry() == nil)
            await keyring.close()

            // By our own clock the key ends as well: gpg's is the system's.
            let later = try desk.keyring([limited], secret: false) { Desk.now().adding(seconds: 30 * 86_400) }
            let error = try await failure(.keys) {
                _ = try await desk.provider(limited, in: later).wrap(dataKey, context: context)
            }
            #expect(error.cause == "the key expired on \(end.day)")
            await later.close()
        }
    }

    @Test("After a new subkey has come the old one's data keys still open, and new ones are for the new one")
    func rotatedSubkey() async throws {
        try await Desk.use { desk in
            let key = try desk.person.makeKey("anna", at: 1_700_000_000)
            let before = try desk.keyring([key], secret: false)
            let old = try await desk.provider(key, in: before).wrap(dataKey, context: context)
            await before.close()
            try desk.person.run(["--passphrase", "", "--quick-add-key", key, "cv25519", "encr", "never"])
            let after = try desk.keyring([key], secret: true)
            let provider = try desk.provider(key, in: after)
            let new = try await provider.wrap(dataKey, context: context)
            #expect(old.providerInfo.prefix(40) != new.providerInfo.prefix(40))
            for wrapped in [old, new] {
                #expect(try await provider.unwrap(wrapped, context: context) != nil)
            }
            // A subkey that is named is the one that is used, though there is a newer one.
            let subkey = try desk.person.fingerprints(key)[1]
            let named = try await desk.provider(subkey, in: after).wrap(dataKey, context: context)
            #expect(named.providerInfo.starts(with: subkey.utf8))
            await after.close()
        }
    }

    @Test("Keys come from a keyring directory as well, which is not written to, and nothing of ours outlives its use")
    func givenHome() async throws {
        try await Desk.use { desk in
            let key = try desk.person.makeKey("anna")
            desk.person.stop()
            let before = try FileManager.default.subpathsOfDirectory(atPath: desk.person.home).sorted()
            let scratch = "/dev/shm/lifeboat-test-\(UInt32.random(in: 0 ... .max))"
            try FileManager.default.createDirectory(atPath: scratch, withIntermediateDirectories: false)
            defer { removeTree(scratch) }
            let keyring = OpenPGPKeyring(
                OpenPGPSettings(home: desk.person.home, scratch: [scratch]), sleep: Desk.sleep, now: Desk.now)
            let provider = try desk.provider(key, in: keyring)
            let wrapped = try await provider.wrap(dataKey, context: context)
            #expect(try await provider.unwrap(wrapped, context: context) != nil)
            #expect(try !processes(naming: scratch).isEmpty, "gpg has its agent")
            await keyring.close()
            #expect(try FileManager.default.contentsOfDirectory(atPath: scratch).isEmpty)
            #expect(try processes(naming: scratch).isEmpty)
            #expect(try FileManager.default.subpathsOfDirectory(atPath: desk.person.home).sorted() == before)
        }
    }

    @Test("Private keys go into memory only; what is no key, no keyring or no program is named")
    func badSettings() async throws {
        try await Desk.use { desk in
            let key = try desk.person.makeKey("anna")
            let secret = try desk.person.exported(key, secret: true)
            let garbage = "\(desk.directory)/garbage.key"
            try writeFile(garbage, "not a key")
            let onDisk = "/var/tmp"
            let cases: [(OpenPGPSettings, String)] = [
                (OpenPGPSettings(keyFiles: [secret], scratch: [onDisk]), "no directory in memory"),
                (OpenPGPSettings(home: desk.person.home, scratch: [onDisk]), "no directory in memory"),
                (OpenPGPSettings(keyFiles: [garbage]), "holds no OpenPGP key"),
                (OpenPGPSettings(keyFiles: ["/nowhere/key"]), "cannot be read"),
                (OpenPGPSettings(home: "/nowhere"), "cannot be read"),
                (OpenPGPSettings(), "no OpenPGP keys are configured"),
                (OpenPGPSettings(keyFiles: [secret], program: "/nowhere/gpg"), "no gpg program"),
                (OpenPGPSettings(keyFiles: [secret], scratch: ["/nowhere"]), "no directory of its own"),
            ]
            for (settings, cause) in cases {
                let keyring = OpenPGPKeyring(settings, sleep: Desk.sleep, now: Desk.now)
                do {
                    _ = try await desk.provider(key, in: keyring).wrap(dataKey, context: context)
                    Issue.record("it was taken: \(cause)")
                } catch let error as OpenPGPError {
                    #expect(error.cause.contains(cause), "\(error)")
                }
                await keyring.close()
            }
        }
    }

    @Test("A key is named by its fingerprint or its long id, in the forms that gpg prints, and by nothing shorter")
    func keyNames() throws {
        let fingerprint = "0123456789ABCDEF0123456789ABCDEF01234567"
        for text in [
            fingerprint, "gpg:\(fingerprint.lowercased())", "0x\(fingerprint)",
            "0123 4567 89AB CDEF 0123  4567 89AB CDEF 0123 4567",
        ] {
            #expect(try OpenPGPKeyID(parsing: text).digits == fingerprint)
        }
        #expect(try OpenPGPKeyID(parsing: "gpg:89ABCDEF01234567").description == "gpg:89ABCDEF01234567")
        for text in [
            "", "gpg:", "01234567", "anna@clinic.example", fingerprint + "0", "gpg:" + fingerprint.dropLast() + "G",
        ] {
            #expect(throws: OpenPGPKeyIDError.self) { try OpenPGPKeyID(parsing: text) }
        }
    }
}
