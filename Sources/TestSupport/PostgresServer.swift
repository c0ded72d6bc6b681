import Core
import Glibc

/// A throwaway PostgreSQL for tests: a cluster of its own in a new directory under `/tmp`, reached over a socket in
/// that directory, removed with everything in it when the test process ends, in whatever way it ends.
///
/// It runs as the operating system's user `postgres` where the tests run as root, which `initdb` refuses. Its
/// superuser is `postgres`. Data is not synced to disk: a crash of the machine may lose it, nothing else can.
package final class PostgresServer: Sendable {
    package struct Options: Sendable {
        /// With a password every connection, by socket too, needs it (SCRAM); without one everybody is let in.
        package var password: String?
        /// Listen on 127.0.0.1 too, at a free port.
        package var listensOnLoopback = false
        /// Further settings of the server, as in `postgresql.conf`.
        package var settings: [String: String] = [:]
        /// Major version; `nil` takes the newest one installed.
        package var major: Int?
        /// Its pages have checksums.
        package var hasChecksums = false
        /// The server it is a standby of, which has no tablespaces and lets everybody in.
        package var primary: PostgresServer?
        /// MiB of a segment of the log; `nil` for the usual 16.
        package var walSegmentSize: Int?

        package init(
            password: String? = nil, listensOnLoopback: Bool = false, settings: [String: String] = [:],
            major: Int? = nil, hasChecksums: Bool = false, primary: PostgresServer? = nil,
            walSegmentSize: Int? = nil
        ) {
            self.password = password
            self.listensOnLoopback = listensOnLoopback
            self.settings = settings
            self.major = major
            self.hasChecksums = hasChecksums
            self.primary = primary
            self.walSegmentSize = walSegmentSize
        }
    }

    /// Where this version's `postgres`, `pg_dump` and `psql` are.
    package let binaries: String
    /// The directory of the socket: what `POSTGRES_HOST` is set to.
    package let host: String
    package let port: Int
    package let password: String?
    /// The cluster's own directory, for tests that look at its files.
    package let dataDirectory: String

    private let guardian: ServerGuardian
    private let databases = Guarded(0)

    private init(binaries: String, directory: String, port: Int, password: String?, guardian: ServerGuardian) {
        self.binaries = binaries
        host = directory
        dataDirectory = directory + "/data"
        self.port = port
        self.password = password
        self.guardian = guardian
    }

    private static let sharedServer = Task { try await start() }

    /// One server for all tests of this process, because starting one costs a second or two. Tests share it, so each
    /// makes databases and roles of its own; see ``createDatabase(_:)``.
    package static func shared() async throws -> PostgresServer { try await sharedServer.value }

    /// Starts a server of the test's own.
    package static func start(_ options: Options = Options()) async throws -> PostgresServer {
        let binaries = try Self.binaries(major: options.major)
        let directory = try ServerGuardian.makeDirectory("lifeboat-pg")
        let port = options.listensOnLoopback ? try ServerGuardian.freePort() : 5432
        let guardian = try await ServerGuardian.start(
            guardianScript, guardianArguments(binaries: binaries, directory: directory, port: port, options))
        return PostgresServer(
            binaries: binaries, directory: directory, port: port, password: options.password, guardian: guardian)
    }

    /// Stops the server and waits until its directory is gone. Harmless twice.
    package func stop() async throws { try await guardian.stop() }

    /// A connection string for `database`.
    package func url(database: String = "postgres", user: String = "postgres") -> String {
        let secret = password.map { ":" + Self.percentEncoded($0) } ?? ""
        return "postgresql://\(Self.percentEncoded(user))\(secret)@/\(Self.percentEncoded(database))"
            + "?host=\(Self.percentEncoded(host))&port=\(port)"
    }

    /// What the clients of this server need in their environment.
    package var environment: [String: String] {
        var environment = ["PGHOST": host, "PGPORT": String(port), "PGUSER": "postgres"]
        environment["PGPASSWORD"] = password
        return environment
    }

    /// Runs `text` in `database` through psql, stopping at the first error, which it throws with psql's words.
    /// Returns what the queries gave: unaligned, without headers, a line per row.
    @discardableResult
    package func sql(_ text: String, database: String = "postgres", user: String = "postgres") async throws -> String
    {
        let output = try await run(
            "psql", ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-U", user],
            input: Array(text.utf8))
        var result = String(decoding: output, as: UTF8.self)
        if result.hasSuffix("\n") { result.removeLast() }
        return result
    }

    /// Makes an empty database whose name no other test of this server has, and returns the name.
    package func createDatabase(_ prefix: String = "test", options: String = "") async throws -> String {
        let number = databases.withLock { count in
            count += 1
            return count
        }
        let name = "\(prefix)_\(number)"
        try await sql("CREATE DATABASE \"\(name)\" TEMPLATE template0 \(options)")
        return name
    }

    /// `pg_dump` of `database`, in memory.
    package func dump(_ database: String, _ arguments: [String] = []) async throws -> [UInt8] {
        try await run("pg_dump", arguments + ["-d", database])
    }

    /// Runs one of PostgreSQL's programs against this server and returns its standard output, at most 1 GiB.
    /// Throws ``TestFailure`` with its standard error where it does not exit 0.
    package func run(_ program: String, _ arguments: [String], input: [UInt8] = []) async throws -> [UInt8] {
        try await runClient("\(binaries)/\(program)", arguments, adding: environment, input: input)
    }

    private static func percentEncoded(_ text: String) -> String {
        text.utf8.map { byte in
            let character = Character(UnicodeScalar(byte))
            let isPlain = byte < 128 && (character.isLetter || character.isNumber || "-._~".contains(character))
            return isPlain ? String(character) : "%" + hexText([byte]).uppercased()
        }.joined()
    }
}

