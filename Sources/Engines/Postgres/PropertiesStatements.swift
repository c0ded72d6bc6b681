extension DatabaseProperties {
    /// Settings whose value is a list of names. Given as one text they would become a list of a single odd name.
    /// The same table stands in PostgreSQL's `src/bin/pg_dump/dumputils.c`, `variable_is_guc_list_quote`.
    private static let lists: Set<String> = [
        "local_preload_libraries", "search_path", "session_preload_libraries", "shared_preload_libraries",
        "temp_tablespaces", "unix_socket_directories",
    ]

    /// `CREATE DATABASE` of an empty one under `name` that can take the dump.
    ///
    /// From `template0`, so that nothing a site has put into `template1` is there twice. `connectionLimit` marks it as
    /// ours from its first instant.
    func creation(as name: String, connectionLimit: Int, serverMajor: Int) -> String {
        var options = [
            "TEMPLATE template0", "ENCODING \(quoted(literal: encoding))", "LC_COLLATE \(quoted(literal: collate))",
            "LC_CTYPE \(quoted(literal: ctype))",
        ]
        if serverMajor >= 15 {
            options.append("LOCALE_PROVIDER \(localeProvider.rawValue)")
            switch (localeProvider, locale) {
            case (.icu, let locale?): options.append("ICU_LOCALE \(quoted(literal: locale))")
            case (.builtin, let locale?): options.append("BUILTIN_LOCALE \(quoted(literal: locale))")
            default: break
            }
            if let icuRules { options.append("ICU_RULES \(quoted(literal: icuRules))") }
        }
        if tablespace != "pg_default" { options.append("TABLESPACE \(quoted(name: tablespace))") }
        options.append("CONNECTION LIMIT \(connectionLimit)")
        return "CREATE DATABASE \(quoted(name: name)) WITH " + options.joined(separator: " ")
    }

    /// Gives the database called `database` this owner, these privileges, settings and limits. Each may run in a
    /// transaction; the comment is the caller's.
    func statements(for database: String) -> [String] {
        let target = "DATABASE \(quoted(name: database))"
        var statements = [
            // First the owner: changing it rewrites the privileges.
            "ALTER \(target) OWNER TO \(quoted(name: owner))",
            "REVOKE ALL ON \(target) FROM PUBLIC, \(quoted(name: owner))",
        ]
        statements += grants.map { grant in
            "GRANT \(grant.privilege) ON \(target) TO \(grant.grantee.map { quoted(name: $0) } ?? "PUBLIC")"
                + (grant.isGrantable ? " WITH GRANT OPTION" : "")
        }
        statements += settings.map { setting in
            (setting.role.map { "ALTER ROLE \(quoted(name: $0)) IN \(target)" } ?? "ALTER \(target)")
                + " SET \(Self.name(of: setting)) TO \(Self.value(of: setting))"
        }
        statements.append("ALTER \(target) WITH CONNECTION LIMIT \(connectionLimit) IS_TEMPLATE \(isTemplate)")
        return statements
    }

    /// The setting of an extension has two parts, `myapp.mode`.
    private static func name(of setting: DatabaseSetting) -> String {
        setting.name.split(separator: ".", omittingEmptySubsequences: false).map { quoted(name: String($0)) }
            .joined(separator: ".")
    }

    private static func value(of setting: DatabaseSetting) -> String {
        guard lists.contains(setting.name.lowercased()) else { return quoted(literal: setting.value) }
        let names = listedNames(setting.value)
        return names.isEmpty ? "''" : names.map { quoted(literal: $0) }.joined(separator: ", ")
    }

    /// The names in a list as the server keeps it: `"$user", public`.
    static func listedNames(_ list: String) -> [String] {
        var names: [String] = []
        var name = ""
        var isQuoted = false
        var wasQuoted = false
        var characters = Array(list.unicodeScalars)[...]
        func finished() -> String {
            wasQuoted ? name : name.drop { $0 == " " }.description.trimmingTrailingSpaces()
        }
        while let character = characters.popFirst() {
            switch character {
            case "\"" where isQuoted && characters.first == "\"":
                name.append("\"")
                characters.removeFirst()
            case "\"":
                if !isQuoted { name = "" }
                isQuoted.toggle()
                wasQuoted = true
            case "," where !isQuoted:
                names.append(finished())
                name = ""
                wasQuoted = false
            case " " where wasQuoted && !isQuoted: break
            default: name.unicodeScalars.append(character)
            }
        }
        names.append(finished())
        return names == [""] && !wasQuoted ? [] : names
    }
}

extension String {
    fileprivate func trimmingTrailingSpaces() -> String {
        var text = self
        while text.last == " " { text.removeLast() }
        return text
    }
}
