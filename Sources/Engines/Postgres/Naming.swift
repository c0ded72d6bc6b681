import Core
import Crypto

/// The names under which a restore keeps a database beside the one it is for.
///
/// PostgreSQL cuts a name silently at 63 bytes, so the name is cut here, and a digest tells those apart that are the
/// same up to there. The digest also makes a replay of the same request use the same names.
enum Naming {
    enum Use: String, CaseIterable {
        case staging = "__lbs_"
        case replaced = "__lb_"
    }

    static let longestName = 63
    private static let keptBytes = 40
    private static let digestBytes = 4

    static func name(_ use: Use, for database: String, requestID: String) -> String {
        let text = "\(use.rawValue)\0\(database)\0\(requestID)"
        let digest = SHA256.hash(data: Array(text.utf8)).prefix(digestBytes)
        return stem(of: database) + use.rawValue + hexText(digest)
    }

    /// Whether `name` is one that ``name(_:for:requestID:)`` makes for some request.
    static func isName(_ name: String, _ use: Use, for database: String) -> Bool {
        let stem = stem(of: database) + use.rawValue
        guard name.utf8.starts(with: stem.utf8) else { return false }
        let rest = name.utf8.dropFirst(stem.utf8.count)
        return rest.count == 2 * digestBytes && bytes(hexText: String(decoding: rest, as: UTF8.self)) != nil
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
