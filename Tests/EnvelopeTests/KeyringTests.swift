import Core
import Envelope
import Foundation
import LocalKeyring
import RSAKeyring
import TestSupport
import Testing

@Suite("Keys in files")
struct KeyringTests {
    private let key = [UInt8](0..<32)

    @Test("The AES keyring keeps the contract of key providers, and binds the context")
    func aesContract() async throws {
        let directory = try KeyDirectory()
        try await keyProviderContract(
            identity: directory.aes("clinic.key", key), stranger: directory.aes("clinic-2.key", key),
            impostor: directory.aes("other/clinic.key", key.reversed()), bindsContext: true)
    }

    @Test("The RSA keyring keeps the contract of key providers")
    func rsaContract() async throws {
        let directory = try KeyDirectory()
        let impostor = directory.url.appendingPathComponent("other/escrow.pem").path
        try FileManager.default.createDirectory(
            atPath: (impostor as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
        try run("openssl", ["genpkey", "-quiet", "-algorithm", "RSA", "-out", impostor])
        try await keyProviderContract(
            identity: directory.rsa("escrow.pem", "rsa-private.pem"),
            stranger: directory.rsa("escrow2.pem", "rsa-private.pem"),
            impostor: RSAKeyProvider(path: impostor), bindsContext: false)
    }

    @Test("An AES and an RSA key of one name, and names that begin with one another, are not taken for each other")
    func namesApart() async throws {
        let directory = try KeyDirectory()
        let dataKey = secret(key)
        // The longer name is as long as the shorter with all that the AES keyring puts behind it.
        let longer = "clinic" + String(repeating: "x", count: 20)
        let providers: [any KeyProvider] = [
            try directory.aes("clinic.key", key), try directory.rsa("clinic.pem", "rsa-private.pem"),
            try directory.aes("clinic2.key", key), try directory.rsa("\(longer).pem", "rsa-private.pem"),
            try directory.aes("\(longer).key", key), try directory.aes("clini.key", key),
        ]
        for (index, writer) in providers.enumerated() {
            let wrapped = try await writer.wrap(dataKey, context: sampleContext)
            for (other, reader) in providers.enumerated() {
                let opened = try await reader.unwrap(wrapped, context: sampleContext)
                #expect((opened != nil) == (index == other), "\(writer.capabilities) read by \(reader.capabilities)")
            }
        }
    }

    @Test(
        "An AES key file is hexadecimal or base64, in one line",
        arguments: [
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F\n",
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\r\n",
        ])
    func keyFileForms(content: String) async throws {
        let directory = try KeyDirectory()
        let provider = try AESKeyProvider(path: directory.write("clinic.key", content.utf8))
        let wrapped = try await directory.aes("same/clinic.key", key).wrap(secret(key), context: [:])
        let opened = try #require(try await provider.unwrap(wrapped, context: [:]))
        #expect(revealed(opened) == key)
        #expect(provider.capabilities.name == "aes:clinic")
        #expect(provider.capabilities.isSymmetric)
    }

    @Test(
        "Anything else is refused with exit 12; the error names the file and shows nothing of it",
        arguments: [
            "", "\n", "0001", String(repeating: "7e", count: 31), String(repeating: "7e", count: 33),
            String(repeating: "7g", count: 32), String(repeating: "7e", count: 32) + "\n\n",
            " " + String(repeating: "7e", count: 32), String(repeating: "~", count: 32),
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8==",
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGx-dHh8=",
            String(repeating: "7e", count: 4096),
        ])
    func badKeyFiles(content: String) throws {
        let directory = try KeyDirectory()
        let path = try directory.write("clinic.key", content.utf8)
        let error = #expect(throws: KeyFileError.self) { try AESKeyProvider(path: path) }
        let failure = try #require(error)
        #expect(failure.exitCode == .keys)
        #expect(failure.object == path)
        let shown = failure.description + failure.hint
        #expect(content.count < 8 || !shown.contains(content.prefix(8)))
    }

    @Test("A path without a file, a directory, and a path without a name are refused by name")
    func badPaths() throws {
        let directory = try KeyDirectory()
        #expect(throws: KeyFileError(.unreadable(errno: ENOENT), path: "/nowhere/clinic.key")) {
            try AESKeyProvider(path: "/nowhere/clinic.key")
        }
        #expect(throws: KeyFileError(.unreadable(errno: EISDIR), path: directory.url.path)) {
            try AESKeyProvider(path: directory.url.path)
        }
        for path in ["", "/", "keys/"] {
            #expect(throws: KeyFileError(.noName, path: path)) { try AESKeyProvider(path: path) }
        }
        for (path, name) in [("/a/b/clinic.2025.key", "clinic.2025"), ("clinic", "clinic"), ("a/.key", ".key")] {
            #expect(try KeyFile.name(ofPath: path) == name)
        }
    }

