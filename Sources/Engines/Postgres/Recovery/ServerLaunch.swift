import Core
import Glibc

/// How a server is started on a cluster that was restored: everything that matters is given on its command line, which
/// overrules what the cluster brings along, `postgresql.auto.conf` too.
struct ServerLaunch: Sendable {
    /// What the server does when it starts.
    enum Purpose: Sendable {
        /// Follows the log to the target and is then an ordinary server, on a timeline of its own.
        case recover(RecoveryTarget?, restoreCommand: String)
        /// Opens a cluster that was shut down.
        case run
    }

    var purpose: Purpose
    /// Private to the cluster's owner: sockets, and the two files that stand in for the cluster's own.
    var socketDirectory: String
    var preloadLibraries: [String]
    /// What the server that wrote the log was set to, which recovery has to be able to hold.
    var control: ControlData

    static let port = 5432

    var settingsFile: String { "\(socketDirectory)/postgresql.conf" }
    var accessFile: String { "\(socketDirectory)/pg_hba.conf" }
    var identFile: String { "\(socketDirectory)/pg_ident.conf" }

    /// Only who may enter the directory of the socket gets in, and that is its owner (and root).
    static let access = "local all all trust\n"

    /// `major`: of the server that is started.
    func arguments(data: String, major: Int) -> [String] {
        var settings: [(String, String)] = [
            ("config_file", settingsFile), ("hba_file", accessFile), ("ident_file", identFile),
            ("external_pid_file", "\(socketDirectory)/pid"), ("listen_addresses", ""), ("port", String(Self.port)),
            ("unix_socket_directories", socketDirectory), ("unix_socket_permissions", "0700"), ("ssl", "off"),
            // Nothing that the cluster was told to do may happen again here.
            ("archive_mode", "off"), ("archive_command", ""), ("archive_cleanup_command", ""),
            ("recovery_end_command", ""), ("primary_conninfo", ""), ("primary_slot_name", ""),
            ("synchronous_standby_names", ""), ("autovacuum", "off"), ("max_logical_replication_workers", "0"),
            ("shared_preload_libraries", preloadLibraries.joined(separator: ",")),
            ("session_preload_libraries", ""), ("local_preload_libraries", ""),
            ("recovery_min_apply_delay", "0"),
            // What is damaged or missing has to end a recovery or a proof, whatever the cluster was told.
            ("zero_damaged_pages", "off"), ("ignore_checksum_failure", "off"), ("ignore_invalid_pages", "off"),
            ("restart_after_crash", "off"), ("unix_socket_group", ""), ("default_transaction_read_only", "off"),
            // Nobody reads from a server in recovery, so it need not match the other's limits.
            ("hot_standby", "off"), ("wal_level", "replica"), ("max_wal_senders", "0"),
            ("max_connections", "20"), ("max_prepared_transactions", String(max(control.preparedTransactions, 100))),
            ("max_locks_per_transaction", String(max(control.locksPerTransaction, 64))),
            ("track_commit_timestamp", control.tracksCommitTimes ? "on" : "off"),
            // What is written is flushed once, at the end, by whoever started this.
            ("fsync", "off"), ("full_page_writes", "off"), ("synchronous_commit", "off"),
            ("checkpoint_timeout", "1h"), ("max_wal_size", "1GB"), ("shared_buffers", "128MB"),
            ("huge_pages", "off"), ("max_parallel_workers_per_gather", "0"),
            ("max_parallel_maintenance_workers", "0"), ("jit", "off"),
            // Its log comes to us, and only known words of it are looked for.
            ("logging_collector", "off"), ("log_destination", "stderr"), ("log_line_prefix", "%e "),
            ("lc_messages", "C"), ("log_timezone", "UTC"), ("TimeZone", "UTC"), ("log_min_messages", "log"),
            ("log_min_error_statement", "panic"), ("log_statement", "none"), ("log_error_verbosity", "terse"),
            ("log_min_duration_statement", "-1"), ("log_connections", "off"), ("log_disconnections", "off"),
            ("log_checkpoints", "off"),
        ]
        if case .recover(let target, let restoreCommand) = purpose {
            settings += recovery(target, restoreCommand)
            // It would ask for segments after the target, which may be missing or damaged, and end where they are.
            if major >= 15 { settings.append(("recovery_prefetch", "off")) }
        }
        return ["-D", data] + settings.flatMap { ["-c", "\($0.0)=\($0.1)"] }
    }

