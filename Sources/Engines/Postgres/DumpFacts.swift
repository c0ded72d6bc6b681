package import Core

/// What a dump needs from the server it is loaded into, beside the tools.
package struct DumpFacts: Equatable, Sendable {
    /// Roles that own something; loading gives it to them.
    package var owners: Set<String> = []
    /// Roles named by privileges, default privileges, policies and user mappings.
    package var grantees: Set<String> = []
    package var extensions: Set<String> = []
    package var tablespaces: Set<String> = []
    /// As the dump states them: `15.20 (Debian 15.20-0+deb12u1)`.
    package var serverVersion: String?
    package var clientVersion: String?
    /// The dump shuts psql's commands off by itself (`\restrict`). Where it does not, whoever loads it with a psql
    /// that knows the command should.
    package var usesRestrict = false

    /// Every role the dump names.
    package var roles: Set<String> { owners.union(grantees) }

    mutating func add(_ statement: DumpStatement) {
        if statement.isWord(0, "ALTER") {
            if let index = statement.index(of: "OWNER", "TO") { addRole(statement.name(index + 2), to: \.owners) }
            if statement.begins("ALTER", "DEFAULT", "PRIVILEGES") { addPrivileges(statement) }
        } else if statement.isWord(0, "GRANT") || statement.isWord(0, "REVOKE") {
            addPrivileges(statement)
        } else if statement.begins("CREATE", "POLICY") {
            if let index = statement.index(of: "TO") { addRoles(statement, from: index + 1) }
        } else if statement.begins("CREATE", "USER", "MAPPING"), let index = statement.index(of: "FOR") {
            addRole(statement.name(index + 1), to: \.grantees)
        } else if statement.begins("CREATE", "EXTENSION") {
            let name = statement.isWord(2, "IF") ? 5 : 2
            if let name = statement.name(name) { extensions.insert(name) }
        } else if statement.begins("SET", "SESSION", "AUTHORIZATION") {
            addRole(statement.string(3) ?? statement.name(3), to: \.grantees)
        }
    }

    private mutating func addPrivileges(_ statement: DumpStatement) {
        if let index = statement.index(of: "FOR", "ROLE") {
            addRole(statement.name(index + 2), to: \.grantees)
        }
        if let index = statement.index(of: "GRANTED", "BY") {
            addRole(statement.name(index + 2), to: \.grantees)
        }
        let grants = statement.index(of: "GRANT") != nil
        let last = statement.tokens.indices.last { index in
            statement.tokens[index].depth == 0 && statement.isWord(index, grants ? "TO" : "FROM")
        }
        if let last { addRoles(statement, from: last + 1) }
    }

    private mutating func addRoles(_ statement: DumpStatement, from start: Int) {
        var index = start
        repeat {
            addRole(statement.name(index), to: \.grantees)
            index += 2
        } while statement.isSymbol(index - 1, ",")
    }

    private mutating func addRole(_ name: String?, to set: WritableKeyPath<DumpFacts, Set<String>>) {
        let isKeyword = ["PUBLIC", "CURRENT_USER", "SESSION_USER", "CURRENT_ROLE", "DEFAULT"].contains(name)
        if let name, !name.isEmpty, !isKeyword { self[keyPath: set].insert(name) }
    }
}

/// What was found in a whole dump of a database.
package struct DumpSummary: Equatable, Sendable {
    package var contents: Contents
    package var facts: DumpFacts
}

/// What was found in a whole dump of roles and tablespaces.
package struct GlobalsSummary: Equatable, Sendable {
    /// In the dump's order.
    package var roles: [String] = []
    package var tablespaces: [String] = []
    package var usesRestrict = false
}
