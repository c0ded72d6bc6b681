package import Core
import Glibc
import Streams

/// Where the OpenPGP keys are. Keys: `BACKUP_GPG_KEYS` (files with exported keys), `BACKUP_GPG_HOME` (a keyring
/// directory), `BACKUP_GPG_PASSPHRASE`. Both sources may be given at once.
package struct OpenPGPSettings: Sendable {
    /// Files that `gpg --export` or `--export-secret-keys` wrote.
    package var keyFiles: [String]
    /// A keyring directory. It is read, and never written to.
    package var home: String?
    /// Of the private keys.
    package var passphrase: Secret?
    /// Absolute path of gpg.
    package var program: String
    /// Where the keyring directory of our own may be made, the first that will do; private keys go into memory only.
    package var scratch: [String]

    package init(
        keyFiles: [String] = [], home: String? = nil, passphrase: Secret? = nil, program: String = "/usr/bin/gpg",
        scratch: [String] = ["/dev/shm", "/tmp"]
    ) {
        self.keyFiles = keyFiles
        self.home = home
        self.passphrase = passphrase
        self.program = program
        self.scratch = scratch
    }
}

/// The OpenPGP keys of a run, in a keyring directory of their own, used by the gpg program. Nothing of the user's own
/// GnuPG is touched: no configuration, no keyring, no agent.
///
/// The directory is made when a key is first used. ``close()`` ends the agent and removes it.
package final class OpenPGPKeyring: Sendable {
    let settings: OpenPGPSettings
    let sleep: @Sendable (Double) async throws -> Void
    let now: @Sendable () -> Timestamp
    private let home = Guarded<Task<OpenPGPHome, any Error>?>(nil)
    private let listing = Guarded<Task<[OpenPGPKey], any Error>?>(nil)

    /// Seconds for one call of gpg that moves no data.
    private static let timeLimit = 60.0
    private static let largestListing = 64 << 20

    package init(
        _ settings: OpenPGPSettings, sleep: @escaping @Sendable (Double) async throws -> Void,
        now: @escaping @Sendable () -> Timestamp
    ) {
        self.settings = settings
        self.sleep = sleep
        self.now = now
    }

    /// Ends what gpg has started for this keyring, and removes it. A key that is used after that brings it back.
    package func close() async {
        listing.withLock { $0 = nil }
        let task: Task<OpenPGPHome, any Error>? = home.withLock { home in
            let task = home
            home = nil
            return task
        }
        guard let task else { return }
        do {
            let home = try await task.value
            let directory = settings.program.lastIndex(of: "/").map { settings.program[..<$0] } ?? "/usr/bin"
            // A directory outside the home, where the agent's socket may be.
            for arguments in [["--kill", "all"], ["--remove-socketdir"]] {
                _ = try await runChild(
                    ChildCommand(
                        executable: "\(directory)/gpgconf", arguments: ["--homedir", home.path] + arguments,
                        environment: Self.environment(home), label: "gpgconf"), outputLimit: 1 << 16)
            }
        } catch {
            // Without its directory the agent ends by itself.
        }
    }

    // MARK: Keys

    /// The key that `id` names. Throws ``OpenPGPError`` where there is none or more than one.
    func key(_ id: OpenPGPKeyID, _ operation: String) async throws -> OpenPGPKey {
        let found = try await keys().filter { key in key.members.contains { id.names($0.fingerprint) } }
        guard let key = found.first else { throw OpenPGPError(.keyMissing, operation, key: id.description) }
        guard found.count == 1 else { throw OpenPGPError(.severalKeys, operation, key: id.description) }
        return key
    }

    private func keys() async throws -> [OpenPGPKey] {
        let task = listing.withLock { listing in
            let task =
                listing
                ?? Task {
                    let operation = "list the OpenPGP keys"
                    let (output, _) = try await self.run(
                        ["--no-autostart", "--with-colons", "--fixed-list-mode", "--with-subkey-fingerprint"]
                            + ["--list-keys"], operation, key: "", outputLimit: Self.largestListing)
                    return OpenPGPKey.parse(output)
                }
            listing = task
            return task
        }
        return try await task.value
    }

    // MARK: Calls of gpg

    /// What every call has: no terminal, no questions, no settings but ours.
    static func command(
        _ program: String, _ home: OpenPGPHome, _ arguments: [String]
    ) -> ChildCommand {
        ChildCommand(
            executable: program,
            arguments: [
                "--homedir", home.path, "--no-options", "--batch", "--no-tty", "--no-greeting", "--status-fd", "2",
                "--trust-model", "always", "--no-auto-key-locate", "--pinentry-mode", "loopback",
            ] + arguments,
            environment: environment(home), label: "gpg")
    }

    private static func environment(_ home: OpenPGPHome) -> [String: String] {
        ["LC_ALL": "C", "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": home.path]
    }

    /// Runs gpg on the keyring and gives back what it wrote and its status lines, also where it fails.
    func run(
        _ arguments: [String], _ operation: String, key: String, outputLimit: Int
    ) async throws -> (output: [UInt8], status: OpenPGPStatus) {
        try await ending(
            of: arguments, in: try await directory(), operation, key: key, outputLimit: outputLimit
        ).get(operation, key)
    }

    /// How a call ended.
    enum Ending {
        case done([UInt8], OpenPGPStatus)
        case failed(OpenPGPStatus, ChildFailure)

        func get(_ operation: String, _ key: String) throws -> (output: [UInt8], status: OpenPGPStatus) {
            switch self {
            case .done(let output, let status): return (output, status)
            case .failed(_, let failure): throw OpenPGPKeyring.error(failure, operation, key: key)
            }
        }
    }

    func ending(
        of arguments: [String], in home: OpenPGPHome, _ operation: String, key: String, outputLimit: Int
    ) async throws -> Ending {
        let output = try ChildOutput(Self.command(settings.program, home, arguments))
        let (timeLimit, sleep) = (Self.timeLimit, sleep)
        let isLate = Guarded(false)
        let timer = Task {
            do {
                try await sleep(timeLimit)
            } catch {
                return
            }
            isLate.withLock { $0 = true }
            output.cancel()
        }
        defer { timer.cancel() }
        do {
            let bytes = try await withTaskCancellationHandler {
                try await onThread("gpg") { try Self.collect(output, limit: outputLimit, operation, key) }
            } onCancel: {
                output.cancel()
            }
            return .done(bytes, OpenPGPStatus(output.errorTail))
        } catch let failure as ChildFailure {
            return .failed(OpenPGPStatus(failure.errorTail), failure)
        } catch is CancellationError where isLate.value {
            throw OpenPGPError(.timedOut(seconds: timeLimit), operation, key: key)
        }
    }

    /// Everything the child writes. It may be a key, so no copy of it stays.
    private static func collect(
        _ output: ChildOutput, limit: Int, _ operation: String, _ key: String
    ) throws -> [UInt8] {
        var all: [UInt8] = []
        while let chunk = try output.next() {
            defer { wipe(UnsafeMutableRawBufferPointer(mutating: chunk.bytes)) }
            guard all.count + chunk.count <= limit else {
                output.cancel()
                throw OpenPGPError(.programFailed("gpg writes more than \(limit) bytes"), operation, key: key)
            }
            all.append(contentsOf: chunk.bytes)
        }
        return all
    }

    static func error(_ failure: ChildFailure, _ operation: String, key: String) -> OpenPGPError {
        OpenPGPError(.programFailed(failure.summary), operation, key: key)
    }

    // MARK: The directory

    /// The directory with all configured keys, made once.
    func directory() async throws -> OpenPGPHome {
        let task = home.withLock { home in
            let task = home ?? Task { try await self.makeDirectory() }
            home = task
            return task
        }
        return try await task.value
    }

    private func makeDirectory() async throws -> OpenPGPHome {
        let operation = "read the OpenPGP keys"
        guard access(settings.program, X_OK) == 0 else {
            throw OpenPGPError(.programMissing(settings.program), operation)
        }
        guard !settings.keyFiles.isEmpty || settings.home != nil else { throw OpenPGPError(.noKeyring, operation) }
        let settings = settings
        let home = try await onThread("gpg home") {
            let home = try OpenPGPHome(in: settings.scratch)
            try home.write("gpg-agent.conf", "allow-loopback-pinentry\ndisable-scdaemon\nmax-cache-ttl 0\n")
            if let given = settings.home { try home.copy(from: given) }
            return home
        }
        for file in settings.keyFiles { try await importKeys(file, into: home) }
        return home
    }

    private func importKeys(_ file: String, into home: OpenPGPHome) async throws {
        let operation = "read the OpenPGP keys"
        guard access(file, R_OK) == 0 else {
            throw OpenPGPError(.keyringUnreadable(path: file, why: String(cString: strerror(errno))), operation)
        }
        // Private keys need the agent, and where the directory is not in memory they must not come into it.
        let agent = home.isInMemory ? [] : ["--no-autostart"]
        let ending = try await ending(
            of: agent + ["--import", "--", file], in: home, operation, key: file, outputLimit: 1 << 20)
        switch ending {
        case .done(_, let status) where status.has("IMPORT_OK"): return
        case .failed(let status, _) where !home.isInMemory && status.importedPrivateKeys:
            throw OpenPGPError(.noMemory, operation, key: file)
        case .failed(_, let failure) where failure.ending != .exited(2):
            throw Self.error(failure, operation, key: file)
        default: throw OpenPGPError(.keyFileUnusable(file), operation, key: file)
        }
    }
}

extension OpenPGPStatus {
    /// The file held private keys: the eleventh number of IMPORT_RES counts those that were read.
    fileprivate var importedPrivateKeys: Bool {
        guard let numbers = words("IMPORT_RES"), numbers.count > 9 else { return false }
        return (Int(numbers[9]) ?? 0) > 0
    }
}
