import Core
import Glibc

/// A throwaway MariaDB for tests: a server of its own in a new directory under `/tmp`, reached over a socket in that
/// directory, removed with everything in it when the test process ends, in whatever way it ends.
///
/// It runs as the operating system's user `mysql` where the tests run as root. Its administrator is `root`. Data is not
/// synced to disk: a crash of the machine may lose it, nothing else can.
package final class MariaDBServer: Sendable {
    package struct Options: Sendable {
        /// Of the administrator; without one it is let in over the socket.
        package var password: String?
        /// Listen on 127.0.0.1 too, at a free port.
        package var listensOnLoopback = false
        /// Write a binary log, so that there is a position to record.
        package var hasBinaryLog = true
        /// Further settings of the server, as in `my.cnf`: `["max_allowed_packet": "1M"]`.
        package var settings: [String: String] = [:]

        package init(
            password: String? = nil, listensOnLoopback: Bool = false, hasBinaryLog: Bool = true,
            settings: [String: String] = [:]
        ) {
            self.password = password
            self.listensOnLoopback = listensOnLoopback
            self.hasBinaryLog = hasBinaryLog
            self.settings = settings
        }
    }

    /// The directory of the socket `mysqld.sock`: what `MYSQL_HOST` is set to.
    package let host: String
    /// Of the loopback, where it listens there.
    package let port: Int
    package let password: String?
    /// For tests that look at its files.
    package let dataDirectory: String
    /// Where the clients are.
    package static let binaries = "/usr/bin"

    private let guardian: ServerGuardian
    private let databases = Guarded(0)

    private init(directory: String, port: Int, password: String?, guardian: ServerGuardian) {
        host = directory
        dataDirectory = directory + "/data"
        self.port = port
        self.password = password
        self.guardian = guardian
    }

    private static let sharedServer = Task { try await start() }

    /// One server for all tests of this process, because starting one costs a second or two. Tests share it, so each
    /// makes databases and users of its own; see ``createDatabase(_:options:)``.
    package static func shared() async throws -> MariaDBServer { try await sharedServer.value }

    /// Starts a server of the test's own.
    package static func start(_ options: Options = Options()) async throws -> MariaDBServer {
        let directory = try ServerGuardian.makeDirectory("lifeboat-my")
        let port = options.listensOnLoopback ? try ServerGuardian.freePort() : 3306
        var settings = [
            "innodb-flush-log-at-trx-commit": "0", "sync-binlog": "0", "innodb-buffer-pool-size": "64M",
            "innodb-log-file-size": "64M", "max-connections": "120", "performance-schema": "0",
            "character-set-server": "utf8mb4", "max-allowed-packet": "64M",
        ]
        settings.merge(options.settings) { _, wanted in wanted }
        var arguments = settings.sorted { $0.key < $1.key }.map { "--\($0.key)=\($0.value)" }
        if options.hasBinaryLog { arguments += ["--log-bin=\(directory)/data/binlog", "--server-id=1"] }
        arguments +=
            options.listensOnLoopback ? ["--bind-address=127.0.0.1", "--port=\(port)"] : ["--skip-networking"]
        let secret = (options.password ?? "").replacing("\\", with: "\\\\").replacing("'", with: "\\'")
        let guardian = try await ServerGuardian.start(guardianScript, [directory, secret] + arguments)
        return MariaDBServer(directory: directory, port: port, password: options.password, guardian: guardian)
    }

    /// Stops the server and waits until its directory is gone. Harmless twice.
    package func stop() async throws { try await guardian.stop() }

    /// Runs `text` in `database` through the client, stopping at the first error, which it throws with the client's
    /// words. Returns what the queries gave: a line per row, values between tabs, without headers.
    @discardableResult
    package func sql(_ text: String, database: String? = nil, user: String = "root") async throws -> String {
        let output = try await run(
            "mariadb", ["--batch", "--skip-column-names", "--user=\(user)"] + (database.map { [$0] } ?? []),
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
        try await sql("CREATE DATABASE `\(name)` \(options)")
        return name
    }

    /// Runs one of MariaDB's clients against this server and returns its standard output, at most 1 GiB. Throws
    /// ``TestFailure`` with its standard error where it does not exit 0.
    package func run(_ program: String, _ arguments: [String], input: [UInt8] = []) async throws -> [UInt8] {
        let user = arguments.contains { $0.hasPrefix("--user=") } ? [] : ["--user=root"]
        return try await runClient(
            "\(Self.binaries)/\(program)",
            ["--no-defaults", "--socket=\(host)/mysqld.sock", "--default-character-set=utf8mb4"] + user + arguments,
            adding: password.map { ["MYSQL_PWD": $0] } ?? [:], input: input)
    }

    /// Makes, starts and guards the server, and removes it as soon as its standard input ends.
    private static let guardianScript = #"""
        set -eu
        trap '' INT TERM HUP
        directory=$1 secret=$2
        shift 2
        user=$(id -un)
        if [ "$(id -u)" = 0 ]; then
            if id mysql >/dev/null 2>&1; then user=mysql; fi
            chown "$user" "$directory"
        fi
        chmod 755 "$directory"
        # Temporary tables are called by the process's number, which servers in different containers may share.
        mkdir "$directory/tmp"
        chown "$user" "$directory/tmp"
        export TMPDIR="$directory/tmp"
        pid=
        clean_up() {
            if [ -n "$pid" ]; then
                kill -KILL "$pid" || true
                while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
            fi
            rm -rf "$directory"
        }
        trap clean_up EXIT
        cd "$directory"
        mariadb-install-db --no-defaults --user="$user" --datadir="$directory/data" --skip-test-db \
            --auth-root-authentication-method=normal > install.log 2>&1 || { cat install.log >&2; exit 1; }
        PATH=$PATH:/usr/sbin mariadbd --no-defaults --user="$user" --datadir="$directory/data" \
            --socket="$directory/mysqld.sock" --pid-file="$directory/pid" "$@" </dev/null > server.log 2>&1 &
        pid=$!
        until mariadb --no-defaults --socket="$directory/mysqld.sock" --user=root -e 'SELECT 1' >/dev/null 2>&1; do
            kill -0 "$pid" 2>/dev/null || { cat server.log >&2; exit 1; }
            sleep 0.05
        done
        if [ -n "$secret" ]; then
            # Whoever comes over the loopback is the same user, by its name or by its address.
            printf "ALTER USER root@localhost IDENTIFIED BY '%s', root@127.0.0.1 IDENTIFIED BY '%s';" \
                "$secret" "$secret" | mariadb --no-defaults --socket="$directory/mysqld.sock" --user=root || exit 1
        fi
        echo ready
        cat >/dev/null
        """#
}

extension RealPart {
    package static var mariadb: RealPart {
        let programs = ["/usr/sbin/mariadbd", "/usr/bin/mariadb-install-db", "/usr/bin/mariadb-dump"]
        let isThere = programs.allSatisfy { path in access(path, X_OK) == 0 }
        return RealPart("a MariaDB server", isPresent: isThere)
    }
}
