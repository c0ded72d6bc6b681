import Core
import Glibc
import Streams

/// Where the programs of MariaDB or MySQL are looked for.
package struct MySQLToolSearch: Sendable {
    /// In this order. A program in an earlier one wins over an equally fitting one in a later.
    package var directories: [String]

    package init(directories: [String]) { self.directories = directories }

    /// `override` (`MYSQL_BIN`) alone where it is set, else `path` (`PATH`) and the usual places.
    package static func standard(path: String?, override: String?) -> MySQLToolSearch {
        if let override, !override.isEmpty { return MySQLToolSearch(directories: [override]) }
        let onPath = (path ?? "").split(separator: ":").map(String.init).filter { $0.hasPrefix("/") }
        let usual = ["/usr/bin", "/usr/local/bin", "/usr/local/mysql/bin", "/usr/local/mariadb/bin"]
        return MySQLToolSearch(directories: onPath + usual.filter { !onPath.contains($0) })
    }

    /// The program for `use` that goes with a server of version `server`: of the same product and series where there is
    /// one, else the next newer; never an older one, which does not know all that the server has, nor the other
    /// product's, whose dumps differ.
    func find(_ use: ClientProgram.Use, for server: ServerVersion, at place: String) async throws -> ClientProgram {
        var newer: ClientProgram?
        var unfit: ClientProgram?
        for directory in directories {
            for name in use.names where access("\(directory)/\(name)", X_OK) == 0 {
                guard let program = try await Self.look(at: "\(directory)/\(name)", name: name) else { continue }
                if program.version.isSeries(of: server) { return program }
                if program.version.isMariaDB == server.isMariaDB, program.version > server {
                    if newer.map({ program.version < $0.version }) ?? true { newer = program }
                } else {
                    unfit = program
                }
            }
        }
        if let newer { return newer }
        throw missing(use, unfit, for: server, at: place)
    }

    private func missing(
        _ use: ClientProgram.Use, _ unfit: ClientProgram?, for server: ServerVersion, at place: String
    ) -> MySQLError {
        let name = server.isMariaDB ? use.names[0] : use.names[1]
        let hint =
            "install the \(server.product) client \(server.major).\(server.minor) or newer, or set MYSQL_BIN to the "
            + "directory that has it"
        if let unfit {
            return MySQLError(
                .toolVersion, "find the program", object: name,
                cause:
                    "what is here is \(unfit.version.product) \(unfit.version.text), and the server on \(place) is "
                    + "\(server.product) \(server.text)", hint: hint)
        }
        let searched = directories.isEmpty ? "the searched places" : directories.joined(separator: ", ")
        return MySQLError(
            .tool, "find the program", object: name, cause: "it is in none of \(searched)", hint: hint)
    }

    /// Asks the program for its version; `nil` for something that gives none, which is no such program.
    private static func look(at path: String, name: String) async throws -> ClientProgram? {
        let command = ChildCommand(
            executable: path, arguments: ["--no-defaults", "--version"],
            environment: ClientProgram.baseEnvironment, label: name)
        do {
            return ClientProgram(path: path, name: name, versionLine: try await runChild(command, outputLimit: 4096))
        } catch is ChildFailure {
            return nil
        } catch is ObjectTooLarge {
            return nil
        }
    }
}

/// A program of a known version.
struct ClientProgram: Sendable {
    enum Use: Sendable {
        case dump, load

        /// MariaDB's name, and the older one that MySQL's has too.
        var names: [String] {
            switch self {
            case .dump: ["mariadb-dump", "mysqldump"]
            case .load: ["mariadb", "mysql"]
            }
        }
    }

    let path: String
    let name: String
    let version: ServerVersion

    /// Messages in English, so that the few known ones can be told apart.
    static let baseEnvironment = ["PATH": "/usr/bin:/bin", "LC_ALL": "C"]

    /// From what `--version` prints, in one of these forms:
    ///
    ///     mariadb-dump  Ver 10.19 Distrib 10.11.6-MariaDB, for debian-linux-gnu (x86_64)
    ///     mariadb-dump from 11.4.2-MariaDB, client 10.19 for debian-linux-gnu (x86_64)
    ///     mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)
    ///     mysqldump  Ver 10.13 Distrib 5.7.44, for Linux (x86_64)
    init?(path: String, name: String, versionLine: [UInt8]) {
        let line = String(decoding: versionLine, as: UTF8.self)
        let isMariaDB = line.contains("MariaDB")
        for marker in ["Distrib ", " from ", "Ver "] {
            guard let found = line.firstRange(of: marker) else { continue }
            let text = line[found.upperBound...].prefix { $0.isNumber || $0 == "." }
            guard let version = ServerVersion(String(text) + (isMariaDB ? "-MariaDB" : "")) else { continue }
            self.path = path
            self.name = name
            self.version = version
            return
        }
        return nil
    }
}

