import Core
import Foundation
import PKCS11Keyring
import TestSupport
import Testing

/// One test at a time: SoftHSM does not bear several modules in one process to be used at once, and those that make
/// faults are all in front of the one.
@Suite("With SoftHSM", .serialized, .needs(SoftHSM.part))
enum WithSoftHSM {}

extension WithSoftHSM {
    @Suite("Keys in a token")
    struct TokenTests {
        private let hsm: SoftHSM

        init() throws { hsm = try SoftHSM.shared.get() }

        @Test(
            "The keyring keeps the contract of key providers, with each mechanism",
            arguments: [PKCS11Mechanism.aesGCM, .aesKeyWrap, .rsaOAEPSHA1])
        func contract(_ mechanism: PKCS11Mechanism) async throws {
            let name = mechanism == .rsaOAEPSHA1 ? "pair" : "kek"
            let query = "?lifeboat-mechanism=\(mechanism.rawValue)"
            let identity = try hsm.key("token=clinic;object=\(name)\(query)")
            let stranger = try hsm.key("token=clinic;object=\(name)2\(query)")
            let impostor = try hsm.key("token=other;object=\(name)\(query)")
            if mechanism == .aesKeyWrap {
                // RFC 3394 has no randomness: the same data key is wrapped into the same bytes, and a wrapping that was
                // changed is still refused.
                try await keyProviderContract(
                    identity: identity, stranger: stranger, impostor: impostor, bindsContext: false,
                    isDeterministic: true)
            } else {
                try await keyProviderContract(
                    identity: identity, stranger: stranger, impostor: impostor, bindsContext: mechanism == .aesGCM)
            }
        }

