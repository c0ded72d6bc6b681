import Core

// Why a server cannot be backed up as a whole, by name.
extension PostgresError {
    private static let backUp = "back up the server"

    static func minimalLog(_ server: String) -> PostgresError {
        PostgresError(
            .configuration, backUp, object: server,
            cause: "its wal_level is minimal: its log does not say enough to start from a backup",
            hint: "set wal_level = replica (and max_wal_senders above 0) and restart the server")
    }

    static func noReplicatingClients(_ server: String) -> PostgresError {
        PostgresError(
            .configuration, backUp, object: server, cause: "its max_wal_senders is 0: it sends backups to nobody",
            hint: "set max_wal_senders = 10 and restart the server")
    }

    /// `places` are files and pages, as ``DamagedPages`` gives them.
    static func damagedPages(_ places: [String], more: Int, on server: String) -> PostgresError {
        let named = places.isEmpty ? "" : ": " + places.joined(separator: ", ")
        return PostgresError(
            .query, backUp, object: server,
            cause: "pages on the server's disk fail their checksums" + named + (more > 0 ? " and \(more) more" : ""),
            hint: """
                the disk is losing data, and nothing was stored: keep the earlier sets, look at the server's log, and \
                restore what is damaged (pg_amcheck and pg_filenode_relation() say what it is)
                """,
            sqlState: dataCorrupted)
    }

    static func promotedMidway(_ server: String) -> PostgresError {
        PostgresError(
            .query, backUp, object: server,
            cause: "the standby was promoted while it was backed up, and no such backup can be started from",
            hint: "nothing was stored; run again", sqlState: wrongState)
    }

    private static func unsafeStandby(_ server: String) -> PostgresError {
        PostgresError(
            .configuration, backUp, object: server,
            cause:
                "the primary of this standby writes no full pages to its log, so that a backup taken here may be torn",
            hint: "set full_page_writes = on at the primary, or back up the primary", sqlState: wrongState)
    }

    private static func removedLog(_ server: String) -> PostgresError {
        PostgresError(
            .query, backUp, object: server,
            cause: "the server removed a part of its log that the backup needs before it was sent",
            hint: "raise wal_keep_size, or back up at a quieter time; nothing was stored", sqlState: missingFile)
    }

    private static let dataCorrupted = "XX001"
    private static let wrongState = "55000"
    private static let missingFile = "58P01"

    /// What the refusal of BASE_BACKUP with this code means. `wasStandby` is what the server was when the backup began,
    /// `isStandby` asks what it is now.
    static func refusedBackup(
        _ error: PostgresError, damaged: DamagedPages, wasStandby: Bool, isStandby: () throws -> Bool
    ) -> PostgresError {
        switch error.sqlState {
        case dataCorrupted:
            let (places, more) = damaged.found
            return .damagedPages(places, more: more, on: error.object)
        case wrongState where wasStandby:
            do {
                return try isStandby() ? .unsafeStandby(error.object) : .promotedMidway(error.object)
            } catch {
                break
            }
        case missingFile: return .removedLog(error.object)
        default: break
        }
        return error
    }
}

/// The places that a server names in its warnings while it verifies the checksums of its pages. Of a warning only what
/// has the form of a file of a table or index is kept; the rest of its words goes nowhere.
final class DamagedPages: Sendable {
    private static let mostKept = 8
    private static let roots = ["base/", "global/", "pg_tblspc/"]

    private struct State {
        var files: [String] = []
        var more = 0
        // One file's warnings come one after another.
        var last: String?
    }

    private let state = Guarded(State())

    /// The files in the order in which they came, and how many more there were.
    var found: ([String], more: Int) { state.withLock { ($0.files, more: $0.more) } }

    /// Looks at a warning, in whatever language.
    func note(_ warning: String) {
        guard let file = Self.file(in: warning) else { return }
        state.withLock { state in
            guard file != state.last else { return }
            state.last = file
            if state.files.count < Self.mostKept { state.files.append(file) } else { state.more += 1 }
        }
    }

    /// `base/16384/2619` out of `… failed in file "./base/16384/2619", block 0 …`.
    static func file(in warning: String) -> String? {
        for root in roots {
            guard let range = warning.firstRange(of: root) else { continue }
            let path = warning[range.lowerBound...].prefix { character in
                character.isASCII && (character.isNumber || character.isLetter || "_./".contains(character))
            }
            let name = path.split(separator: "/").last ?? ""
            guard name.first?.isNumber == true, !path.contains("..") else { continue }
            return String(path)
        }
        return nil
    }
}
