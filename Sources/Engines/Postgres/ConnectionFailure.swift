import Core

extension PostgresError {
    /// Why no session came about. `message` is libpq's, which may quote the server: it is only matched, never shown.
    /// Sessions are opened at the verbosity that reduces the server's part to a SQLSTATE, so that this works in any
    /// language the server speaks.
    static func connection(
        _ message: String, endpoint: PostgresEndpoint, database: String
    ) -> PostgresError {
        let operation = "connect"
        let object = endpoint.label(of: database)
        if let sqlState = sqlState(in: message) {
            return refusedLogin(sqlState, endpoint: endpoint, database: database)
        }
        if let words = encryptionPatterns.first(where: { message.contains($0.pattern) }) {
            return PostgresError(
                .encryption, operation, object: object, cause: words.cause,
                hint: "check sslmode, sslrootcert and the server's certificate")
        }
        if message.contains("no password supplied") {
            return PostgresError(
                .authentication, operation, object: object, cause: "the server asks for a password, and none is set",
                hint: "set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE")
        }
        let cause = networkPatterns.first { message.contains($0.pattern) }?.cause ?? "no session could be opened"
        return PostgresError(
            .unreachable, operation, object: object, cause: cause,
            hint: "check POSTGRES_HOST and POSTGRES_PORT, that the server runs, and that a network policy lets us in")
    }

    /// The code in a message of libpq's, `FATAL:  28P01`.
    static func sqlState(in message: String) -> String? {
        for severity in ["FATAL:", "ERROR:", "PANIC:"] {
            var rest = Substring(message)
            while let range = rest.firstRange(of: severity) {
                let code = rest[range.upperBound...].drop { $0 == " " }.prefix(5)
                let after = rest[code.endIndex...].first
                if code.utf8.count == 5, code.utf8.allSatisfy(isCodeByte), after.map(\.isWhitespace) ?? true {
                    return String(code)
                }
                rest = rest[range.upperBound...]
            }
        }
        return nil
    }

    private static func isCodeByte(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
            || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
    }

    private static func refusedLogin(
        _ sqlState: String, endpoint: PostgresEndpoint, database: String
    ) -> PostgresError {
        let (kind, cause, hint): (Kind, String, String) =
            switch sqlState {
            case "28P01":
                (
                    .authentication, "the password of role \(endpoint.user) is wrong, or there is no such role",
                    "check POSTGRES_USER and POSTGRES_PASSWORD (or POSTGRES_PASSWORD_FILE)"
                )
            case "28000":
                (
                    .authentication,
                    "the server does not let role \(endpoint.user) in from here, or has no such role",
                    "check POSTGRES_USER, the server's pg_hba.conf, and whether it asks for TLS (PGSSLMODE)"
                )
            case "3D000":
                (
                    .missingDatabase, "there is no database '\(database)' on this server",
                    "check POSTGRES_DB; 'psql -l' lists the databases"
                )
            case "42501":
                (
                    .permission, "role \(endpoint.user) may not connect to the database",
                    "GRANT CONNECT ON DATABASE … TO the role, or use another one"
                )
            case "53300":
                (
                    .notReady, "the server has no connection to spare",
                    "raise max_connections or the limits of the database and role, or run again later"
                )
            case "55000":
                (
                    .permission, "the database does not accept connections",
                    "ALTER DATABASE … ALLOW_CONNECTIONS true, if it is meant to be used"
                )
            case "08P01":
                (
                    .configuration, "what answers takes no settings at login, as a pooler does",
                    "connect to the server itself: dumps and restores need sessions of their own"
                )
            case "57P03":
                (
                    .notReady, "the server is starting, stopping or recovering",
                    "run again once it accepts connections"
                )
            default:
                (
                    .query, "the server answered with SQLSTATE \(sqlState)",
                    "look the code up in the manual ('PostgreSQL Error Codes'); the server's log says more"
                )
            }
        return PostgresError(
            kind, "connect", object: endpoint.label(of: database), cause: cause, hint: hint, sqlState: sqlState)
    }

    private struct Words {
        let pattern: String
        let cause: String
    }

    private static let encryptionPatterns = [
        Words(pattern: "does not support SSL", cause: "the server does not offer TLS"),
        Words(pattern: "certificate verify failed", cause: "the server's certificate is not trusted"),
        Words(pattern: "server certificate for", cause: "the server's certificate is for another name"),
        Words(pattern: "root certificate file", cause: "the file of trusted certificates is not there"),
        Words(pattern: "SSL error", cause: "TLS could not be agreed on"),
        Words(pattern: "certificate", cause: "a certificate could not be used"),
    ]

    private static let networkPatterns = [
        Words(pattern: "Connection refused", cause: "the connection was refused: nothing listens there"),
        Words(pattern: "No such file or directory", cause: "there is no socket there: the server does not run"),
        Words(pattern: "could not translate host name", cause: "the host's name is not known"),
        Words(pattern: "No route to host", cause: "there is no route to the host"),
        Words(pattern: "Network is unreachable", cause: "the network is unreachable"),
        Words(pattern: "timeout expired", cause: "no answer in time"),
        Words(pattern: "Connection timed out", cause: "no answer in time"),
        Words(pattern: "Permission denied", cause: "the socket may not be opened by this user"),
        Words(pattern: "closed the connection unexpectedly", cause: "the server closed the connection at once"),
    ]
}
