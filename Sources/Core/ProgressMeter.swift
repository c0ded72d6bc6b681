/// Counts what a stage has moved, for the people who watch and for the watchdog that ends a job which stands still.
///
/// Stages add bytes as they move them. An engine whose server works without moving bytes (it builds an index) beats
/// instead, after asking the server whether our session really works.
package final class ProgressMeter: Sendable {
    package struct Reading: Sendable, Equatable {
        /// The step of the job: `dump`, `load`, `compare`.
        package var stage: String
        /// Bytes read from the source or the set in this stage.
        package var bytes: Int64
        /// What ``bytes`` is expected to reach; 0 where unknown.
        package var expected: Int64
        /// Grows with every sign of life.
        package var beats: UInt64
    }

    private let state: Guarded<Reading>

    package init(stage: String = "start") {
        state = Guarded(Reading(stage: stage, bytes: 0, expected: 0, beats: 0))
    }

    package var reading: Reading { state.value }

    package func begin(_ stage: String, expected: Int64 = 0) {
        state.withLock { $0 = Reading(stage: stage, bytes: 0, expected: expected, beats: $0.beats &+ 1) }
    }

    package func add(_ bytes: Int) {
        state.withLock {
            $0.bytes += Int64(bytes)
            $0.beats &+= 1
        }
    }

    package func beat() { state.withLock { $0.beats &+= 1 } }
}
