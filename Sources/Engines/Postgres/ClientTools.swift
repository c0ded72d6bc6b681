import Core
import Glibc
import Streams

/// Where PostgreSQL's own programs are looked for.
package struct ToolSearch: Sendable {
    /// In this order. A program in an earlier one wins over the same version in a later one.
    package var directories: [String]

    package init(directories: [String]) { self.directories = directories }

    /// `override` (`POSTGRES_BIN`) alone where it is set, else the places where Debian and Red Hat put each major
    /// version, newest first, then `path` (`PATH`).
    package static func standard(path: String?, override: String?) -> ToolSearch {
        if let override, !override.isEmpty { return ToolSearch(directories: [override]) }
        let debian = entries(of: "/usr/lib/postgresql").map { "/usr/lib/postgresql/\($0)/bin" }
        let redHat = entries(of: "/usr").filter { $0.hasPrefix("pgsql-") }.map { "/usr/\($0)/bin" }
        let onPath = (path ?? "").split(separator: ":").map(String.init).filter { $0.hasPrefix("/") }
        return ToolSearch(directories: debian + redHat + onPath)
    }

    private static func entries(of directory: String) -> [String] {
        guard let folder = opendir(directory) else { return [] }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        // By number, so that 15 comes before 9.
        return names.sorted { (leadingNumber($0), $0) > (leadingNumber($1), $1) }
    }

    private static func leadingNumber(_ name: String) -> Int {
        Int(name.drop { !$0.isNumber }.prefix { $0.isNumber }) ?? 0
    }

    /// The program `name` whose version goes with a server of major version `serverMajor`: the same where there is
    /// one, else the next newer; never an older one, which does not know all that the server has.
    func find(_ name: String, serverMajor: Int, server: String) async throws -> Tool {
        var newer: Tool?
        var older: Tool?
        for directory in directories where access("\(directory)/\(name)", X_OK) == 0 {
            guard let tool = try await Self.look(at: "\(directory)/\(name)", name: name) else { continue }
            if tool.major == serverMajor { return tool }
            if tool.major > serverMajor {
                if newer.map({ tool.major < $0.major }) ?? true { newer = tool }
            } else if older.map({ tool.major > $0.major }) ?? true {
                older = tool
            }
        }
        if let newer { return newer }
        let hint =
            "install the package postgresql-client-\(serverMajor), or set POSTGRES_BIN to the directory that has it"
        if let older {
            throw PostgresError(
                .toolVersion, "find the program", object: name,
                cause:
                    "the newest here is version \(older.version), older than the server's \(serverMajor) on \(server)",
                hint: hint)
        }
        throw PostgresError(
            .tool, "find the program", object: name,
            cause:
                "it is in none of \(directories.isEmpty ? "the searched places" : directories.joined(separator: ", "))",
            hint: hint)
    }

    /// Asks the program for its version; `nil` for something that gives none, which is no such program.
    static func look(at path: String, name: String) async throws -> Tool? {
        let command = ChildCommand(
            executable: path, arguments: ["--version"], environment: Tool.baseEnvironment, label: name)
        do {
            return Tool(path: path, name: name, versionLine: try await runChild(command, outputLimit: 4096))
        } catch is ChildFailure {
            return nil
        } catch is ObjectTooLarge {
            return nil
        }
    }
}

/// A program of a known version.
struct Tool: Sendable {
    let path: String
    let name: String
    /// `15.20`.
    let version: String
    let major: Int

    /// Messages in English, so that the few known ones can be told apart.
    static let baseEnvironment = ["PATH": "/usr/bin:/bin", "LC_ALL": "C"]

    /// From what `--version` prints: `pg_dump (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)`.
    init?(path: String, name: String, versionLine: [UInt8]) {
        let line = String(decoding: versionLine, as: UTF8.self)
        guard let marker = line.firstRange(of: "(PostgreSQL) ") else { return nil }
        let version = line[marker.upperBound...].prefix { !$0.isWhitespace }
        guard let major = Int(version.prefix { $0.isNumber }) else { return nil }
        self.path = path
        self.name = name
        self.version = String(version)
        self.major = major
    }
}

/// The programs for one server, with what they need to get in.
struct ClientTools: Sendable {
    let endpoint: PostgresEndpoint
    /// `15` for 15.20.
    let serverMajor: Int
    let passFile: PassFile?

    init(endpoint: PostgresEndpoint, serverMajor: Int) throws {
        self.endpoint = endpoint
        self.serverMajor = serverMajor
        passFile = try PassFile(for: endpoint)
    }

    /// `tool` with `arguments`, connected to `database`. `settings` hold for its sessions, beyond those that all our
    /// sessions have. `application` is what the server's list of sessions shows.
    func command(
        _ tool: Tool, _ arguments: [String], database: String, application: String, settings: [String: String] = [:]
    ) throws -> ChildCommand {
        var environment = try endpoint.toolEnvironment().merging(Tool.baseEnvironment) { _, ours in ours }
        environment["PGHOST"] = endpoint.host
        environment["PGPORT"] = String(endpoint.port)
        environment["PGUSER"] = endpoint.user
        environment["PGAPPNAME"] = application
        environment["PGOPTIONS"] = endpoint.options(adding: sessionOptions(settings))
        environment["PGPASSFILE"] = passFile?.path ?? "/dev/null"
        let connection = try endpoint.connectionString(database: database)
        return ChildCommand(
            executable: tool.path, arguments: arguments + ["--no-password", "--dbname=\(connection)"],
            environment: environment, label: tool.name)
    }

    private func sessionOptions(_ settings: [String: String]) -> String {
        var settings = settings
        if serverMajor >= 14 { settings["idle_session_timeout"] = "0" }
        if serverMajor >= 17 { settings["transaction_timeout"] = "0" }
        return settings.sorted { $0.key < $1.key }
            .reduce(PostgresEndpoint.sessionOptions) { "\($0) -c \($1.key)=\($1.value)" }
    }
}
