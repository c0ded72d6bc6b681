package import Core

/// Which of the two stores, where there are two.
package enum CopyName: String, Sendable {
    case primary, secondary

    /// In sentences: `the first copy`.
    package var text: String { self == .primary ? "first copy" : "second copy" }
}

/// A store in which sets of the target lie.
package struct SetCopy: Sendable {
    package var name: CopyName
    /// The target's own part of it.
    package var store: any Store

    package init(_ name: CopyName, _ store: any Store) {
        self.name = name
        self.store = store
    }
}

/// The stores in which the same sets lie, in the order in which they are read: never empty.
package struct Copies: Sendable {
    package let first: SetCopy
    /// Read where the first fails.
    package let reserve: [SetCopy]

    package init(_ first: SetCopy, reserve: [SetCopy] = []) {
        self.first = first
        self.reserve = reserve
    }

    package init(_ store: any Store) { self.init(SetCopy(.primary, store)) }

    package var all: [SetCopy] { [first] + reserve }
}

/// What reading did otherwise than asked for: a segment that came from the other copy, and why. Each said once, however
/// often it is met. From any thread.
package final class ReadingNotes: Sendable {
    private let notes = Guarded<[String]>([])

    package init() {}

    package func add(_ note: String) {
        notes.withLock { if !$0.contains(note) { $0.append(note) } }
    }

    package var all: [String] { notes.value }
}

/// Why each copy that was tried could not be read.
struct CopyRefusals {
    private var refusals: [(copy: CopyName, error: any Error)] = []

    mutating func add(_ copy: SetCopy, _ error: any Error) { refusals.append((copy.name, error)) }

    /// For notes; `nil` where none has been refused.
    var reason: String? {
        refusals.isEmpty
            ? nil
            : refusals.map { "\($0.copy.text): \(($0.error as? any Failure)?.cause ?? "\($0.error)")" }
                .joined(separator: "; ")
    }

    /// The first copy's error, which decides the exit code, with what the others said added to its cause.
    var error: any Error {
        guard let first = refusals.first?.error else { return CancellationError() }
        guard refusals.count > 1, let failure = first as? any Failure else { return first }
        return JobFailure(
            failure.exitCode, failure.operation, object: failure.object, cause: reason ?? failure.cause,
            hint: failure.hint)
    }
}