        @Test("Without a mechanism in the URI the best one of key and token is taken: AES-GCM, else AES key wrap")
        func chosenMechanism() async throws {
            #expect(
                try await hsm.key("token=clinic;object=kek").wrap(dataKey, context: context).providerID == "pkcs11")
            // SoftHSM takes no other hash than SHA-1.
            let pair = try await hsm.key("token=clinic;object=pair").wrap(dataKey, context: context)
            #expect(pair.providerID == "pkcs11-rsa-oaep-sha1")
            let module = try hsm.faulty()
            try module.fault("no-gcm")
            let wrapped = try await hsm.key("token=clinic;object=kek", module: module.path)
                .wrap(dataKey, context: context)
            #expect(wrapped.providerID == "pkcs11-aes-kw")
            // Every reader knows the mechanism from what was wrapped.
            #expect(
                revealed(try await hsm.key("token=clinic;object=kek").unwrap(wrapped, context: context))
                    == revealed(dataKey))
            await expectProblem(.mechanismNotOffered("aes-gcm")) {
                try await hsm.key("token=clinic;object=kek?lifeboat-mechanism=aes-gcm", module: module.path)
                    .wrap(dataKey, context: context)
            }
            let sealed = try await hsm.key("token=clinic;object=kek").wrap(dataKey, context: context)
            await expectProblem(.mechanismNotOffered("aes-gcm")) {
                try await hsm.key("token=clinic;object=kek", module: module.path).unwrap(sealed, context: context)
            }
            await expectProblem(.mechanismNotOffered("rsa-oaep-sha256")) {
                try await hsm.key("token=clinic;object=pair?lifeboat-mechanism=rsa-oaep-sha256")
                    .wrap(dataKey, context: context)
            }
        }

        @Test("A key is found by label, id, type, serial number and token, and what fits none or several is named")
        func keys() async throws {
            for uri in ["token=clinic;id=%01", "token=clinic;object=kek;id=%01;type=secret-key;model=SoftHSM%20v2"] {
                let wrapped = try await hsm.key(uri).wrap(dataKey, context: context)
                #expect(revealed(try await hsm.key(uri).unwrap(wrapped, context: context)) == revealed(dataKey))
            }
            let seal = { (uri: String) in { try await hsm.key(uri).wrap(dataKey, context: context) } }
            await expectProblem(.keyMissing("public key"), "neither kind", seal("token=clinic;object=nothing"))
            await expectProblem(.keyMissing("secret key"), "type", seal("token=clinic;object=pair;type=secret-key"))
            await expectProblem(.severalKeys(2), "double", seal("token=clinic;object=double"))
            await expectProblem(.severalTokens(2), "twins", seal("token=twin;object=kek"))
            await expectProblem(.extractable, "loose", seal("token=clinic;object=loose"))
            await expectProblem(
                .notSuitable("the AES key has 128 bits in place of 256"), "short", seal("token=clinic;object=short"))
            _ = try await seal("token=clinic;object=loose?lifeboat-extractable=accept")()
            _ = try await seal("token=clinic;object=double;id=%07")()
        }

        @Test("A token or module that is not there is named, with the tokens that are")
        func tokens() async throws {
            let error = await #expect(throws: PKCS11Error.self) {
                try await hsm.key("token=nowhere;object=kek").wrap(dataKey, context: context)
            }
            #expect(error?.cause.contains("'clinic'") == true)
            guard case .tokenAbsent = error?.problem else {
                Issue.record("\(String(describing: error))")
                return
            }
            for uri in ["token=clinic;serial=none;object=kek", "token=clinic;library-description=Other;object=kek"] {
                let error = await #expect(throws: PKCS11Error.self) {
                    try await hsm.key(uri).wrap(dataKey, context: context)
                }
                guard case .tokenAbsent = error?.problem else {
                    Issue.record("\(String(describing: error))")
                    continue
                }
            }
            await expectProblem(.moduleMissing("/nowhere/module.so")) {
                try await hsm.key("object=kek", module: "/nowhere/module.so").wrap(dataKey, context: context)
            }
            let text = "\(hsm.directory)/text.so"
            try writeFile(text, "no library")
            await expectProblem(.notAModule(text)) {
                try await hsm.key("object=kek", module: text).wrap(dataKey, context: context)
            }
            // A library, and no module; and a name that no library has.
            await expectProblem(.notAModule("libm.so.6")) {
                try await hsm.key("object=kek", module: "libm.so.6").wrap(dataKey, context: context)
            }
            await expectProblem(.moduleMissing("nothing-of-the-kind-pkcs11.so")) {
                try await hsm.key("object=kek?module-name=nothing-of-the-kind").wrap(dataKey, context: context)
            }
        }

        @Test("The module is found by its name where the URI gives that")
        func moduleName() async throws {
            let wrapped = try await hsm.key("token=clinic;object=kek?module-name=softhsm2", module: "/nowhere")
                .wrap(dataKey, context: context)
            #expect(wrapped.providerID == "pkcs11")
        }

        @Test("The PIN comes from a file where the URI names one; none, and a file that is not there, are named")
        func pins() async throws {
            let file = "\(hsm.directory)/pin-\(UUID().uuidString)"
            try writeFile(file, SoftHSM.pin + "\n")
            _ = try await hsm.key("token=clinic;object=kek?pin-source=file:\(file)", pin: nil)
                .wrap(dataKey, context: context)
            await expectProblem(.pinUnreadable("/nowhere/pin")) {
                try await hsm.key("token=clinic;object=kek?pin-source=/nowhere/pin", pin: nil)
                    .wrap(dataKey, context: context)
            }
            // No PIN is needed to seal for a public key.
            let sealed = try await hsm.key("token=other;object=pair;type=public", pin: nil)
                .wrap(dataKey, context: context)
            #expect(sealed.providerID == "pkcs11-rsa-oaep-sha1")
        }

        @Test("A PIN that the token refuses is tried once in a process, however many tasks want it")
        func wrongPIN() async throws {
            let module = try hsm.faulty()
            try module.fault("wrong")
            let modules = PKCS11Modules()
            let wrong = try hsm.key(
                "token=clinic;object=kek", pin: Secret("quince-wrong"), module: module.path, modules: modules)
            let problems = await withTaskGroup(of: PKCS11Error.Problem?.self) { group in
                for _ in 0..<6 {
                    group.addTask {
                        do {
                            _ = try await wrong.wrap(dataKey, context: context)
                            return nil
                        } catch {
                            return (error as? PKCS11Error)?.problem
                        }
                    }
                }
                return await group.reduce(into: []) { $0.append($1) }
            }
            #expect(problems.count { $0 == .wrongPIN } == 1)
            #expect(problems.count { $0 == .pinRefusedBefore } == 5)
            #expect(try module.logins == 1)
            // Another PIN may be the right one.
            try module.fault("")
            _ = try await hsm.key("token=clinic;object=kek", module: module.path, modules: modules)
                .wrap(dataKey, context: context)
            await expectProblem(.pinRefusedBefore) { try await wrong.wrap(dataKey, context: context) }
        }

        @Test(
            "What keeps a token from being used is named, and no PIN is tried where it would do harm",
            arguments: [
                ("locked", PKCS11Error.Problem.pinLocked, 0), ("last-try", .lastTry, 0), ("no-pin", .pinNotSet, 0),
                ("locked-by-now", .pinLocked, 1), ("expired", .pinExpired, 1), ("unplugged", .tokenRemoved, 1),
                ("broken", .moduleFailed(function: "C_EncryptInit", code: 0x30), 1),
            ])
        func trouble(_ fault: String, _ problem: PKCS11Error.Problem, _ logins: Int) async throws {
            let module = try hsm.faulty()
            try module.fault(fault)
            let key = try hsm.key(
                "token=clinic;object=kek?lifeboat-mechanism=aes-gcm", module: module.path, modules: PKCS11Modules())
            let error = await expectProblem(problem, fault) { try await key.wrap(dataKey, context: context) }
            #expect(error?.exitCode == .keys)
            #expect(error?.object == "pkcs11:kek")
            #expect(try module.logins == logins)
        }

        @Test("A token that goes while it opens is named as gone, and not taken for a damaged data key")
        func removal() async throws {
            let wrapped = try await hsm.key("token=clinic;object=kek").wrap(dataKey, context: context)
            let module = try hsm.faulty()
            try module.fault("unplugged")
            await expectProblem(.tokenRemoved) {
                try await hsm.key("token=clinic;object=kek", module: module.path, modules: PKCS11Modules())
                    .unwrap(wrapped, context: context)
            }
            // A real one that goes between two uses.
            let doomed = try hsm.key("token=doomed;object=kek")
            _ = try await doomed.wrap(dataKey, context: context)
            for token in try FileManager.default.contentsOfDirectory(atPath: "\(hsm.directory)/tokens") {
                let path = "\(hsm.directory)/tokens/\(token)"
                let label = try contentsOfFile("\(path)/token.object")
                if Data(label).range(of: Data("doomed".utf8)) != nil { removeTree(path) }
            }
            let error = await #expect(throws: PKCS11Error.self) { try await doomed.wrap(dataKey, context: context) }
            switch error?.problem {
            case .tokenRemoved, .tokenAbsent: break
            default: Issue.record("\(String(describing: error))")
            }
        }

        @Test("A module that does not answer is left after its time, and not asked again")
        func stuck() async throws {
            let module = try hsm.faulty()
            try module.fault("stuck")
            let key = try hsm.key(
                "token=clinic;object=kek", module: module.path, modules: PKCS11Modules(), timeLimit: 0.3)
            await expectProblem(.noAnswer(seconds: 0.3)) { try await key.wrap(dataKey, context: context) }
            try module.fault("")
            await expectProblem(.noAnswer(seconds: 0.3)) { try await key.wrap(dataKey, context: context) }
            let task = Task { try await hsm.key("token=clinic;object=kek").wrap(dataKey, context: context) }
            task.cancel()
            await #expect(throws: CancellationError.self) { try await task.value }
        }

        @Test("A device that draws the nonce itself, and one without random numbers, are used as they are")
        func otherDevices() async throws {
            let module = try hsm.faulty()
            try module.fault("own-nonce")
            let device = try hsm.key("token=clinic;object=kek", module: module.path, modules: PKCS11Modules())
            let wrapped = try await device.wrap(dataKey, context: context)
            #expect(wrapped.providerInfo.suffix(12) == Array(repeating: 0x5A, count: 12)[...])
            #expect(
                revealed(try await hsm.key("token=clinic;object=kek").unwrap(wrapped, context: context))
                    == revealed(dataKey))
            try module.fault("no-random")
            let made = try await device.generate(context: context) { Array(repeating: 9, count: $0) }
            #expect(revealed(made.dataKey) == Array(repeating: 9, count: 32))
        }
    }
}
