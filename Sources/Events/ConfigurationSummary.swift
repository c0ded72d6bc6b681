/// What is in force and where it was said, for `lifeboat config check`. Secrets are masked when they are added, so
/// nothing that prints this can show one.
package struct ConfigurationSummary: Equatable, Sendable {
    private var entries: [String: String] = [:]

    /// `NAME = value (from where)`, sorted by name.
    package var lines: [String] { entries.sorted { $0.key < $1.key }.map { "\($0.key) = \($0.value)" } }

    /// `value` is `nil` for a secret.
    mutating func add(_ name: String, _ value: String?, from place: String) {
        entries[name] = "\(value ?? "••••") (from \(place))"
    }
}
