import Foundation

/// A person's own GnuPG: a keyring directory in which a test makes keys, and gpg as that person uses it.
package final class GnuPG: Sendable {
    package static let part = RealPart.program("gpg")

    package let home: String
    private let directory: String

    /// In `directory`, which is the test's own and short enough for the agent's socket.
    package init(in directory: String, name: String = "person") throws {
        self.directory = directory
        home = "\(directory)/\(name)"
        guard mkdir(home, 0o700) == 0 else { throw TestFailure("cannot make \(home): error \(errno)") }
    }

    deinit { stop() }

    /// Ends the agent.
    package func stop() {
        _ = try? runProgram("/usr/bin/gpgconf", ["--homedir", home, "--kill", "all"])
        _ = try? runProgram("/usr/bin/gpgconf", ["--homedir", home, "--remove-socketdir"])
    }

    /// Throws with what gpg says where it fails.
    @discardableResult
    package func run(_ arguments: [String]) throws -> String {
        let ended = try runProgram(
            "/usr/bin/gpg",
            ["--homedir", home, "--batch", "--no-tty", "--quiet", "--pinentry-mode", "loopback"] + arguments,
            environment: ["LC_ALL": "C", "PATH": "/usr/bin:/bin", "HOME": home])
        guard ended.status == 0 else { throw TestFailure("gpg \(arguments): \(ended.output)") }
        return ended.output
    }

    /// A signing key with a subkey to encrypt for; returns its fingerprint. `expires` is as gpg takes it (`1y`, `never`),
    /// `at` the time it is made at, in seconds since 1970.
    package func makeKey(
        _ name: String, passphrase: String = "", expires: String = "never", at time: Int? = nil,
        canEncrypt: Bool = true
    ) throws -> String {
        let clock = time.map { ["--faked-system-time", "\($0)!"] } ?? []
        let algorithm = canEncrypt ? ["future-default", "default"] : ["ed25519", "sign"]
        try run(
            clock + ["--passphrase", passphrase, "--quick-generate-key", "\(name) <\(name)@clinic.example>"]
                + algorithm + [expires])
        let listing = try run(["--with-colons", "--list-keys", "=\(name) <\(name)@clinic.example>"])
        let line = listing.split(separator: "\n").first { $0.hasPrefix("fpr:") } ?? ""
        let fingerprint = line.split(separator: ":").first { $0.count == 40 }
        guard let fingerprint else { throw TestFailure("gpg made no key: \(listing)") }
        return String(fingerprint)
    }

    /// The fingerprints of a key and its subkeys, as listed.
    package func fingerprints(_ key: String) throws -> [String] {
        try run(["--with-colons", "--with-subkey-fingerprint", "--list-keys", key]).split(separator: "\n")
            .filter { $0.hasPrefix("fpr:") }
            .compactMap { $0.split(separator: ":").first { $0.count == 40 }.map(String.init) }
    }

    /// The path of a file with the exported key.
    package func exported(_ key: String, secret: Bool, passphrase: String = "") throws -> String {
        let path =
            "\(directory)/\(key.suffix(8))-\(secret ? "secret" : "public")-\(UInt32.random(in: 0 ... .max)).key"
        try run(
            ["--passphrase", passphrase, "--output", path, secret ? "--export-secret-keys" : "--export", key])
        return path
    }
}