    private func recovery(_ target: RecoveryTarget?, _ restoreCommand: String) -> [(String, String)] {
        // First none of them, then the one: of two at once the server refuses the second.
        var settings = [
            "recovery_target", "recovery_target_lsn", "recovery_target_name", "recovery_target_time",
            "recovery_target_xid",
        ].map { ($0, "") }
        settings += [("restore_command", restoreCommand), ("recovery_target_action", "promote")]
        settings.append(("recovery_target_timeline", target?.timeline.map(String.init) ?? "latest"))
        settings.append(("recovery_target_inclusive", target?.isInclusive ?? true ? "on" : "off"))
        switch target?.point {
        case nil: settings.append(("recovery_target", "immediate"))
        case .time(let microseconds)?:
            settings.append(("recovery_target_time", Self.text(microseconds: microseconds)))
        case .transaction(let identifier)?: settings.append(("recovery_target_xid", String(identifier)))
        case .lsn(let lsn)?: settings.append(("recovery_target_lsn", lsn.description))
        case .name(let name)?: settings.append(("recovery_target_name", name))
        case .latest?: break
        }
        return settings
    }

    /// `2026-01-02 03:04:05.678901+00`.
    static func text(microseconds: Int64) -> String {
        let (seconds, fraction) = microseconds.quotientAndRemainder(dividingBy: 1_000_000)
        let whole = fraction < 0 ? seconds - 1 : seconds
        let part = fraction < 0 ? fraction + 1_000_000 : fraction
        let date = Timestamp(milliseconds: whole * 1000).description.prefix(19).replacing("T", with: " ")
        let digits = String(part)
        return "\(date).\(String(repeating: "0", count: 6 - digits.utf8.count))\(digits)+00"
    }

    /// A word of a command that the server gives to a shell, in which `%` begins a name.
    static func shellWord(_ text: String) -> String {
        "'" + text.replacing("'", with: "'\\''").replacing("%", with: "%%") + "'"
    }
}

/// What `pg_controldata` says of a cluster.
struct ControlData: Equatable, Sendable {
    var systemIdentifier: String
    /// `shut down`, `in production`.
    var state: String
    var preparedTransactions: Int
    var locksPerTransaction: Int
    var tracksCommitTimes: Bool

    /// From its lines, as it writes them in English.
    init?(lines: [String]) {
        var fields: [String: String] = [:]
        for line in lines {
            guard let colon = line.firstIndex(of: ":") else { continue }
            fields[String(line[..<colon])] = line[line.index(after: colon)...].drop { $0 == " " }.description
        }
        guard let systemIdentifier = fields["Database system identifier"],
            let state = fields["Database cluster state"],
            let prepared = fields["max_prepared_xacts setting"].flatMap({ Int($0) }),
            let locks = fields["max_locks_per_xact setting"].flatMap({ Int($0) })
        else { return nil }
        self.systemIdentifier = systemIdentifier
        self.state = state
        preparedTransactions = prepared
        locksPerTransaction = locks
        tracksCommitTimes = fields["track_commit_timestamp setting"] == "on"
    }

    /// Reads a cluster's own.
    static func read(_ data: String, tools: ServerTools, owner: ClusterOwner?) async throws -> ControlData {
        let (ending, lines) = try await ServerProcess.run(
            tools.command("pg_controldata", ["-D", data], in: data, owner: owner))
        guard ending == .exited(0), let control = ControlData(lines: lines) else {
            throw PostgresError.recovery(
                "pg_controldata cannot read what the cluster says of itself",
                hint: "the files are not those of a version \(tools.major) cluster; take another set", on: data)
        }
        return control
    }
}
