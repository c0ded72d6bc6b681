import Core

/// What belongs to a database and stands in no dump of it: its own settings, and what a server must know to take it.
/// Stored as the part ``partName``, as JSON.
struct SchemaProperties: Equatable, Sendable {
    static let partName = "database.json"

    var name: String
    var characterSet: String
    var collation: String
    /// Every collation that a table or column has.
    var collations: [String]
    var engines: [String]
    /// `user@host` of every view, routine, trigger and event.
    var definers: [String]

    static func read(_ session: ServerSession, database: String) async throws -> SchemaProperties {
        let purpose = "read the database's properties"
        let name = quotedText(database)
        let row = try await session.rows(
            """
            SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA
            WHERE SCHEMA_NAME = \(name)
            """, to: purpose
        ).first
        guard let row else {
            throw MySQLError.connection(ErrorNumber.unknownDatabase, endpoint: session.endpoint, database: database)
        }
        func texts(_ statement: String) async throws -> [String] {
            try await session.rows(statement, to: purpose).map { $0.text(0) }
        }
        return SchemaProperties(
            name: database, characterSet: row.text(0), collation: row.text(1),
            collations: try await texts(
                """
                SELECT TABLE_COLLATION FROM information_schema.TABLES
                WHERE TABLE_SCHEMA = \(name) AND TABLE_COLLATION IS NOT NULL
                UNION SELECT COLLATION_NAME FROM information_schema.COLUMNS
                WHERE TABLE_SCHEMA = \(name) AND COLLATION_NAME IS NOT NULL ORDER BY 1
                """),
            engines: try await texts(
                """
                SELECT DISTINCT ENGINE FROM information_schema.TABLES
                WHERE TABLE_SCHEMA = \(name) AND ENGINE IS NOT NULL ORDER BY 1
                """),
            definers: try await texts(
                """
                SELECT DEFINER FROM information_schema.VIEWS WHERE TABLE_SCHEMA = \(name)
                UNION SELECT DEFINER FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = \(name)
                UNION SELECT DEFINER FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = \(name)
                UNION SELECT DEFINER FROM information_schema.EVENTS WHERE EVENT_SCHEMA = \(name) ORDER BY 1
                """))
    }

    var json: JSON {
        .object([
            "name": .string(name), "characterSet": .string(characterSet), "collation": .string(collation),
            "collations": .array(collations.map { .string($0) }), "engines": .array(engines.map { .string($0) }),
            "definers": .array(definers.map { .string($0) }),
        ])
    }

    init(
        name: String, characterSet: String, collation: String, collations: [String], engines: [String],
        definers: [String]
    ) {
        self.name = name
        self.characterSet = characterSet
        self.collation = collation
        self.collations = collations
        self.engines = engines
        self.definers = definers
    }

    init(json: JSON) throws(JSONFieldError) {
        var fields = try JSONFields(json, path: "")
        name = try fields.string("name")
        characterSet = try fields.string("characterSet")
        collation = try fields.string("collation")
        collations = try fields.strings("collations")
        engines = try fields.strings("engines")
        definers = try fields.strings("definers")
        try fields.finish()
    }

    /// Gives `database` the character set and collation that the set's had.
    func statement(for database: String) throws -> String {
        // Names of character sets are plain words; nothing else is put into a statement.
        let isPlain = [characterSet, collation].allSatisfy { name in
            !name.isEmpty
                && name.utf8.allSatisfy {
                    $0 == 0x5F || (0x30...0x39).contains($0) || (0x61...0x7A).contains($0 | 0x20)
                }
        }
        guard isPlain else {
            throw MySQLError.damagedPart(Self.partName, "a character set's name is none")
        }
        return "ALTER DATABASE \(backticked(database)) CHARACTER SET \(characterSet) COLLATE \(collation)"
    }
}
