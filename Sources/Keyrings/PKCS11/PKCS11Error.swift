import CPKCS11
package import Core

/// A key in a token that does not wrap or open. Shows no PIN, and of what the module says only its return code.
package struct PKCS11Error: Failure, Equatable {
    package enum Problem: Equatable, Sendable {
        // The module.
        case noModule
        case moduleMissing(String)
        case notAModule(String)
        case moduleFailed(function: String, code: UInt)
        case noAnswer(seconds: Double)
        // The token.
        case tokenAbsent(seen: [String])
        case severalTokens(Int)
        case tokenRemoved
        // The PIN.
        case pinUnreadable(String)
        case pinNeeded
        case wrongPIN
        case pinRefusedBefore
        case lastTry
        case pinLocked
        case pinExpired
        case pinNotSet
        // The key.
        case keyMissing(String)
        case severalKeys(Int)
        case notSuitable(String)
        case extractable
        case notPermitted(String)
        case expired(String)
        case mechanismNotOffered(String)
        // What was wrapped.
        case doesNotOpen
        case unexpected(String)
    }

    package let problem: Problem
    /// The provider's name: `pkcs11:clinic-kek`.
    package let object: String
    package let operation: String

    init(_ problem: Problem, _ operation: String, key: String) {
        self.problem = problem
        self.operation = operation
        object = key
    }

    package var exitCode: ExitCode {
        switch problem {
        case .noModule: .configuration
        default: .keys
        }
    }

    package var cause: String {
        switch problem {
        case .noModule: "no PKCS#11 module is named"
        case .moduleMissing(let path): "there is no module at \(path)"
        case .notAModule(let path): "\(path) cannot be loaded, or is no PKCS#11 module"
        case .moduleFailed(let function, let code): "\(function) answers \(Self.name(of: code))"
        case .noAnswer(let seconds): "the module has not answered for \(Int(seconds)) s"
        case .tokenAbsent(let seen):
            seen.isEmpty
                ? "no token is there" : "no token fits the URI; there are \(seen.joined(separator: ", "))"
        case .severalTokens(let count): "\(count) tokens fit the URI"
        case .tokenRemoved: "the token was removed, or lost its connection, while it was used"
        case .pinUnreadable(let path): "the PIN cannot be read from \(path)"
        case .pinNeeded: "the token wants a PIN and none is set"
        case .wrongPIN: "the token refuses the PIN"
        case .pinRefusedBefore: "the token has refused this PIN before, and it is not tried again"
        case .lastTry: "one more wrong PIN would lock the token, so none is tried"
        case .pinLocked: "the token's PIN is locked after too many wrong ones"
        case .pinExpired: "the token's PIN has expired or has to be changed"
        case .pinNotSet: "the token has no user PIN yet"
        case .keyMissing(let what): "the token holds no such \(what)"
        case .severalKeys(let count): "\(count) keys in the token fit the URI"
        case .notSuitable(let why), .unexpected(let why): why
        case .extractable: "the key can be read out of its token (CKA_EXTRACTABLE), so it is no better than a file"
        case .notPermitted(let attribute): "the key may not be used for this (\(attribute) is false)"
        case .expired(let day): "the key's end date (CKA_END_DATE) was \(day)"
        case .mechanismNotOffered(let name): "the token does not offer \(name) for this key"
        case .doesNotOpen:
            "the data key wrapped under this name does not open: it was wrapped under another key of the same name, "
                + "or it or the encryption context was changed"
        }
    }

    package var hint: String {
        switch problem {
        case .noModule: "set PKCS11_MODULE to the path of the module, or write '?module-path=…' into the URI"
        case .moduleMissing: "install the device's software in the image, or correct PKCS11_MODULE"
        case .notAModule: "name the shared library that the device's maker calls its PKCS#11 module or provider"
        case .moduleFailed, .unexpected:
            "look at the device's own log and status; 'pkcs11-tool --module … -O --login' tries the same by hand"
        case .noAnswer: "check that the device can be reached (network policy, its own daemon)"
        case .tokenAbsent: "plug it in or connect it; 'pkcs11-tool --module … -L' lists the tokens there are"
        case .severalTokens: "add 'serial' or 'slot-id' to the URI"
        case .tokenRemoved: "connect the token again and run the job again: nothing was stored"
        case .pinUnreadable: "mount the secret and make it readable for the user lifeboat runs as"
        case .pinNeeded: "set PKCS11_PIN_FILE, PKCS11_PIN or the URI's 'pin-source'"
        case .wrongPIN, .pinRefusedBefore:
            "correct PKCS11_PIN before the next run: every run with the wrong one costs a try"
        case .lastTry:
            "log in once by hand with the right PIN ('pkcs11-tool --module … --login -O'), which gives the tries back"
        case .pinLocked: "the security officer has to set a new PIN ('pkcs11-tool --init-pin')"
        case .pinExpired, .pinNotSet: "set one with the device's own program, then PKCS11_PIN"
        case .keyMissing:
            "'pkcs11-tool --module … -O --login' lists what the token holds; private objects show only with the PIN"
        case .severalKeys: "add 'id' or 'type' to the URI"
        case .notSuitable: "name an AES key of 256 bits, or an RSA key of at least 2048"
        case .extractable:
            "make one that cannot ('pkcs11-tool --keygen --key-type AES:32 --sensitive'), or accept it with "
                + "'lifeboat-extractable=accept' in the URI"
        case .notPermitted: "set the attribute when the key is made, or choose another 'lifeboat-mechanism'"
        case .expired: "make a new key and name it beside this one, which still opens what it has sealed"
        case .mechanismNotOffered:
            "'pkcs11-tool --module … -M' lists what the token offers; choose it with 'lifeboat-mechanism' in the URI"
        case .doesNotOpen: "make sure that the token holds the key the backup was sealed with; try another copy"
        }
    }

    /// The return codes that a person may look up (PKCS #11 v2.40, section 5.1), by name.
    static func name(of code: UInt) -> String {
        let names: [UInt: String] = [
            2: "CKR_HOST_MEMORY", 5: "CKR_GENERAL_ERROR", 6: "CKR_FUNCTION_FAILED", 7: "CKR_ARGUMENTS_BAD",
            0x13: "CKR_ATTRIBUTE_VALUE_INVALID", 0x30: "CKR_DEVICE_ERROR", 0x31: "CKR_DEVICE_MEMORY",
            0x54: "CKR_FUNCTION_NOT_SUPPORTED", 0x68: "CKR_KEY_FUNCTION_NOT_PERMITTED",
            0x70: "CKR_MECHANISM_INVALID", 0x71: "CKR_MECHANISM_PARAM_INVALID", 0xB1: "CKR_SESSION_COUNT",
            0xE2: "CKR_TOKEN_WRITE_PROTECTED", 0x190: "CKR_CRYPTOKI_NOT_INITIALIZED", 0x0A: "CKR_CANT_LOCK",
        ]
        let hex = "0x" + String(code, radix: 16)
        return names[code].map { "\($0) (\(hex))" } ?? "error \(hex)"
    }
}
