package import Core

/// An event that is not carried out. Nothing has been touched.
///
/// The value of a field is only repeated where it is a word out of a short list: an event can hold anything, a
/// password put in the wrong place too.
package struct EventError: Failure, Equatable {
    /// ``ExitCode/eventRefused`` or ``ExitCode/restoreNotConfirmed``.
    package var exitCode: ExitCode
    /// The field, or the source of the event where it is that which cannot be read.
    package var field: String
    package var cause: String
    /// What was expected.
    package var hint: String
    /// For people: where the event came from.
    package var origin: String

    package var operation: String {
        exitCode == .restoreNotConfirmed ? "start the restore" : "accept the event from \(origin)"
    }
    package var object: String { field }

    init(_ field: String, _ cause: String, hint: String, origin: String = "", exitCode: ExitCode = .eventRefused) {
        self.exitCode = exitCode
        self.field = field
        self.cause = cause
        self.hint = hint
        self.origin = origin
    }
}
