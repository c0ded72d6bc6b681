import Core
import Streams

/// Makes roles that a set names and the server lacks. Roles that are there are left alone, whatever the set says.
struct RoleMaker {
    struct Statement: Equatable {
        var text: String
        var role: String
        var makesRole: Bool
    }

    let connection: Connection
    let destination: Destination

    /// Without login, privileges, passwords and memberships: old globals must not give back what was taken away since.
    func powerlessStatements(for roles: [String]) -> [Statement] {
        roles.flatMap { role in
            [Statement(text: "CREATE ROLE \(quoted(name: role)) NOLOGIN", role: role, makesRole: true)]
                + membership(in: role)
        }
    }

    /// Only a member may give objects to a role; a superuser may anyway.
    private func membership(in role: String) -> [Statement] {
        guard !destination.role.isSuperuser else { return [] }
        let options = destination.major >= 16 ? " WITH INHERIT TRUE, SET TRUE" : ""
        return [
            Statement(
                text: "GRANT \(quoted(name: role)) TO \(quoted(name: destination.role.name))\(options)", role: role,
                makesRole: false)
        ]
    }

    /// As the set's globals have them: every role there that is not on the server, with its passwords, settings and
    /// memberships, and those of `needed` that the globals do not know, without.
    func fullStatements(from parts: any PartOpener, needed: [String]) async throws -> [Statement] {
        let source = try await parts.open(PostgresDatabase.PartName.globals)
        let statements = Guarded(GlobalsStatements())
        try await pull(source, named: "globals") { chunk in try statements.withLock { try $0.add(chunk) } }
        let globals = statements.value
        let present = Set(
            try await connection.rows("SELECT rolname FROM pg_roles", to: "list the server's roles").map {
                $0.text(0)
            })
        let known = globals.roles.filter { !present.contains($0) && !$0.hasPrefix("pg_") }
        let unknown = needed.filter { !known.contains($0) }
        return globals.statements(making: Set(known)) + known.flatMap(membership) + powerlessStatements(for: unknown)
    }
}

/// The statements about roles in what pg_dumpall wrote.
struct GlobalsStatements: Sendable {
    private enum Subject: Equatable {
        case creation(String)
        case property(String)
        case membership(of: String)
    }

    private var all: [(subject: Subject, text: String)] = []
    private var lexer = DumpLexer()

    /// Roles in the order in which they are made.
    var roles: [String] {
        all.compactMap { if case .creation(let role) = $0.subject { role } else { nil } }
    }

    mutating func add(_ chunk: Chunk) throws {
        let bytes = chunk.bytes
        var offset = 0
        while offset < bytes.count {
            let event: DumpLexer.Event?
            do {
                event = try lexer.next(bytes, &offset)
            } catch {
                throw PostgresError.damagedPart(PostgresDatabase.PartName.globals, error.reason)
            }
            guard case .statement = event else { continue }
            if !lexer.isLong { take(lexer.text) }
            lexer.startStatement()
        }
    }

    private mutating func take(_ text: [UInt8]) {
        let statement = DumpStatement(text, standardStrings: lexer.standardStrings)
        guard let subject = Self.subject(of: statement), let words = String(validating: text, as: UTF8.self) else {
            return
        }
        all.append((subject, words))
    }

    private static func subject(of statement: DumpStatement) -> Subject? {
        if statement.begins("CREATE", "ROLE") { return statement.name(2).map { .creation($0) } }
        if statement.begins("ALTER", "ROLE") {
            // Settings in one database are the business of that database's own set.
            return statement.isWord(3, "IN") ? nil : statement.name(2).map { .property($0) }
        }
        if statement.begins("COMMENT", "ON", "ROLE") { return statement.name(3).map { .property($0) } }
        if statement.isWord(0, "GRANT"), statement.isWord(2, "TO") {
            return statement.name(3).map { .membership(of: $0) }
        }
        return nil
    }

    /// What makes `roles` and nothing else.
    func statements(making roles: Set<String>) -> [RoleMaker.Statement] {
        all.compactMap { entry in
            switch entry.subject {
            case .creation(let role) where roles.contains(role):
                .init(text: entry.text, role: role, makesRole: true)
            case .property(let role) where roles.contains(role),
                .membership(of: let role) where roles.contains(role):
                .init(text: Self.withoutGrantor(entry.text), role: role, makesRole: false)
            default: nil
            }
        }
    }

    /// Who granted a membership there may be nobody here.
    private static func withoutGrantor(_ text: String) -> String {
        guard text.utf8.starts(with: "GRANT ".utf8), let range = text.firstRange(of: " GRANTED BY ") else {
            return text
        }
        return String(text[..<range.lowerBound])
    }
}
