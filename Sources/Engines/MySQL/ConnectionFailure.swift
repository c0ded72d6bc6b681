import Core

extension MySQLError {
    /// Why no session came about, by the number of server or library. Their words are not shown.
    static func connection(
        _ number: Int, isAboutTLS: Bool = false, endpoint: MySQLEndpoint, database: String?
    ) -> MySQLError {
        let database = database ?? endpoint.database
        let (kind, cause, hint): (Kind, String, String) =
            if isAboutTLS || number == 2026 {
                encryption(endpoint.tls)
            } else {
                refusal(number, endpoint, database)
            }
        return MySQLError(
            kind, "connect", object: endpoint.label(of: database), cause: cause, hint: hint,
            number: number == 0 ? nil : number)
    }

    private static func encryption(_ tls: MySQLEndpoint.TLS) -> (Kind, String, String) {
        (
            .encryption,
            tls.mode == .verified
                ? "TLS could not be agreed on, or the server's certificate is not trusted or is for another name"
                : "TLS could not be agreed on: the server may not offer it",
            "check MYSQL_SSL_MODE, MYSQL_SSL_CA and the server's certificate"
        )
    }

    private static func refusal(
        _ number: Int, _ endpoint: MySQLEndpoint, _ database: String
    ) -> (Kind, String, String) {
        switch number {
        case 1045, 1698, 1862:
            (
                .authentication, "the password of user \(endpoint.user) is wrong, or it may not come in from here",
                "check MYSQL_USER and MYSQL_PASSWORD (or MYSQL_PASSWORD_FILE), and the host the account is for"
            )
        case 1044:
            (
                .permission, "user \(endpoint.user) has no privilege on database '\(database)', or there is none",
                "GRANT it to the user, or correct MYSQL_DB"
            )
        case 1049:
            (
                .missingDatabase, "there is no database '\(database)' on this server",
                "check MYSQL_DB; SHOW DATABASES lists them"
            )
        case 1040, 1203, 1226:
            (
                .notReady, "the server has no connection to spare",
                "raise max_connections or the user's limit, or run again later"
            )
        case 1130, 1129:
            (
                .authentication, "the server does not let this machine in",
                "make an account for this host; after many failures FLUSH HOSTS is needed"
            )
        case 1053: (.notReady, "the server is shutting down", "run again once it accepts connections")
        case 1251, 1275, 1524, 2059:
            (
                .authentication, "the server asks for a way to log in that is not to be had here",
                "give the account another authentication plugin, or install the client's"
            )
        case 3159, 4151:
            (
                .encryption, "the server takes connections only with TLS",
                "set MYSQL_SSL_MODE to VERIFY_IDENTITY, and MYSQL_SSL_CA to the authority's file"
            )
        case 2005:
            (.unreachable, "the host's name is not known", "check MYSQL_HOST and the name service")
        case 2002 where endpoint.host.hasPrefix("/"):
            (
                .unreachable, "nothing listens at the socket, or it may not be opened",
                "check MYSQL_HOST, that the server runs, and that this user may open the socket"
            )
        case 2002, 2003, 2013:
            (
                .unreachable, "nothing answers there",
                "check MYSQL_HOST and MYSQL_PORT, that the server runs, and that a network policy lets us in"
            )
        default:
            (
                .unreachable, "no session could be opened (error \(number))",
                "look the number up in the manual ('Error Codes'); check MYSQL_HOST and MYSQL_PORT"
            )
        }
    }
}
