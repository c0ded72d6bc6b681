/// An error a person has to act on. Each target's error enum is one; the operation at the top turns it into the
/// result and the exit code, so nothing between has to.
///
/// None of the five may hold row data, a secret or a passphrase: they are logged, stored and sent.
package protocol Failure: Error, CustomStringConvertible {
    var exitCode: ExitCode { get }
    /// What was being done, as a verb with its object's kind: "dump the database".
    var operation: String { get }
    /// On what: a path, a table, a field, a server. Empty where there is no single one.
    var object: String { get }
    /// Why it did not work.
    var cause: String { get }
    /// What to do next.
    var hint: String { get }
}

extension Failure {
    package var description: String {
        let subject = object.isEmpty ? operation : "\(operation) (\(object))"
        return "cannot \(subject): \(cause)"
    }
}

/// A failure as a value, for the operations, which have few kinds of their own, and for tests.
package struct JobFailure: Failure {
    package var exitCode: ExitCode
    package var operation: String
    package var object: String
    package var cause: String
    package var hint: String

    package init(_ exitCode: ExitCode, _ operation: String, object: String = "", cause: String, hint: String) {
        self.exitCode = exitCode
        self.operation = operation
        self.object = object
        self.cause = cause
        self.hint = hint
    }

    /// The same failure, ending the job with another code: a source that fails while a restore is loaded is a failed
    /// restore.
    package init(_ failure: some Failure, as exitCode: ExitCode) {
        self.init(
            exitCode, failure.operation, object: failure.object, cause: failure.cause, hint: failure.hint)
    }
}
