/// What differs between the contents a set recorded and those of what was made from it.
package struct ContentsComparison: Sendable {
    /// Differences that make the copy wrong, each naming its object.
    package private(set) var failures: [String] = []
    /// Differences in how the server prints an expression: listed for a person, no failure.
    package private(set) var reprints: [String] = []

    /// How many objects were compared: all that were recorded, and those that are in the copy only.
    package let objects: Int
    /// How many were recorded.
    package let recorded: Int
    /// How many of the recorded are not in the copy.
    package private(set) var missing = 0

    package var isEqual: Bool { failures.isEmpty }
    /// How many of ``objects`` are as they were recorded. One object has one failure.
    package var matched: Int { objects - failures.count }

    package init(recorded: Contents, found: Contents) {
        let data = Set(recorded.data.map(\.label))
        let schema = Set(recorded.schema.map(\.label))
        self.recorded = data.count + schema.count
        objects = data.union(found.data.map(\.label)).count + schema.union(found.schema.map(\.label)).count
        compareData(
            Dictionary(grouping: recorded.data, by: \.label), Dictionary(grouping: found.data, by: \.label))
        compareSchema(
            Dictionary(grouping: recorded.schema, by: \.label), Dictionary(grouping: found.schema, by: \.label))
        failures.sort()
        reprints.sort()
    }

    private mutating func compareData(_ recorded: [String: [DataEntry]], _ found: [String: [DataEntry]]) {
        for (label, expected) in recorded {
            guard let actual = found[label] else {
                failures.append("\(label) is missing")
                missing += 1
                continue
            }
            guard actual != expected else { continue }
            let before = expected.reduce(0) { $0 + $1.rows }
            let after = actual.reduce(0) { $0 + $1.rows }
            if expected.map(\.columns) != actual.map(\.columns) {
                failures.append("\(label) has other columns")
            } else if before != after {
                failures.append("\(label) has \(counted(after, "row")) instead of \(before)")
            } else {
                failures.append("\(label) has other values in its \(counted(before, "row"))")
            }
        }
        for label in found.keys where recorded[label] == nil {
            failures.append("\(label) is in the copy only")
        }
    }

    private mutating func compareSchema(_ recorded: [String: [SchemaEntry]], _ found: [String: [SchemaEntry]]) {
        for (label, expected) in recorded {
            guard let actual = found[label] else {
                failures.append("\(label) is missing")
                missing += 1
                continue
            }
            if expected.map(\.owner) != actual.map(\.owner) {
                failures.append("\(label) has another owner")
            } else if expected.map(\.count) != actual.map(\.count) || expected.map(\.binding) != actual.map(\.binding)
            {
                failures.append("\(label) is defined differently")
            } else if expected.map(\.printed) != actual.map(\.printed) {
                reprints.append("\(label) is printed differently")
            }
        }
        for label in found.keys where recorded[label] == nil {
            failures.append("\(label) is in the copy only")
        }
    }
}