/// The programs for one server, with what they need to get in.
struct ClientPrograms: Sendable {
    let dump: ClientProgram
    let load: ClientProgram
    private let dumpOptions: DefaultsFile
    private let loadOptions: DefaultsFile

    init(_ engine: MySQLDatabase, server: ServerVersion) async throws {
        let place = engine.endpoint.server
        dump = try await engine.toolSearch.find(.dump, for: server, at: place)
        load = try await engine.toolSearch.find(.load, for: server, at: place)
        dumpOptions = try DefaultsFile(for: engine.endpoint, isMariaDB: dump.version.isMariaDB)
        loadOptions = try DefaultsFile(for: engine.endpoint, isMariaDB: load.version.isMariaDB)
    }

    /// What of a database is dumped.
    struct DumpScope: Sendable {
        /// Rows too.
        var hasRows = true
        /// Tables and views; triggers, routines and events.
        var hasTables = true
        var hasCode = true
        /// Under a lock on every table instead of in one transaction.
        var locksTables = false
        /// Where the binary log stands at the picture.
        var hasPosition = false
        /// The server knows GTIDs and the program can print them.
        var hasGTID = false
    }

    /// Dumps `database` as text. Nothing is left out beyond `scope`: no option that names or excludes objects.
    func dumpCommand(database: String, _ scope: DumpScope) -> ChildCommand {
        var arguments = ["--defaults-file=\(dumpOptions.path)"]
        arguments +=
            scope.locksTables ? ["--skip-single-transaction", "--lock-tables"] : ["--single-transaction", "--quick"]
        arguments += [
            "--hex-blob", "--default-character-set=utf8mb4", "--no-tablespaces", "--comments",
            "--max-allowed-packet=1G",
        ]
        arguments += scope.hasCode ? ["--routines", "--events", "--triggers"] : ["--skip-triggers"]
        if !scope.hasRows { arguments.append("--no-data") }
        if !scope.hasTables { arguments.append("--no-create-info") }
        if dump.version.isMariaDB {
            if scope.hasPosition { arguments.append("--master-data=2") }
            if scope.hasPosition, scope.hasGTID { arguments.append("--gtid") }
        } else {
            arguments.append("--set-gtid-purged=OFF")
            // Counts of values that only the optimiser of another server would like to have.
            if dump.version.major >= 8 { arguments.append("--skip-column-statistics") }
            if scope.hasPosition {
                let isNew = dump.version >= ServerVersion(isMariaDB: false, 8, 0, 26)
                arguments.append(isNew ? "--source-data=2" : "--master-data=2")
            }
        }
        // An option in front could be taken for the name otherwise.
        return inLargePieces(command(dump, arguments + ["--", database]))
    }

    /// The tool writes 4 KiB at a time, and every piece is a call into the system and a word to whoever waits at the
    /// other end of the pipe: coreutils' `stdbuf`, where it is installed, makes those fewer. Pieces of a mebibyte were
    /// measured to be slower again.
    private func inLargePieces(_ command: ChildCommand) -> ChildCommand {
        let program = "/usr/bin/stdbuf"
        guard access(program, X_OK) == 0 else { return command }
        var buffered = command
        buffered.executable = program
        buffered.arguments = ["--output=256K", command.executable] + command.arguments
        return buffered
    }

    /// Reads statements from its standard input into `database`; the first error ends it. The client's own commands
    /// are shut off, and no file of ours can be asked for.
    func loadCommand(database: String) -> ChildCommand {
        command(
            load,
            [
                "--defaults-file=\(loadOptions.path)", "--batch", "--binary-mode", "--comments",
                "--disable-local-infile", "--skip-reconnect", "--default-character-set=utf8mb4",
                "--max-allowed-packet=1G", "--", database,
            ])
    }

    private func command(_ program: ClientProgram, _ arguments: [String]) -> ChildCommand {
        ChildCommand(
            executable: program.path, arguments: arguments, environment: ClientProgram.baseEnvironment,
            label: program.name)
    }
}
