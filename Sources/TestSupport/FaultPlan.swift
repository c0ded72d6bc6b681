import Glibc

/// What a ``FaultProxy`` is to do to the bytes that pass, and what it has counted. Positions are totals over all
/// connections since the proxy was started, those of `each` over one connection.
struct FaultPlan {
    struct Mark {
        var id: Int
        var direction: FaultProxy.Direction
        var position: Int
        /// On every connection that gets so far, not on the first only.
        var each: Bool
        /// Seconds; `nil` without an end.
        var seconds: Double?
    }

    enum Action {
        case forward
        case reset(id: Int)
        /// Until the mark is taken away or so many seconds are over.
        case stall(id: Int, seconds: Double?)
    }

    var counts = FaultProxy.Counts()
    var log: [String] = []
    var resets: [Mark] = []
    var stalls: [Mark] = []
    var corruptions: [Mark] = []
    /// Stalls that hold a connection now.
    var holding: Set<Int> = []
    var slowDowns = 0
    var bytesPerSecond: Int?
    var isRefusing = false
    var isStopped = false
    private var lastID = 0
    private var free: [FaultProxy.Direction: Double] = [:]

    func total(_ direction: FaultProxy.Direction) -> Int { direction == .up ? counts.bytesUp : counts.bytesDown }

    mutating func mark(
        _ direction: FaultProxy.Direction, _ position: Int, each: Bool, seconds: Double? = nil
    ) -> Mark {
        lastID += 1
        return Mark(id: lastID, direction: direction, position: position, each: each, seconds: seconds)
    }

    /// How many of `count` bytes may go on now, what happens then, and how many seconds they have to wait before.
    /// `passed`: what this connection has forwarded; `served`: the marks that have held it already.
    mutating func admit(
        _ direction: FaultProxy.Direction, _ count: Int, passed: Int, served: Set<Int>
    ) -> (count: Int, then: Action, wait: Double) {
        var amount = bytesPerSecond == nil ? count : min(count, 16 << 10)
        var action = Action.forward
        let total = total(direction)
        func distance(_ mark: Mark) -> Int? {
            guard mark.direction == direction, !served.contains(mark.id) else { return nil }
            let distance = mark.position - (mark.each ? passed : total)
            return (0...amount).contains(distance) ? distance : nil
        }
        for mark in stalls {
            guard let distance = distance(mark) else { continue }
            (amount, action) = (distance, .stall(id: mark.id, seconds: mark.seconds))
        }
        for mark in resets {
            guard let distance = distance(mark) else { continue }
            (amount, action) = (distance, .reset(id: mark.id))
        }
        take(action)
        if direction == .up { counts.bytesUp += amount } else { counts.bytesDown += amount }
        return (amount, action, delay(direction, amount))
    }

    /// A mark that counts all connections is spent by the first that reaches it.
    private mutating func take(_ action: Action) {
        switch action {
        case .forward: break
        case .reset(let id):
            counts.resets += 1
            resets.removeAll { $0.id == id && !$0.each }
        case .stall(let id, _):
            counts.stalls += 1
            stalls.removeAll { $0.id == id && !$0.each }
            holding.insert(id)
        }
    }

    /// Seconds to wait before so many bytes go on, so that the rate holds over all connections.
    private mutating func delay(_ direction: FaultProxy.Direction, _ amount: Int) -> Double {
        guard let bytesPerSecond else { return 0 }
        let now = Self.now()
        let begin = max(now, free[direction] ?? now)
        free[direction] = begin + Double(amount) / Double(bytesPerSecond)
        return begin - now
    }

    /// Counts `bytes` of a body and flips the bits of those that are to be corrupted.
    mutating func corrupt(_ bytes: inout [UInt8], _ direction: FaultProxy.Direction) {
        let total = direction == .up ? counts.bodyBytesUp : counts.bodyBytesDown
        corruptions.removeAll { mark in
            let index = mark.position - total
            guard mark.direction == direction, bytes.indices.contains(index) else { return false }
            bytes[index] ^= 0xFF
            counts.corruptions += 1
            return true
        }
        if direction == .up { counts.bodyBytesUp += bytes.count } else { counts.bodyBytesDown += bytes.count }
    }

    /// Seconds of the monotonic clock.
    static func now() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}
