import Core
import Glibc

/// Finds everything that would stop a restore, in one go, without changing anything.
struct SchemaPreflight {
    let session: ServerSession
    let destination: DestinationSchema
    let request: RestoreRequest
    let properties: SchemaProperties
    let accounts: [String]

    private(set) var problems: [String] = []
    private(set) var notes: [String] = []
    /// Accounts of the set that are to be made.
    private(set) var missingAccounts: [SchemaAccounts.Account] = []
    private(set) var freeBytes: Int64?

    let neededBytes: Int64

    init(
        session: ServerSession, destination: DestinationSchema, request: RestoreRequest,
        properties: SchemaProperties, accounts: [String]
    ) {
        self.session = session
        self.destination = destination
        self.request = request
        self.properties = properties
        self.accounts = accounts
        // The data, and the log of writing it.
        let size = request.manifest.sourceSize
        neededBytes = size / 10 * 13 + size % 10 * 13 / 10
    }

    mutating func add(problem: String) { problems.append(problem) }
    mutating func add(note: String) { notes.append(note) }

    mutating func run() async throws {
        checkDestination()
        checkVersion()
        try await checkServer()
        try await checkPrivileges()
        try await checkDefiners()
        try await checkCollations()
        try await checkEngines()
        try await checkReferences()
        checkDisk()
    }

    private mutating func checkDestination() {
        let name = destination.name
        if name.unicodeScalars.count > SchemaNaming.longestName {
            problems.append("'\(name)' is longer than the \(SchemaNaming.longestName) characters a name may have")
        }
        let own = ["mysql", "information_schema", "performance_schema", "sys", SchemaNaming.books]
        if own.contains(name.lowercased()) {
            problems.append("'\(name)' is the server's own and is not replaced")
        }
        if !destination.exists, !request.createDatabase, name != properties.name {
            problems.append(
                "there is no database '\(name)' (set createDatabase to have it made, or correct the name)")
        }
        if name != properties.name, request.contents.schema.contains(where: { $0.type != "TABLE" }) {
            notes.append(
                "routines, triggers and events that name the database '\(properties.name)' in their text go on naming it"
            )
        }
    }

    private mutating func checkVersion() {
        let details = request.manifest.details
        let product = details[DatabaseSnapshot.Detail.product] ?? ""
        guard let text = details[DatabaseSnapshot.Detail.serverVersion],
            let version = ServerVersion(text + (product == "MariaDB" ? "-MariaDB" : ""))
        else {
            problems.append("the set does not say which version of the server it is from")
            return
        }
        let here = destination.version
        if version.isMariaDB != here.isMariaDB {
            problems.append("the set is from \(version.product), and the server here is \(here.product)")
        } else if (here.major, here.minor) < (version.major, version.minor) {
            problems.append(
                "the set is from version \(version.text), and the server here is \(here.text): restore on "
                    + "\(version.major).\(version.minor) or newer")
        } else if !here.isSeries(of: version) {
            notes.append("the set is from version \(version.text), the server here is \(here.text)")
        }
    }

    private mutating func checkServer() async throws {
        let details = request.manifest.details
        if let names = details[DatabaseSnapshot.Detail.lowerCaseTableNames].flatMap({ Int64($0) }),
            (names == 0) != (destination.lowerCaseTableNames == 0)
        {
            problems.append(
                "names of tables differ by case on one of the two servers and not on the other "
                    + "(lower_case_table_names)")
        }
        if destination.isReadOnly {
            problems.append("the server is read-only (restore on the primary, or switch read_only off)")
        }
        if let longest = details[DatabaseSnapshot.Detail.longestStatement].flatMap({ Int64($0) }),
            longest >= destination.longestPacket
        {
            problems.append(
                "the longest row needs max_allowed_packet above \(longest) bytes, and the server has "
                    + "\(destination.longestPacket)")
        }
    }

    private mutating func checkPrivileges() async throws {
        let privileges = try await Privileges.read(session)
        let user = try await session.row("SELECT CURRENT_USER()", to: "see who we are").text(0)
        let missing = privileges.missingForRestore(
            isMariaDB: destination.version.isMariaDB,
            foreignDefiners: properties.definers.contains { $0 != user })
        if !missing.isEmpty {
            problems.append("user \(user) lacks \(missing.joined(separator: ", "))")
        }
        let hasFunctions = request.contents.schema.contains { $0.type == "FUNCTION" || $0.type == "TRIGGER" }
        if hasFunctions, destination.hasBinaryLog, !destination.trustsFunctionCreators,
            !privileges.holdsEverywhere("SUPER")
        {
            problems.append(
                "while the server writes a binary log only an administrator (SUPER) may make functions and triggers "
                    + "(or set log_bin_trust_function_creators)")
        }
    }

