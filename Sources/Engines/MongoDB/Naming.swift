import Core
import Crypto

/// The names under which a restore loads databases beside those they are for.
///
/// A name has at most 63 bytes, so it is cut, and a digest tells those apart that are the same up to there. The digest
/// also makes a replay of the same request use the same names.
enum Naming {
    static let stagingPrefix = "__lbs_"
    static let longestName = 63
    private static let keptBytes = 40
    private static let digestBytes = 4

    static func staging(for database: String, requestID: String) -> String {
        let digest = SHA256.hash(data: Array("\(database)\0\(requestID)".utf8)).prefix(digestBytes)
        return "\(stagingPrefix)\(stem(of: database))_\(hexText(digest))"
    }

    /// Whether it is one that ``staging(for:requestID:)`` makes for some request and some database.
    static func isStaging(_ name: String) -> Bool {
        guard name.hasPrefix(stagingPrefix), let mark = name.lastIndex(of: "_") else { return false }
        let digest = name[name.index(after: mark)...]
        return digest.utf8.count == 2 * digestBytes && bytes(hexText: String(digest)) != nil
    }

    /// Whether it is one for this database, of any request.
    static func isStaging(_ name: String, for database: String) -> Bool {
        isStaging(name)
            && name.utf8.dropLast(2 * digestBytes + 1).elementsEqual("\(stagingPrefix)\(stem(of: database))".utf8)
    }

    /// The first 40 bytes, without the piece of a character that would be left at the end.
    private static func stem(of database: String) -> String {
        var stem = ""
        for scalar in database.unicodeScalars {
            guard stem.utf8.count + UTF8.width(scalar) <= keptBytes else { break }
            stem.unicodeScalars.append(scalar)
        }
        return stem
    }
}