/// Something a test needs went wrong outside what it tests.
package struct TestFailure: Error, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }
}

extension PostgresServer {
    /// The major versions whose server is installed, newest first.
    package static var installedMajors: [Int] {
        guard let folder = opendir(installationRoot) else { return [] }
        defer { closedir(folder) }
        var majors: [Int] = []
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if let major = Int(name), access("\(installationRoot)/\(name)/bin/initdb", X_OK) == 0 {
                majors.append(major)
            }
        }
        return majors.sorted(by: >)
    }

    package static var isInstalled: Bool { !installedMajors.isEmpty }

    private static var installationRoot: String { "/usr/lib/postgresql" }

    private static func binaries(major: Int?) throws -> String {
        guard let chosen = major ?? installedMajors.first, installedMajors.contains(chosen) else {
            throw TestFailure("no PostgreSQL server \(major.map(String.init) ?? "") in \(installationRoot)")
        }
        return "\(installationRoot)/\(chosen)/bin"
    }

    /// Makes, starts and guards the server, and removes it as soon as its standard input ends. That happens when the
    /// test process asks for it and also when it dies, so that even a crashed test leaves no server behind.
    private static let guardianScript = #"""
        set -eu
        trap '' INT TERM HUP
        binaries=$1 directory=$2 port=$3 secret=$4 options=$5 primary=$6 primary_port=$7
        shift 7
        as_postgres=
        if [ "$(id -u)" = 0 ]; then
            as_postgres="setpriv --reuid=postgres --regid=postgres --clear-groups"
            chown postgres: "$directory"
            chmod 755 "$directory"
        fi
        pid=
        clean_up() {
            if [ -n "$pid" ]; then
                kill -QUIT "$pid" || true
                while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
            fi
            rm -rf "$directory"
        }
        trap clean_up EXIT
        cd "$directory"
        authentication=trust
        if [ -n "$secret" ]; then
            authentication=scram-sha-256
            (umask 077; printf '%s\n' "$secret" > secret)
            if [ -n "$as_postgres" ]; then chown postgres: secret; fi
        fi
        if [ -n "$primary" ]; then
            $as_postgres "$binaries/pg_basebackup" -h "$primary" -p "$primary_port" -U postgres -D "$directory/data" \
                -R -X stream -c fast --no-sync > initdb.log 2>&1 || { cat initdb.log >&2; exit 1; }
        else
            $as_postgres "$binaries/initdb" -D "$directory/data" -U postgres -A "$authentication" --no-sync $options \
                --encoding=UTF8 --locale=C.UTF-8 ${secret:+--pwfile=secret} > initdb.log 2>&1 ||
                { cat initdb.log >&2; exit 1; }
        fi
        $as_postgres "$binaries/postgres" -D "$directory/data" -k "$directory" "$@" \
            </dev/null > server.log 2>&1 &
        pid=$!
        until "$binaries/pg_isready" -q -h "$directory" -p "$port"; do
            kill -0 "$pid" 2>/dev/null || { cat server.log >&2; exit 1; }
            sleep 0.05
        done
        echo ready
        cat >/dev/null
        """#

    /// Of initdb, which are words without white space.
    private static func makerOptions(_ options: Options) -> String {
        var words = options.hasChecksums ? ["--data-checksums"] : []
        if let size = options.walSegmentSize { words.append("--wal-segsize=\(size)") }
        return words.joined(separator: " ")
    }

    private static func guardianArguments(
        binaries: String, directory: String, port: Int, _ options: Options
    ) -> [String] {
        var settings = [
            "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "60",
            // Tests need slots and prepared transactions, as things that are bound to a database.
            "wal_level": "logical", "max_prepared_transactions": "10", "max_wal_senders": "10",
            "listen_addresses": options.listensOnLoopback ? "127.0.0.1" : "", "port": String(port),
            "log_min_messages": "log", "max_wal_size": "4GB",
        ]
        settings.merge(options.settings) { _, wanted in wanted }
        return [
            binaries, directory, String(port), options.password ?? "", makerOptions(options),
            options.primary?.host ?? "", String(options.primary?.port ?? 0),
        ]
            + settings.sorted { $0.key < $1.key }.flatMap { ["-c", "\($0.key)=\($0.value)"] }
    }
}
