package import Core

/// What keeps an OpenPGP key from sealing or opening. Of what gpg says only its own fixed words and codes are in it.
package struct OpenPGPError: Failure, Equatable {
    package enum Problem: Equatable, Sendable {
        // The program and the keyring.
        case programMissing(String)
        case programFailed(String)
        case timedOut(seconds: Double)
        case noKeyring
        case keyringUnreadable(path: String, why: String)
        case keyboxDaemon(String)
        case keyFileUnusable(String)
        case noMemory
        case noScratch(String)
        // The key.
        case keyMissing
        case severalKeys
        case revoked
        case disabled
        case expired(Timestamp)
        case noEncryptionKey
        case unusable(String)
        case noPrivateKey
        case wrongPassphrase
        case passphraseNeeded
        // What was sealed.
        case notForGPG
        case doesNotOpen
        case damaged(String)
    }

    package let problem: Problem
    package let operation: String
    /// `gpg:FINGERPRINT`, or empty.
    package let object: String

    init(_ problem: Problem, _ operation: String, key: String = "") {
        self.problem = problem
        self.operation = operation
        object = key
    }

    package var exitCode: ExitCode {
        switch problem {
        case .programMissing, .noKeyring, .keyringUnreadable, .keyboxDaemon, .noMemory, .noScratch: .configuration
        case .damaged: .verificationFailed
        default: .keys
        }
    }

    package var cause: String {
        switch problem {
        case .programMissing(let path): "there is no gpg program that may be run at \(path)"
        case .programFailed(let summary): summary
        case .timedOut(let seconds): "gpg has not answered for \(Int(seconds)) s"
        case .noKeyring: "no OpenPGP keys are configured"
        case .keyringUnreadable(let path, let why): "the keyring directory \(path) cannot be read: \(why)"
        case .keyboxDaemon(let path):
            "the keyring in \(path) is kept by GnuPG's keyboxd, which only that directory has"
        case .keyFileUnusable(let path): "\(path) holds no OpenPGP key, or a damaged one"
        case .noMemory: "there is no directory in memory to put private keys in"
        case .noScratch(let why): "no directory of its own can be made for gpg: \(why)"
        case .keyMissing: "the keyring has no such key"
        case .severalKeys: "the keyring has several keys of this id"
        case .revoked: "the key has been revoked"
        case .disabled: "the key is disabled in its keyring"
        case .expired(let date): "the key expired on \(date.day)"
        case .noEncryptionKey: "the key has no subkey that can encrypt and has neither expired nor been revoked"
        case .unusable(let reason): "gpg does not take the key: \(reason)"
        case .noPrivateKey: "the keyring has no private key for it"
        case .wrongPassphrase: "the passphrase of the private key is wrong"
        case .passphraseNeeded: "the private key has a passphrase and none is set"
        case .notForGPG: "none of the recipients is an OpenPGP key"
        case .doesNotOpen: "the data key wrapped for this key does not open: it was changed"
        case .damaged(let why): why
        }
    }

    package var hint: String {
        switch problem {
        case .programMissing: "install GnuPG (Debian: gnupg), in the image as well"
        case .programFailed, .timedOut: "look at the pod's memory and process limits, then run again"
        case .noKeyring: "set BACKUP_GPG_KEYS to files with exported keys, or BACKUP_GPG_HOME to a keyring directory"
        case .keyringUnreadable: "mount the keyring readable for the user lifeboat runs as"
        case .keyboxDaemon, .keyFileUnusable:
            "export the keys ('gpg --export FINGERPRINT', 'gpg --export-secret-keys FINGERPRINT') and name the files in "
                + "BACKUP_GPG_KEYS"
        case .noMemory: "mount an emptyDir with 'medium: Memory' at /dev/shm, or give gpg public keys only"
        case .noScratch: "let the process write to /dev/shm or to its TMPDIR"
        case .keyMissing: "add the key to BACKUP_GPG_KEYS or to the keyring of BACKUP_GPG_HOME"
        case .severalKeys: "name it by its fingerprint of 40 digits"
        case .revoked, .expired, .noEncryptionKey, .disabled, .unusable:
            "extend the key ('gpg --quick-set-expire') or name another one, and export it anew; what it has sealed "
                + "still opens with its private key"
        case .noPrivateKey: "name the exported private key in BACKUP_GPG_KEYS where backups are verified or restored"
        case .wrongPassphrase, .passphraseNeeded: "set BACKUP_GPG_PASSPHRASE_FILE to the private key's passphrase"
        case .notForGPG: "name OpenPGP keys (gpg:FINGERPRINT) in BACKUP_RECIPIENTS and no others"
        case .doesNotOpen, .damaged:
            "do not use it; take the second copy or an earlier set, and look at who can write to the store"
        }
    }
}
