import Core
import Crypto

/// The names under which a restore keeps a database beside the one it is for.
///
/// A name has 64 characters at most, so a long one is cut, and a digest tells those apart that are the same up to there.
/// The digest also makes a replay of the same request use the same names.
enum SchemaNaming {
    enum Use: String, CaseIterable {
        case staging = "__lbs_"
        case replaced = "__lb_"
    }

    /// The database of our own books.
    static let books = "__lifeboat"
    /// In characters.
    static let longestName = 64
    private static let keptCharacters = 40
    private static let digestBytes = 4

    static func name(_ use: Use, for database: String, requestID: String) -> String {
        String(String.UnicodeScalarView(database.unicodeScalars.prefix(keptCharacters))) + use.rawValue
            + digest(use.rawValue, database, requestID, count: digestBytes)
    }

    /// The identity of a restore in the books.
    static func identity(of database: String, requestID: String) -> String {
        digest("restore", database, requestID, count: 16)
    }

    /// The name of the lock that one restore of a database holds at a time.
    static func lock(of database: String) -> String { "lifeboat-" + digest("lock", database, "", count: 16) }

    private static func digest(_ use: String, _ database: String, _ requestID: String, count: Int) -> String {
        hexText(Array(SHA256.hash(data: Array("\(use)\0\(database)\0\(requestID)".utf8)).prefix(count)))
    }
}
