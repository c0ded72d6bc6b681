package import Core

/// What a lease needs from around it.
package struct LeaseConfiguration: Sendable {
    /// Who holds it, for people: host, process and action.
    package var holder: String
    /// How long a lease lasts without being renewed.
    package var seconds: Int
    /// The holder's own clock, only for the time written into the lock for people.
    package var clock: any WallClock
    /// Seconds on a clock of this machine that never goes back and counts on while it is suspended
    /// (`CLOCK_BOOTTIME`).
    package var elapsed: @Sendable () -> Double
    /// Suspends for so many seconds; throws where the task is cancelled.
    package var sleep: @Sendable (Double) async throws -> Void
    package var random: RandomBytes

    package init(
        holder: String, seconds: Int = 60, clock: any WallClock, elapsed: @escaping @Sendable () -> Double,
        sleep: @escaping @Sendable (Double) async throws -> Void, random: @escaping RandomBytes
    ) {
        self.holder = holder
        self.seconds = max(1, seconds)
        self.clock = clock
        self.elapsed = elapsed
        self.sleep = sleep
        self.random = random
    }
}

/// Who holds a lock.
package struct LeaseHolder: Equatable, Sendable, CustomStringConvertible {
    package var name: String
    package var requestID: String
    /// When it was taken, by the holder's clock.
    package var since: Timestamp
    /// When it runs out unless it is renewed, by the store's clock.
    package var expires: Timestamp

    package init(name: String, requestID: String, since: Timestamp, expires: Timestamp) {
        self.name = name
        self.requestID = requestID
        self.since = since
        self.expires = expires
    }

    package var description: String {
        "\(name) (request \(requestID)) since \(since), until \(expires) unless it renews"
    }
}

package enum LeaseError: Failure, Equatable {
    /// Another run has it.
    case held(LeaseHolder)
    /// It was ours.
    case lost(generation: Int64, LeaseLoss)

    package var exitCode: ExitCode {
        switch self {
        case .held, .lost(_, .takenOver): .locked
        case .lost(_, .notRenewed), .lost(_, .removed), .lost(_, .released): .store
        }
    }

    package var operation: String {
        switch self {
        case .held: "lock the target"
        case .lost: "keep the target locked"
        }
    }

    package var object: String {
        switch self {
        case .held: ""
        case .lost(let generation, _): lockKey(generation)
        }
    }

    package var cause: String {
        switch self {
        case .held(let holder):
            "it is held by \(holder)"
        case .lost(_, .takenOver(let name)): "it ran out, and \(name ?? "another run") took it over"
        case .lost(_, .notRenewed): "it could not be renewed in time"
        case .lost(_, .removed): "somebody removed it"
        case .lost(_, .released): "it has been released"
        }
    }

    package var hint: String {
        switch self {
        case .held: "let that run finish; if it is dead, the lock runs out by itself, so run again after that time"
        case .lost(_, .takenOver):
            "this run stopped before it committed anything; see why it stood still, and run again"
        case .lost(_, .notRenewed): "check that the store can be written to and answers, then run again"
        case .lost(_, .removed): "nothing but lifeboat may touch what is under locks/; run again"
        case .lost(_, .released): "this is a fault of the program; report it"
        }
    }
}

package enum LeaseLoss: Equatable, Sendable {
    /// A higher generation exists; by whom, where that could be read.
    case takenOver(by: String?)
    case notRenewed
    case removed
    case released
}

/// The key of a lock's generation. Ten digits, so that the order of keys is that of numbers.
func lockKey(_ generation: Int64) -> String {
    let digits = String(generation)
    return lockPrefix + String(repeating: "0", count: max(0, 10 - digits.count)) + digits
}

let lockPrefix = "locks/"
let probePrefix = lockPrefix + "probe-"

/// The generation whose key this is; `nil` for anything else under `locks/`.
func lockGeneration(_ key: String) -> Int64? {
    let digits = key.utf8.dropFirst(lockPrefix.utf8.count)
    guard key.hasPrefix(lockPrefix), digits.count == 10, let generation = Int64(String(digits) ?? ""),
        lockKey(generation) == key
    else { return nil }
    return generation
}

/// The content of a lock: `docs/locks.md`.
struct LockRecord: Equatable {
    enum State: String {
        case held, released
    }

    var state: State
    var holder: String
    var requestID: String
    var acquired: Timestamp
    var seconds: Int
    /// Tells two acquisitions apart that are alike in everything else.
    var nonce: String

    var bytes: [UInt8] {
        JSON.object([
            "format": .string("lifeboat-lock-1"), "state": .string(state.rawValue), "holder": .string(holder),
            "requestId": .string(requestID), "acquired": .string(acquired.description),
            "leaseSeconds": .integer(Int64(seconds)), "nonce": .string(nonce),
        ]).canonicalBytes
    }

    init(
        state: State, holder: String, requestID: String, acquired: Timestamp, seconds: Int, nonce: String
    ) {
        self.state = state
        self.holder = holder
        self.requestID = requestID
        self.acquired = acquired
        self.seconds = seconds
        self.nonce = nonce
    }

    /// `nil` for what is not a lock of this format.
    init?(reading bytes: [UInt8]) {
        do {
            var fields = try JSONFields(try JSON(parsing: bytes), path: "")
            guard try fields.string("format") == "lifeboat-lock-1",
                let state = State(rawValue: try fields.string("state"))
            else { return nil }
            let seconds = try fields.integer("leaseSeconds")
            guard (1...86400).contains(seconds) else { return nil }
            self.init(
                state: state, holder: try fields.string("holder"), requestID: try fields.string("requestId"),
                acquired: try fields.timestamp("acquired"), seconds: Int(seconds), nonce: try fields.string("nonce"))
            try fields.finish()
        } catch {
            return nil
        }
    }
}
