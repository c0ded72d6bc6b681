import Core
import Events
import FileSystemStore
import Sets

/// `lifeboat encrypt` and `decrypt`: one file, beside it, all or nothing.
struct FileJob: Sendable {
    private static let suffix = ".encrypted"

    let settings: Settings

    func encrypt(_ file: String, to output: String?) async throws {
        let target = try onlyTarget()
        let output = output ?? file + Self.suffix
        let (sourceStore, sourceName) = try place(file)
        let (store, name) = try place(output)
        let info = try await FileEnvelope.encrypt(
            try await sourceStore.get(sourceName, range: nil), as: name, in: store,
            for: try target.recipients.map(Composition.recipient), random: systemRandom)
        Output.write(
            JSON.object([
                "action": .string("encrypt"), "outcome": .string("succeeded"), "exitCode": .integer(0),
                "file": .string(output), "recipients": .integer(Int64(info.dataKeys.count)),
            ]).canonicalText)
    }

    func decrypt(_ file: String, to output: String?) async throws {
        let target = try onlyTarget()
        let output = try output ?? plainName(file)
        let (store, name) = try place(file)
        let (outputStore, outputName) = try place(output)
        let bytes = try await FileEnvelope.decrypt(
            name, in: store, as: outputName, in: outputStore, with: try target.identities.map(Composition.identity))
        Output.write(
            JSON.object([
                "action": .string("decrypt"), "outcome": .string("succeeded"), "exitCode": .integer(0),
                "file": .string(output), "bytes": .exact(bytes),
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

    /// A file as an object in the store that its directory is.
    private func place(_ path: String) throws -> (any Store, String) {
        let slash = path.lastIndex(of: "/")
        let directory = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        let name = slash.map { String(path[path.index(after: $0)...]) } ?? path
        return (try DirectoryStore(root: directory, largestObject: .max, random: systemRandom), name)
    }
}
