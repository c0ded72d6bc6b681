import Core
import Events
import FileSystemStore
import Glibc
import Sets

/// `lifeboat encrypt` and `decrypt`: one file, beside it, all or nothing.
struct FileJob {
    private static let suffix = ".encrypted"

    let settings: Settings
    let keys: KeyHolders

    func encrypt(_ file: String, to output: String?) async throws {
        let target = try onlyTarget()
        let recipients = try Composition.providers(
            target.recipients + target.optionalRecipients, of: target, keys)
        let output = output ?? file + Self.suffix
        let (plain, sealed) = try places(file, output)
        let count = try await FileEnvelope.encrypt(
            plain, as: sealed, for: recipients, cipher: Composition.sealingCipher(of: target, keys),
            random: systemRandom)
        report("encrypt", output, "recipients", Int64(count))
    }

    func decrypt(_ file: String, to output: String?) async throws {
        let target = try onlyTarget()
        let identities = try Composition.providers(target.identities, of: target, keys)
        let output = try output ?? plainName(file)
        let (sealed, plain) = try places(file, output)
        let bytes = try await FileEnvelope.decrypt(
            sealed, as: plain, with: identities, ciphers: [Composition.openPGP(of: target, keys)])
        report("decrypt", output, "bytes", bytes)
    }

    private func report(_ action: String, _ file: String, _ figure: String, _ value: Int64) {
        Output.write(
            JSON.object([
                "action": .string(action), "outcome": .string("succeeded"), "exitCode": .integer(0),
                "file": .string(file), figure: .exact(value),
            ]).canonicalText)
    }

    private func plainName(_ file: String) throws -> String {
        guard file.hasSuffix(Self.suffix), file.count > Self.suffix.count else {
            throw JobFailure(
                .eventRefused, "name the decrypted file", object: file, cause: "its name does not end in .encrypted",
                hint: "say where to with --output")
        }
        return String(file.dropLast(Self.suffix.count))
    }

    /// Keys of targets may differ; a file has none of its own.
    private func onlyTarget() throws -> TargetSettings {
        guard let target = settings.targets.first, settings.targets.count == 1 else {
            throw JobFailure(
                .eventRefused, "choose the keys", object: "LIFEBOAT_CONFIG", cause: "several targets are configured",
                hint: "set BACKUP_RECIPIENTS and BACKUP_IDENTITIES in the environment and unset LIFEBOAT_CONFIG")
        }
        return target
    }

    private func places(_ first: String, _ second: String) throws -> (StoredFile, StoredFile) {
        (try StoredFile(at: first), try StoredFile(at: second))
    }
}

extension StoredFile {
    /// The file at `path`, as an object in the store that its directory is.
    init(at path: String) throws {
        let slash = path.lastIndex(of: "/")
        let directory = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        let name = slash.map { String(path[path.index(after: $0)...]) } ?? path
        guard let resolved = realpath(directory, nil) else { throw FileProblem(path: directory, errno: errno) }
        defer { free(resolved) }
        self.init(
            name: name,
            store: try DirectoryStore(root: String(cString: resolved), largestObject: .max, random: systemRandom))
    }
}