    @Test(
        "An RSA key is read from either form of PEM, the public half seals and the private half opens",
        arguments: ["rsa-public.pem", "rsa-public-pkcs1.pem"], ["rsa-private.pem", "rsa-private-pkcs1.pem"])
    func rsaHalves(publicFile: String, privateFile: String) async throws {
        let directory = try KeyDirectory()
        let recipient = try directory.rsa("public/escrow.pem", publicFile)
        let identity = try directory.rsa("private/escrow.pem", privateFile)
        #expect(!recipient.capabilities.canUnwrap && recipient.capabilities.canWrap)
        #expect(identity.capabilities.canUnwrap && identity.capabilities.canWrap)
        #expect(recipient.capabilities.name == "rsa:escrow" && !recipient.capabilities.isSymmetric)
        let wrapped = try await recipient.wrap(secret(key), context: sampleContext)
        let opened = try #require(try await identity.unwrap(wrapped, context: sampleContext))
        #expect(revealed(opened) == key)
        await #expect(throws: RSAKeyError(.publicOnly, object: "rsa:escrow")) {
            try await recipient.unwrap(wrapped, context: sampleContext)
        }
    }

    @Test("A file with other text around the key and other line ends gives the key all the same")
    func looseRSAFiles() throws {
        let directory = try KeyDirectory()
        let text = try String(contentsOf: Repository.fixture("rsa-private.pem"), encoding: .utf8)
        let loose = "RSA Private-Key: (2048 bit)\n" + text.replacingOccurrences(of: "\n", with: "\r\n") + "tail\n"
        #expect(try RSAKeyProvider(path: directory.write("escrow.pem", loose.utf8)).capabilities.canUnwrap)
    }

    @Test("A PEM file that gives no RSA key is refused for its reason, with exit 12 and a hint")
    func badRSAFiles() throws {
        let directory = try KeyDirectory()
        let expected: [(String, RSAKeyError.Problem)] = [
            ("rsa-passphrase.pem", .hasPassphrase), ("rsa-passphrase-pkcs1.pem", .hasPassphrase),
            ("rsa-1024.pem", .wrongSize), ("ec-private.pem", .notRSA), ("certificate.pem", .otherLabel),
            ("vectors.txt", .notPEM),
        ]
        for (name, problem) in expected {
            let path = Repository.fixture(name).path
            // The vectors are longer than any key, and refused for that.
            if name == "vectors.txt" {
                #expect(throws: KeyFileError(.tooLong(limit: 65_536), path: path)) { try RSAKeyProvider(path: path) }
                continue
            }
            let error = #expect(throws: RSAKeyError(problem, object: path)) { try RSAKeyProvider(path: path) }
            #expect(error?.exitCode == .keys && error?.hint.isEmpty == false)
        }
        let text = try Data(contentsOf: Repository.fixture("rsa-private.pem"))
        for count in stride(from: 0, to: text.count - 2, by: 97) {
            let path = try directory.write("cut.pem", text.prefix(count))
            #expect(throws: RSAKeyError.self) { try RSAKeyProvider(path: path) }
        }
        var generator = SeededRandom(seed: 30)
        for _ in 0..<50 {
            var changed = text
            changed[Int.random(in: 40..<(text.count - 40), using: &generator)] = UInt8(ascii: "A")
            let path = try directory.write("changed.pem", changed)
            // Only a byte that was an A before gives a key.
            if changed != text { #expect(throws: RSAKeyError.self) { try RSAKeyProvider(path: path) } }
        }
    }
}

