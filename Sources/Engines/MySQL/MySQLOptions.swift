/// What may be chosen about how this engine works: `MYSQL_LOCK_TABLES`, `MYSQL_RESTORE_WRITERS`, and how long to wait.
package struct MySQLOptions: Sendable {
    /// What becomes of writes to the database that is replaced, between its safety backup and the exchange.
    package enum Writers: String, CaseIterable, Sendable {
        /// There may be none: what is taken away is compared with the safety set, and the restore ends with the
        /// original in place where they differ.
        case compare
        /// They stay in the replaced copy, which is kept; the restore goes on.
        case keep
    }

    /// Hold a read lock on every table while the database is dumped, for tables that take part in no transaction
    /// (MyISAM, Aria, MEMORY). Writers wait for as long as the dump takes.
    package var locksTables: Bool
    package var writers: Writers
    /// Seconds that a statement waits for what others hold.
    package var lockWait: Int
    /// How often the exchange is tried while others hold the tables.
    package var exchangeAttempts: Int
    /// Between two questions whether a tool's session works.
    package var heartbeat: Duration
    /// How long a safety backup waits for the same run to put right what an interrupted restore has left.
    package var recoveryWait: Duration

    package init(
        locksTables: Bool = false, writers: Writers = .compare, lockWait: Int = 10, exchangeAttempts: Int = 6,
        heartbeat: Duration = .seconds(5), recoveryWait: Duration = .seconds(600)
    ) {
        self.locksTables = locksTables
        self.writers = writers
        self.lockWait = lockWait
        self.exchangeAttempts = exchangeAttempts
        self.heartbeat = heartbeat
        self.recoveryWait = recoveryWait
    }
}
