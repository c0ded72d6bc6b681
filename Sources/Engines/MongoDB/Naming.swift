import Core
import Crypto

/// The names under which a restore loads databases beside those they are for.
///
/// A name has at most 63 bytes, so it is cut, and a digest tells those apart that are the same up to there. The digest
/// also makes a replay of the same request use the same names.
enum Naming {
    static let stagingPrefix = "__lbs_"
    static let longestName = 63
    /// Of a whole name, `database.collection`.
    static let longestNamespace = 255
    private static let keptBytes = 38
    private static let digestBytes = 4

    static func staging(for database: String, requestID: String) -> String {
        "\(stem(of: database))\(digest(of: requestID))"
    }

    /// Whether it is one that ``staging(for:requestID:)`` makes for some request and some database.
    static func isStaging(_ name: String) -> Bool {
        let pieces = name.split(separator: "_", omittingEmptySubsequences: false).suffix(2)
        return name.hasPrefix(stagingPrefix) && pieces.count == 2
            && pieces.allSatisfy { $0.utf8.count == 2 * digestBytes && bytes(hexText: String($0)) != nil }
    }

    /// Whether it is one for this database, of any request.
    static func isStaging(_ name: String, for database: String) -> Bool {
        isStaging(name) && name.utf8.dropLast(2 * digestBytes).elementsEqual(stem(of: database).utf8)
    }

    private static func digest(of text: String) -> String {
        hexText(SHA256.hash(data: Array(text.utf8)).prefix(digestBytes))
    }

    private static func stem(of database: String) -> String {
        "\(stagingPrefix)\(beginning(of: database))_\(digest(of: database))_"
    }

    /// As much as fits, without the piece of a character that would be left at the end.
    private static func beginning(of database: String) -> String {
        var stem = ""
        for scalar in database.unicodeScalars {
            guard stem.utf8.count + UTF8.width(scalar) <= keptBytes else { break }
            stem.unicodeScalars.append(scalar)
        }
        return stem
    }
}