@Suite("Several recipients")
struct DataKeyTests {
    @Test("Sealed for four keys, a message opens with any one of their identities and with no other")
    func anyOne() async throws {
        let directory = try KeyDirectory()
        let clinic = try directory.aes("clinic.key", Array(0..<32))
        let second = try directory.aes("second.key", Array(1..<33))
        let escrowPublic = try directory.rsa("public/escrow.pem", "rsa-public.pem")
        let escrow = try directory.rsa("private/escrow.pem", "rsa-private.pem")
        let pair = try directory.rsa("pair.pem", "rsa-private.pem")
        let recipients: [any KeyProvider] = [clinic, escrowPublic, second, pair]
        let sample = try await Sample().sealed(for: recipients)
        let message = try sample.message([1, 2, 3])
        let identities: [any KeyProvider] = [clinic, second, escrow, pair]
        for identity in identities {
            #expect(try await open(message, with: [identity]) == [1, 2, 3])
        }
        let wrongClinic = try directory.aes("other/clinic.key", Array(2..<34))
        #expect(try await open(message, with: [wrongClinic, escrowPublic, escrow]) == [1, 2, 3])

        let stranger = try directory.aes("stranger.key", Array(0..<32))
        let error = await #expect(throws: EnvelopeError.self) {
            try await open(message, with: [stranger, escrowPublic, wrongClinic])
        }
        let failure = try #require(error)
        #expect(failure.exitCode == .keys && !failure.lacksIdentity)
        #expect(failure.cause.contains("aes:stranger is not among its recipients"))
        #expect(failure.cause.contains("rsa:escrow is a public key"))
        #expect(failure.cause.contains("aes:clinic: the data key wrapped under this name does not open"))
        #expect(failure.hint.contains("lifeboat/clinic, lifeboat/escrow, lifeboat/second, lifeboat/pair"))
    }

    @Test("Where no identity is for the message at all, nothing is known about it, and the error says that")
    func lacksIdentity() async throws {
        let directory = try KeyDirectory()
        let escrowPublic = try directory.rsa("escrow.pem", "rsa-public.pem")
        let message = try await Sample().sealed(for: [escrowPublic]).message([])
        for identities: [any KeyProvider] in [[], [escrowPublic], [try directory.aes("clinic.key", Array(0..<32))]] {
            let error = await #expect(throws: EnvelopeError.self) { try await open(message, with: identities) }
            #expect(error?.lacksIdentity == true)
            #expect(error?.exitCode == .keys)
        }
        #expect(!EnvelopeError.wrongDataKey.lacksIdentity)
    }

    @Test("One recipient that fails is named, and nothing is sealed; none at all is a configuration error")
    func sealingFails() async throws {
        let directory = try KeyDirectory()
        let clinic = try directory.aes("clinic.key", Array(0..<32))
        let dataKey = secret(Array(0..<32))
        let error = await #expect(throws: EnvelopeError.self) {
            try await sealDataKey(dataKey, for: [clinic, BrokenKey(), clinic], context: [:])
        }
        #expect(error?.object == "hsm:broken" && error?.exitCode == .keys)
        #expect(error?.cause == "the token is not plugged in" && error?.hint == "plug it in")
        let none = await #expect(throws: EnvelopeError.noRecipients) {
            try await sealDataKey(dataKey, for: [], context: [:])
        }
        #expect(none?.exitCode == .configuration)
        await #expect(throws: CancellationError.self) {
            try await sealDataKey(dataKey, for: [CancelledKey()], context: [:])
        }
        await #expect(throws: CancellationError.self) {
            try await openDataKey(Sample().parameters.dataKeys, context: [:], with: [CancelledKey()])
        }
    }

    @Test("What an identity opens that is no data key is passed over")
    func wrongLength() async throws {
        let error = await #expect(throws: EnvelopeError.self) {
            try await openDataKey(Sample().parameters.dataKeys, context: [:], with: [ShortKey()])
        }
        #expect(error?.cause.contains("3 bytes") == true && error?.lacksIdentity == false)
    }
}

private struct BrokenKey: KeyProvider {
    let capabilities = KeyCapabilities(name: "hsm:broken", canWrap: true, canUnwrap: true, isSymmetric: false)

    func wrap(_ dataKey: SecretBytes, context: [String: String]) async throws -> EncryptedDataKey {
        throw JobFailure(.keys, "wrap", cause: "the token is not plugged in", hint: "plug it in")
    }

    func unwrap(_ wrapped: EncryptedDataKey, context: [String: String]) async throws -> SecretBytes? { nil }
}

private struct CancelledKey: KeyProvider {
    let capabilities = KeyCapabilities(name: "test:cancelled", canWrap: true, canUnwrap: true, isSymmetric: false)

    func wrap(_ dataKey: SecretBytes, context: [String: String]) async throws -> EncryptedDataKey {
        throw CancellationError()
    }

    func unwrap(_ wrapped: EncryptedDataKey, context: [String: String]) async throws -> SecretBytes? {
        throw CancellationError()
    }
}

private struct ShortKey: KeyProvider {
    let capabilities = KeyCapabilities(name: "test:short", canWrap: false, canUnwrap: true, isSymmetric: false)

    func wrap(_ dataKey: SecretBytes, context: [String: String]) async throws -> EncryptedDataKey {
        throw CancellationError()
    }

    func unwrap(_ wrapped: EncryptedDataKey, context: [String: String]) async throws -> SecretBytes? {
        secret([1, 2, 3])
    }
}
