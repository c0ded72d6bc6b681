import Core
import Events
import Glibc
import OpenPGPKeyring
import PKCS11Keyring

/// What holds keys outside the program, each opened once in a run: AWS, the modules of HSMs, and keyrings of OpenPGP
/// keys. Nothing is opened before it is used.
final class KeyHolders: Sendable {
    let cloud: Cloud
    let modules = PKCS11Modules()
    /// The path of gpg.
    let gpgProgram: String
    private let keyrings = Guarded<[(settings: GPGSettings, keyring: OpenPGPKeyring)]>([])

    /// `environment`: `GPG_BIN` and `PATH` say where gpg is.
    init(cloud: Cloud, environment: [String: String]) {
        self.cloud = cloud
        gpgProgram = Self.gpgProgram(environment)
    }

    func keyring(_ settings: GPGSettings) -> OpenPGPKeyring {
        keyrings.withLock { keyrings in
            if let known = keyrings.first(where: { $0.settings == settings }) { return known.keyring }
            let keyring = OpenPGPKeyring(
                OpenPGPSettings(
                    keyFiles: settings.keyFiles, home: settings.home, passphrase: settings.passphrase,
                    program: gpgProgram), sleep: systemSleep, now: { SystemClock().now() })
            keyrings.append((settings, keyring))
            return keyring
        }
    }

    /// Closes connections, and ends what gpg has started. Nothing may be asked for afterwards.
    func shutdown() async {
        for keyring in keyrings.value.map(\.keyring) { await keyring.close() }
        await cloud.shutdown()
    }

    private static func gpgProgram(_ environment: [String: String]) -> String {
        if let directory = environment["GPG_BIN"], !directory.isEmpty { return directory + "/gpg" }
        let path = (environment["PATH"] ?? "").split(separator: ":").map(String.init).filter { $0.hasPrefix("/") }
        return path.map { $0 + "/gpg" }.first { access($0, X_OK) == 0 } ?? "/usr/bin/gpg"
    }
}
