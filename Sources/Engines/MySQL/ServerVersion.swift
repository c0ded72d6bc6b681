/// Which server it is, or which server a program came with.
struct ServerVersion: Equatable, Sendable, Comparable {
    var isMariaDB: Bool
    var major: Int
    var minor: Int
    var patch: Int

    /// From what a server says: `10.11.6-MariaDB-0+deb12u1`, `5.5.5-10.11.6-MariaDB`, `8.0.36`.
    init?(_ text: String) {
        isMariaDB = text.contains("MariaDB")
        // The first part is for replicas of old that know no version above 5.
        let start = isMariaDB && text.hasPrefix("5.5.5-") ? text.dropFirst(6) : text[...]
        let numbers = start.prefix { $0.isNumber || $0 == "." }.split(separator: ".").map { Int($0) ?? 0 }
        guard numbers.count >= 2 else { return nil }
        major = numbers[0]
        minor = numbers[1]
        patch = numbers.count > 2 ? numbers[2] : 0
    }

    init(isMariaDB: Bool, _ major: Int, _ minor: Int, _ patch: Int = 0) {
        self.isMariaDB = isMariaDB
        self.major = major
        self.minor = minor
        self.patch = patch
    }

    var product: String { isMariaDB ? "MariaDB" : "MySQL" }

    /// `10.11.6`.
    var text: String { "\(major).\(minor).\(patch)" }

    /// Only between versions of one product.
    static func < (a: ServerVersion, b: ServerVersion) -> Bool {
        (a.major, a.minor, a.patch) < (b.major, b.minor, b.patch)
    }

    /// Whether it is of the same series, 10.11 or 8.0.
    func isSeries(of other: ServerVersion) -> Bool {
        isMariaDB == other.isMariaDB && major == other.major && minor == other.minor
    }
}
