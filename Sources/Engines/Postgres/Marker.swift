import Core

/// What this program writes on a database it has made or put aside: the last line of the database's comment.
///
/// It is the proof by which a replay finds its restore done, and nothing without one is ever dropped. A replaced
/// database is marked in the transaction that replaces it.
struct Marker: Equatable, Sendable {
    enum Kind: String, Sendable {
        /// Being loaded.
        case staging
        /// In place.
        case restored
        /// Put aside for what took its place.
        case replaced
    }

    var kind: Kind
    /// The name of the database that the restore is of.
    var database: String
    var requestID: String
    var setKey: String
    /// The verified set that holds what is in a replaced database.
    var safetyKey: BackupKey?
    var time: Timestamp?

    private static let prefix = "lifeboat: "

    var line: String {
        Self.prefix
            + JSON.object(present: [
                "kind": .string(kind.rawValue), "database": .string(database), "request": .string(requestID),
                "set": .string(setKey), "safety": safetyKey.map { .string($0.description) },
                "time": time.map { .string($0.description) },
            ]).canonicalText
    }

    /// `nil` for a line that is not exactly such a mark.
    init?(line: Substring) {
        guard line.hasPrefix(Self.prefix) else { return nil }
        do {
            var fields = try JSONFields(JSON(parsing: line.dropFirst(Self.prefix.count).utf8), path: "")
            guard let kind = Kind(rawValue: try fields.string("kind")) else { return nil }
            self.kind = kind
            database = try fields.string("database")
            requestID = try fields.string("request")
            setKey = try fields.string("set")
            safetyKey = try fields.optionalString("safety").flatMap { BackupKey($0) }
            time = try fields.optionalString("time").flatMap { Timestamp($0) }
            try fields.finish()
        } catch {
            return nil
        }
    }

    init(
        kind: Kind, database: String, requestID: String, setKey: String, safetyKey: BackupKey? = nil,
        time: Timestamp? = nil
    ) {
        self.kind = kind
        self.database = database
        self.requestID = requestID
        self.setKey = setKey
        self.safetyKey = safetyKey
        self.time = time
    }
}

/// A database's comment, taken apart into what people wrote and our mark.
struct MarkedComment: Equatable, Sendable {
    var text: String?
    var marker: Marker?

    init(_ comment: String?) {
        guard let comment else { return }
        // By scalars: to Swift the line break after a carriage return is part of another character.
        let scalars = comment.unicodeScalars
        let start = scalars.lastIndex(of: "\n").map { scalars.index(after: $0) } ?? scalars.startIndex
        guard let marker = Marker(line: comment[start...]) else {
            text = comment
            return
        }
        self.marker = marker
        text = start == comment.startIndex ? nil : String(comment[..<scalars.index(before: start)])
    }

    init(text: String?, marker: Marker?) {
        self.text = text
        self.marker = marker
    }

    /// As a statement for the database called `name`.
    func statement(for name: String) -> String {
        let parts = [text, marker?.line].compactMap { $0 }
        let comment = parts.isEmpty ? "NULL" : quoted(literal: parts.joined(separator: "\n"))
        return "COMMENT ON DATABASE \(quoted(name: name)) IS \(comment)"
    }
}
