import Glibc
package import Testing

/// A real part that some tests need and that a desk may lack.
package struct RealPart: Sendable {
    /// As it appears beside a skipped test.
    package var name: String
    package var isPresent: Bool

    package init(_ name: String, isPresent: Bool) {
        self.name = name
        self.isPresent = isPresent
    }

    /// A program found on `PATH`.
    package static func program(_ name: String) -> RealPart {
        let folders = (environmentValue("PATH") ?? "/usr/bin:/bin").split(separator: ":")
        return RealPart("the program \(name)", isPresent: folders.contains { access("\($0)/\(name)", X_OK) == 0 })
    }

    package static var postgres: RealPart {
        RealPart("a PostgreSQL server", isPresent: PostgresServer.isInstalled)
    }
}

/// The tests run in CI, where every real part has to be there: a missing one fails the tests that need it.
package var runsInCI: Bool { environmentValue("CI") == "true" }

/// The long runs were asked for: `LIFEBOAT_SOAK=1`.
package var runsSoak: Bool { environmentValue("LIFEBOAT_SOAK") == "1" }

package func environmentValue(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

extension Trait where Self == ConditionTrait {
    /// The test needs `part`. Where it is missing the test is skipped by name at a desk, and runs, and so fails, in CI.
    package static func needs(_ part: RealPart) -> Self {
        .enabled(if: part.isPresent || runsInCI, "needs \(part.name)")
    }
}
