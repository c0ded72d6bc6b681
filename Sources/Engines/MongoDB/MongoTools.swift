import Core
import Glibc
import Streams

/// Where `mongodump` and `mongorestore` are looked for.
package struct MongoToolSearch: Sendable {
    /// In this order.
    package var directories: [String]

    package init(directories: [String]) { self.directories = directories }

    /// `override` (`MONGODB_BIN`) alone where it is set, else `path` (`PATH`).
    package static func standard(path: String?, override: String?) -> MongoToolSearch {
        if let override, !override.isEmpty { return MongoToolSearch(directories: [override]) }
        return MongoToolSearch(
            directories: (path ?? "").split(separator: ":").map(String.init).filter { $0.hasPrefix("/") })
    }

    func find(_ name: String) async throws -> MongoTool {
        for directory in directories where access("\(directory)/\(name)", X_OK) == 0 {
            if let tool = try await Self.look(at: "\(directory)/\(name)", name: name) { return tool }
        }
        let places = directories.isEmpty ? "the searched places" : directories.joined(separator: ", ")
        throw MongoError(
            .tool, "find the program", object: name, cause: "it is in none of \(places)",
            hint: "install the MongoDB Database Tools, or set MONGODB_BIN to the directory that has them")
    }

    /// Asks the program for its version; `nil` for something that gives none, which is no such program.
    private static func look(at path: String, name: String) async throws -> MongoTool? {
        let command = ChildCommand(
            executable: path, arguments: ["--version"], environment: MongoTool.environment, label: name)
        do {
            let output = String(decoding: try await runChild(command, outputLimit: 4096), as: UTF8.self)
            let mark = "\(name) version: "
            guard let line = output.split(separator: "\n").first(where: { $0.hasPrefix(mark) }) else { return nil }
            return MongoTool(path: path, name: name, version: String(line.dropFirst(mark.count)))
        } catch is ChildFailure {
            return nil
        } catch is ObjectTooLarge {
            return nil
        }
    }
}

/// A program of a known version.
struct MongoTool: Sendable {
    let path: String
    let name: String
    /// `100.11.0`.
    let version: String

    /// Messages in English, so that the few known ones can be told apart. `HOME` is where the tools look first.
    static let environment = ["PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": "/nonexistent"]
}

/// How the tools are called for one deployment. The connection string, with its password, goes into a file that exists
/// in memory only.
struct MongoCommands: Sendable {
    private let timing: MongoDatabase.Timing
    private let configuration: MemoryFile

    /// `application` is what the server's list of operations shows, where the tool lets us say.
    init(endpoint: MongoEndpoint, timing: MongoDatabase.Timing, application: String) throws {
        self.timing = timing
        let uri = endpoint.connectionString(adding: [("appName", application)])
        // YAML takes JSON's strings.
        var text = uri.withRevealed { Array("uri: \(JSON.string($0).canonicalText)\n".utf8) }
        configuration = try text.withUnsafeBytes { bytes throws(MemoryFileFailure) in
            try MemoryFile(bytes, name: "mongo-tools")
        }
        text.withUnsafeMutableBytes { wipe($0) }
    }

    /// `serverSelectionTimeoutMS` in the connection string is misread; this option, which the manual does not list, works.
    private var common: [String] {
        ["--config=\(configuration.path)", "--archive", "--serverSelectionTimeout=\(timing.serverSelection)"]
    }

    /// mongodump of one database, or of everything, to its standard output. `withOplog` also of what is written
    /// meanwhile, which works for everything only.
    func dump(_ tool: MongoTool, database: String?, withOplog: Bool) -> ChildCommand {
        var arguments = common
        if let database { arguments.append("--db=\(database)") }
        if withOplog { arguments.append("--oplog") }
        return ChildCommand(
            executable: tool.path, arguments: arguments, environment: MongoTool.environment, label: tool.name)
    }

    /// mongorestore from its standard input of the databases that are the keys of `names`, under the names that are
    /// their values. Validators are passed by: what the source let in has to come back.
    func restore(_ tool: MongoTool, names: [String: String], drop: Bool) -> ChildCommand {
        var arguments = common + ["--bypassDocumentValidation"]
        if drop { arguments.append("--drop") }
        for (name, target) in names.sorted(by: { $0.key < $1.key }) {
            arguments.append("--nsInclude=\(Self.escaped(name)).*")
            if name != target {
                arguments += ["--nsFrom=\(Self.escaped(name)).*", "--nsTo=\(Self.escaped(target)).*"]
            }
        }
        return ChildCommand(
            executable: tool.path, arguments: arguments, environment: MongoTool.environment, label: tool.name)
    }

    /// In a pattern of namespaces `*` and `$` mean something.
    private static func escaped(_ name: String) -> String {
        name.map { "\\*$".contains($0) ? "\\\($0)" : String($0) }.joined()
    }
}

/// mongodump's output, read by us as it passes; its end is only reported when the archive is complete.
final class ArchiveOutput: Sendable {
    private let child: ChildOutput
    private let commands: MongoCommands
    private let reader: SharedArchiveReader
    private let object: String
    let source: any ByteSource
    private let state: Guarded<Bool>

    init(
        _ command: ChildCommand, of commands: MongoCommands, scope: ArchiveScope, meter: ProgressMeter?,
        object: String
    ) throws {
        let child = try ChildOutput(command)
        let reader = SharedArchiveReader(scope: scope)
        let isComplete = Guarded(false)
        self.child = child
        self.commands = commands
        self.reader = reader
        self.object = object
        state = isComplete
        let checked = DumpSource(child, object: object) { isComplete.withLock { $0 = true } }
        let metered: any ByteSource = meter.map { MeteredSource(checked, meter: $0) } ?? checked
        // On a thread of its own: in the one that compresses, digesting would make that the slowest stage.
        source = try ObservedSource(metered, name: "contents") { chunk in
            do {
                try reader.read(chunk)
            } catch let error as ArchiveError {
                throw MongoError.incompleteDump("what mongodump wrote is no archive: \(error)", of: object)
            }
        }
    }

    /// The tool has exited 0 and everything it wrote has been taken.
    var isComplete: Bool { state.value }

    func contents() throws -> ArchiveContents {
        guard isComplete else {
            throw MongoError.incompleteDump("it was not read to its end", of: object)
        }
        do {
            return try reader.finish()
        } catch let error as ArchiveError {
            throw MongoError.incompleteDump("what mongodump wrote is no whole archive: \(error)", of: object)
        }
    }

    /// Ends the tool, and waits until it is gone.
    func end() async {
        child.cancel()
        await child.ended()
    }
}

/// Turns the tool's ending into our words.
private final class DumpSource: ByteSource {
    private let base: ChildOutput
    private let object: String
    private let atEnd: @Sendable () -> Void

    init(_ base: ChildOutput, object: String, atEnd: @escaping @Sendable () -> Void) {
        self.base = base
        self.object = object
        self.atEnd = atEnd
    }

    func next() throws -> Chunk? {
        do {
            if let chunk = try base.next() { return chunk }
        } catch let failure as ChildFailure {
            throw MongoError.dumpTool(failure, on: object)
        }
        atEnd()
        return nil
    }

    func cancel() { base.cancel() }
}
