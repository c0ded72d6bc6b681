/// One thing about a bucket or a key, as it was found or made: one line for people.
package struct Finding: Equatable, Sendable, CustomStringConvertible {
    package enum State: String, Sendable {
        /// As it is asked for.
        case ok
        /// It was not so, and has been made so and read back.
        case changed
        /// It is not as asked for.
        case short
        /// For information: nothing was asked, or the server has no such thing.
        case reported
    }

    /// `versioning`, `bucket policy` …
    package var subject: String
    package var state: State
    package var text: String
    /// What to do next; empty where there is nothing to do.
    package var hint: String

    package init(_ subject: String, _ state: State, _ text: String, hint: String = "") {
        self.subject = subject
        self.state = state
        self.text = text
        self.hint = hint
    }

    package var description: String {
        let word = state.rawValue.padded(to: 8)
        let line = "\(word)  \(subject.padded(to: 20))  \(text)"
        return (hint.isEmpty ? line : "\(line); \(hint)").split(separator: "\n").joined(separator: " ")
    }
}

extension Sequence<Finding> {
    /// Something is not as it was asked for: exit code 13 where it was only checked.
    package var fallsShort: Bool { contains { $0.state == .short } }
}

extension String {
    fileprivate func padded(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }
}
