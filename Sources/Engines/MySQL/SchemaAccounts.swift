import Core

/// Users and roles that have privileges on a database, or in whose name something of it runs, as statements that make
/// them: passwords as the server keeps them, hashed. Stored as the part ``partName``.
struct SchemaAccounts: Sendable {
    static let partName = "globals.sql"
    static let completionLine = "-- Users and grants complete"

    struct Account: Hashable, Sendable {
        var user: String
        /// `nil` for a role of MariaDB's, which has none.
        var host: String?

        init(user: String, host: String?) {
            self.user = user
            self.host = host
        }

        /// From `user@host` as the server writes definers; the last `@` divides.
        init(definer: String) {
            guard let at = definer.lastIndex(of: "@") else {
                self.init(user: definer, host: nil)
                return
            }
            let host = String(definer[definer.index(after: at)...])
            self.init(user: String(definer[..<at]), host: host.isEmpty ? nil : host)
        }

        var label: String { host.map { "\(user)@\($0)" } ?? user }
        var quoted: String { host.map { "\(quotedText(user))@\(quotedText($0))" } ?? quotedText(user) }
    }

    var text: [UInt8]
    /// What could not be read, for the manifest: counts, no names.
    var exceptions: [String]

    static func read(_ session: ServerSession, database: String, definers: [String]) async throws -> SchemaAccounts {
        var lines = ["-- Users and roles with privileges on the database, or in whose name something of it runs"]
        var exceptions: [String] = []
        do {
            let accounts = try await accounts(session, database, definers)
            var unknown = 0
            for account in accounts.sorted(by: { $0.label < $1.label }) {
                guard let statements = try await statements(session, account) else {
                    unknown += 1
                    continue
                }
                lines += statements
            }
            if unknown > 0 {
                exceptions.append("\(unknown) definers are no users of the server: what is theirs cannot run")
            }
        } catch let error as MySQLError where error.kind == .permission {
            lines = Array(lines.prefix(1))
            exceptions.append("users and grants are not in the set: the user may not read the database mysql")
        }
        lines.append(completionLine)
        return SchemaAccounts(text: Array((lines.joined(separator: "\n") + "\n").utf8), exceptions: exceptions)
    }

    private static let purpose = "read users and grants"

    private static func accounts(
        _ session: ServerSession, _ database: String, _ definers: [String]
    ) async throws -> Set<Account> {
        let name = quotedText(database)
        let rows = try await session.rows(
            """
            SELECT User, Host FROM mysql.db WHERE \(name) LIKE Db
            UNION SELECT User, Host FROM mysql.tables_priv WHERE Db = \(name)
            UNION SELECT User, Host FROM mysql.columns_priv WHERE Db = \(name)
            UNION SELECT User, Host FROM mysql.procs_priv WHERE Db = \(name)
            """, to: purpose)
        var accounts = Set(rows.map { Account(user: $0.text(0), host: $0.text(1).isEmpty ? nil : $0.text(1)) })
        accounts.formUnion(definers.map { Account(definer: $0) })
        let memberships = try await memberships(session)
        // Who has one of these roles, and the roles that these have.
        var before = 0
        while before != accounts.count {
            before = accounts.count
            for (member, role) in memberships where accounts.contains(role) || accounts.contains(member) {
                accounts.formUnion([member, role])
            }
        }
        return accounts.filter { !($0.user.isEmpty && $0.host == nil) && $0.user != "PUBLIC" }
    }

    private static func memberships(_ session: ServerSession) async throws -> [(member: Account, role: Account)] {
        if session.version.isMariaDB {
            return try await session.rows("SELECT User, Host, Role FROM mysql.roles_mapping", to: purpose).map {
                row in
                (
                    Account(user: row.text(0), host: row.text(1).isEmpty ? nil : row.text(1)),
                    Account(user: row.text(2), host: nil)
                )
            }
        }
        guard session.version.major >= 8 else { return [] }
        return try await session.rows(
            "SELECT TO_USER, TO_HOST, FROM_USER, FROM_HOST FROM mysql.role_edges", to: purpose
        ).map { row in
            (Account(user: row.text(0), host: row.text(1)), Account(user: row.text(2), host: row.text(3)))
        }
    }

    /// `nil` where there is no such account.
    private static func statements(_ session: ServerSession, _ account: Account) async throws -> [String]? {
        do {
            var lines: [String] = []
            if account.host == nil {
                lines.append("CREATE ROLE IF NOT EXISTS \(account.quoted)")
            } else {
                let made = try await session.row("SHOW CREATE USER \(account.quoted)", to: purpose).text(0)
                guard made.hasPrefix("CREATE USER ") else { return nil }
                lines.append("CREATE USER IF NOT EXISTS " + made.dropFirst("CREATE USER ".count))
            }
            lines += try await session.rows("SHOW GRANTS FOR \(account.quoted)", to: purpose).map { $0.text(0) }
            // One statement a line: a name with a line break would begin another.
            guard lines.allSatisfy({ !$0.utf8.contains(10) && !$0.utf8.contains(13) }) else { return nil }
            return lines.map { $0 + ";" }
        } catch let error as MySQLError where [1141, 1269, 1396, 1449, 3523].contains(error.number ?? 0) {
            return nil
        }
    }
}
