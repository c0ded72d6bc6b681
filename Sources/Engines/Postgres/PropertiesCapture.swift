import Core

extension DatabaseProperties {
    /// Reads the properties of the database that `connection` is in. In the transaction whose picture the dump takes,
    /// so that both are of the same instant.
    static func capture(_ connection: Connection) async throws -> DatabaseProperties {
        let purpose = "read the database's properties"
        // As JSON, because the columns for locales have other names in other versions.
        let row = try await connection.row(
            """
            SELECT d.datname, pg_get_userbyid(d.datdba), pg_encoding_to_char(d.encoding), d.datcollate, d.datctype,
                coalesce(j->>'datlocprovider', 'c'), coalesce(j->>'datlocale', j->>'daticulocale'),
                j->>'daticurules', d.datistemplate, d.datconnlimit, shobj_description(d.oid, 'pg_database'),
                t.spcname
            FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace, to_jsonb(d) j
            WHERE d.datname = current_database()
            """, to: purpose)
        return DatabaseProperties(
            name: row.text(0), owner: row.text(1), encoding: row.text(2), collate: row.text(3), ctype: row.text(4),
            localeProvider: ["i": .icu, "b": .builtin][row.text(5)] ?? .libc, locale: row[6], icuRules: row[7],
            isTemplate: row.bool(8), connectionLimit: row.integer(9), grants: try await grants(connection, purpose),
            comment: MarkedComment(row[10]).text, settings: try await settings(connection, purpose),
            tablespace: row.text(11), tablespaces: try await tablespaces(connection, purpose),
            extensions: try await extensions(connection, purpose), roles: try await roles(connection, purpose))
    }

    /// With the defaults written out, so that a database without an explicit list is restored as one with that list.
    private static func grants(_ connection: Connection, _ purpose: String) async throws -> [DatabaseGrant] {
        try await connection.rows(
            """
            SELECT r.rolname, a.privilege_type, bool_or(a.is_grantable)
            FROM pg_database d
                CROSS JOIN LATERAL aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
                LEFT JOIN pg_roles r ON r.oid = a.grantee
            WHERE d.datname = current_database() AND (a.grantee = 0 OR r.rolname IS NOT NULL)
            GROUP BY 1, 2 ORDER BY 1 NULLS FIRST, 2
            """, to: purpose
        ).map { DatabaseGrant(grantee: $0[0], privilege: $0.text(1), isGrantable: $0.bool(2)) }
    }

    private static func settings(_ connection: Connection, _ purpose: String) async throws -> [DatabaseSetting] {
        try await connection.rows(
            """
            SELECT r.rolname, split_part(c, '=', 1), substr(c, strpos(c, '=') + 1)
            FROM pg_db_role_setting s CROSS JOIN LATERAL unnest(s.setconfig) WITH ORDINALITY u(c, n)
                LEFT JOIN pg_roles r ON r.oid = s.setrole
            WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
                AND (s.setrole = 0 OR r.rolname IS NOT NULL)
            ORDER BY r.rolname NULLS FIRST, n
            """, to: purpose
        ).map { DatabaseSetting(role: $0[0], name: $0.text(1), value: $0.text(2)) }
    }

    private static func tablespaces(_ connection: Connection, _ purpose: String) async throws -> [String] {
        try await connection.rows(
            """
            SELECT DISTINCT t.spcname FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace
            WHERE t.spcname <> 'pg_global' ORDER BY 1
            """, to: purpose
        ).map { $0.text(0) }
    }

    /// Those that somebody added: what every database is born with is not worth a word.
    private static func extensions(_ connection: Connection, _ purpose: String) async throws -> [String] {
        try await connection.rows(
            "SELECT extname FROM pg_extension WHERE oid >= 16384 ORDER BY 1", to: purpose
        ).map { $0.text(0) }
    }

    /// The server keeps no record of what depends on the role it was born with (oid 10), so the privileges in which it
    /// is named are looked through; what it owns shows in the dump.
    private static func roles(_ connection: Connection, _ purpose: String) async throws -> [String] {
        try await connection.rows(
            """
            SELECT r.rolname FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid
            WHERE s.refclassid = 'pg_authid'::regclass
                AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
            UNION
            SELECT r.rolname FROM pg_roles r WHERE r.oid = 10 AND EXISTS (
                SELECT 1 FROM (
                    SELECT relacl acl FROM pg_class WHERE oid >= 16384
                    UNION ALL SELECT nspacl FROM pg_namespace WHERE oid >= 16384
                    UNION ALL SELECT proacl FROM pg_proc WHERE oid >= 16384
                    UNION ALL SELECT typacl FROM pg_type WHERE oid >= 16384
                    UNION ALL SELECT defaclacl FROM pg_default_acl
                ) x CROSS JOIN LATERAL aclexplode(x.acl) a WHERE 10 IN (a.grantee, a.grantor))
            ORDER BY 1
            """, to: purpose
        ).map { $0.text(0) }
    }
}
