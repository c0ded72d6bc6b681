package import Core

/// A configuration that is missing something, wrong or in contradiction with itself.
///
/// Values are never repeated in it: a password in the wrong variable would be shown.
package struct ConfigurationError: Failure, Equatable {
    package var exitCode: ExitCode { .configuration }
    package var operation: String { "use the configuration" }
    /// The variable, or the key in the file: `targets.clinic.store`.
    package var object: String
    package var cause: String
    package var hint: String

    init(_ object: String, _ cause: String, hint: String) {
        self.object = object
        self.cause = cause
        self.hint = hint
    }
}