    /// A view or routine whose definer is not there can be made, and fails whoever uses it.
    private mutating func checkDefiners() async throws {
        let purpose = "look at the server's users"
        var known: Set<String>
        do {
            known = Set(
                try await session.rows(
                    "SELECT CONCAT(User, IF(Host = '', '', '@'), Host) FROM mysql.user", to: purpose
                )
                .map { $0.text(0) })
        } catch let error as MySQLError where error.kind == .permission {
            if !properties.definers.isEmpty {
                problems.append(
                    "whether the definers \(properties.definers.joined(separator: ", ")) exist cannot be seen "
                        + "(GRANT SELECT ON mysql.user to the user)")
            }
            return
        }
        let made = Set(accounts.compactMap(Self.account).map(\.label))
        if request.restoreRoles == .full {
            missingAccounts = accounts.compactMap(Self.account).filter { !known.contains($0.label) }
            if !missingAccounts.isEmpty {
                notes.append(
                    "users and roles to be made, as the set has them: "
                        + missingAccounts.map(\.label).joined(separator: ", "))
            }
            known.formUnion(made)
        }
        let definers = properties.definers.map { $0.hasSuffix("@") ? String($0.dropLast()) : $0 }
        let missing = definers.filter { !known.contains($0) }
        guard !missing.isEmpty else { return }
        let inSet = missing.filter { made.contains($0) }
        problems.append(
            "definers do not exist here: \(missing.joined(separator: ", ")) (make them first"
                + (inSet.isEmpty
                    ? ")" : ", or set restoreRoles to full: the set has \(inSet.joined(separator: ", ")))"))
    }

    /// Of a statement that makes a user or a role.
    static func account(_ statement: String) -> SchemaAccounts.Account? {
        let tokens = SQLStatement(Array(statement.utf8), delimiter: [], plainBackslashes: false)
        guard tokens.isWord(0, "CREATE"), tokens.isWord(2, "IF") else { return nil }
        func text(_ index: Int) -> String? {
            if let name = tokens.name(index) { return name }
            let raw = tokens.text(index)
            guard raw.count >= 2, raw.hasPrefix("'") else { return nil }
            return String(raw.dropFirst().dropLast())
        }
        guard let user = text(5) else { return nil }
        return SchemaAccounts.Account(user: user, host: tokens.isSymbol(6, "@") ? text(7) : nil)
    }

    private mutating func checkCollations() async throws {
        // Since 10.10 a collation's name there is without that of its character set.
        let here = destination.version
        let hasFullNames = here.isMariaDB && (here.major, here.minor) >= (10, 10)
        let wanted = Set(properties.collations + [properties.collation])
        let known = Set(
            try await session.rows(
                """
                SELECT COLLATION_NAME FROM information_schema.COLLATIONS UNION
                SELECT \(hasFullNames ? "FULL_COLLATION_NAME" : "COLLATION_NAME")
                FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY
                """, to: "look at the server's collations"
            ).map { $0.text(0) })
        let missing = wanted.subtracting(known).sorted()
        if !missing.isEmpty {
            problems.append("the server does not know the collations \(missing.joined(separator: ", "))")
        }
    }

    private mutating func checkEngines() async throws {
        let known = Set(
            try await session.rows(
                "SELECT UPPER(ENGINE) FROM information_schema.ENGINES WHERE SUPPORT IN ('YES', 'DEFAULT')",
                to: "look at the server's storage engines"
            ).map { $0.text(0) })
        let missing = properties.engines.filter { !known.contains($0.uppercased()) }
        if !missing.isEmpty {
            problems.append("the server does not have the storage engines \(missing.joined(separator: ", "))")
        }
        // What such tables consist of is elsewhere, and cannot be exchanged by name.
        let remote = properties.engines.filter {
            ["MRG_MYISAM", "FEDERATED", "CONNECT", "SPIDER", "S3"].contains($0.uppercased())
        }
        if !remote.isEmpty {
            problems.append(
                "tables of the storage engines \(remote.joined(separator: ", ")) only point to others and cannot be "
                    + "restored beside them")
        }
    }

    /// Foreign keys of other databases would follow the tables that are put aside.
    private mutating func checkReferences() async throws {
        guard destination.exists else { return }
        let rows = try await session.rows(
            """
            SELECT DISTINCT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME) FROM information_schema.KEY_COLUMN_USAGE
            WHERE REFERENCED_TABLE_SCHEMA = \(quotedText(destination.name))
            AND TABLE_SCHEMA <> \(quotedText(destination.name)) ORDER BY 1
            """, to: "look for what is bound to the database")
        let bound = rows.map { $0.text(0) }.filter { !$0.contains(SchemaNaming.Use.replaced.rawValue) }
        if !bound.isEmpty {
            problems.append(
                "foreign keys of other databases point into '\(destination.name)': \(bound.joined(separator: ", ")) "
                    + "(drop them, and add them again after the restore)")
        }
    }

    private mutating func checkDisk() {
        freeBytes = session.endpoint.isLocal ? Self.free(at: destination.dataDirectory, destination) : nil
        guard !request.acknowledgeDisk else { return }
        if let freeBytes {
            if freeBytes < neededBytes {
                problems.append(
                    "the server's disk has \(freeBytes) bytes free, and the restore needs \(neededBytes) "
                        + "(make room, or set acknowledgeDisk)")
            }
        } else {
            problems.append(
                "how much disk the server has free cannot be seen from here; the restore needs \(neededBytes) bytes "
                    + "(make sure, then set acknowledgeDisk)")
        }
    }

    /// A path means something only where the server's directory is here too: it has the database's own in it then.
    private static func free(at path: String, _ destination: DestinationSchema) -> Int64? {
        guard access(path + "/ibdata1", F_OK) == 0 else { return nil }
        var facts = statvfs()
        guard statvfs(path, &facts) == 0 else { return nil }
        return Int64(clamping: UInt64(facts.f_bavail) * UInt64(facts.f_frsize))
    }
}
