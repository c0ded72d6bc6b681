package import Core

/// A store that fails where a test says so, around one that does not.
package final class FaultyStore: Store {
    package enum Call: String, Sendable {
        case put, get, stat, list, amend, delete
    }

    package enum Fault: Sendable {
        /// The call throws and does nothing.
        case refuse
        /// The call does its work, and then throws: the reply was lost.
        case loseReply
        /// A put's or get's stream breaks after so many bytes; other calls are refused.
        case cut(afterBytes: Int)
        /// Does something first, as another process would, and then goes on as if nothing had happened.
        case interleave(@Sendable () async throws -> Void)
    }

    private struct Rule {
        let call: Call?
        let keyPart: String
        /// Matching calls that still pass before this applies.
        var skip: Int
        /// How often it applies.
        var times: Int
        let fault: Fault
    }

    private struct State {
        var rules: [Rule] = []
        var log: [(call: Call, key: String)] = []
        var deadAfter: Int?
    }

    private let inner: any Store
    private let state = Guarded(State())

    package init(_ inner: any Store) { self.inner = inner }

    package var capabilities: StoreCapabilities { inner.capabilities }

    /// Every call so far, in order.
    package var log: [(call: Call, key: String)] { state.withLock { $0.log } }

    /// Lets the `nth` (1 is the next) of the calls of this kind (of any kind for `nil`) whose key contains `keyPart`
    /// fail, and `times - 1` after it.
    package func fail(
        _ call: Call?, nth: Int = 1, times: Int = 1, keyContaining keyPart: String = "", with fault: Fault = .refuse
    ) {
        state.withLock {
            $0.rules.append(Rule(call: call, keyPart: keyPart, skip: nth - 1, times: times, fault: fault))
        }
    }

    /// After `calls` further calls of any kind every one is refused, as if the process had been killed there.
    package func die(afterCalls calls: Int) { state.withLock { $0.deadAfter = $0.log.count + calls } }

    /// Forgets all faults.
    package func heal() {
        state.withLock {
            $0.rules = []
            $0.deadAfter = nil
        }
    }

    private func fault(for call: Call, _ key: String) async throws -> Fault? {
        let fault = match(call, key)
        if case .interleave(let act) = fault { try await act() }
        return fault
    }

    private func match(_ call: Call, _ key: String) -> Fault? {
        state.withLock { state in
            state.log.append((call, key))
            if let deadAfter = state.deadAfter, state.log.count > deadAfter { return .refuse }
            for index in state.rules.indices {
                let rule = state.rules[index]
                guard rule.call == nil || rule.call == call, rule.keyPart.isEmpty || key.contains(rule.keyPart),
                    rule.times > 0
                else { continue }
                if rule.skip > 0 {
                    state.rules[index].skip -= 1
                } else {
                    state.rules[index].times -= 1
                    return rule.fault
                }
            }
            return nil
        }
    }

    package func put(_ key: String, from source: any ByteSource, options: PutOptions) async throws -> Int64 {
        switch try await fault(for: .put, key) {
        case nil, .interleave: return try await inner.put(key, from: source, options: options)
        case .refuse:
            source.cancel()
            throw InjectedFault(call: .put, key: key)
        case .loseReply:
            _ = try await inner.put(key, from: source, options: options)
            throw InjectedFault(call: .put, key: key)
        case .cut(let bytes):
            let cut = CutSource(source, after: bytes, fault: InjectedFault(call: .put, key: key))
            return try await inner.put(key, from: cut, options: options)
        }
    }

    package func get(_ key: String, range: Range<Int64>?) async throws -> any ByteSource {
        switch try await fault(for: .get, key) {
        case nil, .interleave: return try await inner.get(key, range: range)
        case .refuse, .loseReply: throw InjectedFault(call: .get, key: key)
        case .cut(let bytes):
            let source = try await inner.get(key, range: range)
            return CutSource(source, after: bytes, fault: InjectedFault(call: .get, key: key))
        }
    }

    package func stat(_ key: String) async throws -> ObjectInfo? {
        switch try await fault(for: .stat, key) {
        case nil, .interleave: return try await inner.stat(key)
        case .refuse, .loseReply, .cut: throw InjectedFault(call: .stat, key: key)
        }
    }

    package func list(_ prefix: String) -> AsyncThrowingStream<ObjectInfo, any Error> {
        // Decided when the call is made, and not when the first object is asked for.
        let rule = match(.list, prefix)
        if case nil = rule { return inner.list(prefix) }
        return AsyncThrowingStream { continuation in
            let task = Task {
                do {
                    guard case .interleave(let act) = rule else { throw InjectedFault(call: .list, key: prefix) }
                    try await act()
                    for try await info in inner.list(prefix) { continuation.yield(info) }
                    continuation.finish()
                } catch {
                    continuation.finish(throwing: error)
                }
            }
            continuation.onTermination = { _ in task.cancel() }
        }
    }

    package func amend(_ key: String, _ amendment: Amendment) async throws {
        switch try await fault(for: .amend, key) {
        case nil, .interleave: try await inner.amend(key, amendment)
        case .loseReply:
            try await inner.amend(key, amendment)
            throw InjectedFault(call: .amend, key: key)
        case .refuse, .cut: throw InjectedFault(call: .amend, key: key)
        }
    }

    package func delete(_ key: String, allVersions: Bool) async throws {
        switch try await fault(for: .delete, key) {
        case nil, .interleave: try await inner.delete(key, allVersions: allVersions)
        case .loseReply:
            try await inner.delete(key, allVersions: allVersions)
            throw InjectedFault(call: .delete, key: key)
        case .refuse, .cut: throw InjectedFault(call: .delete, key: key)
        }
    }
}

/// The fault of a test.
package struct InjectedFault: Failure, Equatable {
    package let call: FaultyStore.Call
    package let key: String

    package var exitCode: ExitCode { .store }
    package var operation: String { call.rawValue }
    package var object: String { key }
    package var cause: String { "the test wants it to fail" }
    package var hint: String { "look at the test" }
}

/// Gives the first bytes of another source and then throws.
package final class CutSource: ByteSource {
    private let inner: any ByteSource
    private let rest: Guarded<Int>
    private let fault: any Error

    package init(_ inner: any ByteSource, after bytes: Int, fault: any Error) {
        self.inner = inner
        rest = Guarded(bytes)
        self.fault = fault
    }

    package func next() throws -> Chunk? {
        let left = rest.value
        guard left > 0, let chunk = try inner.next() else {
            inner.cancel()
            throw fault
        }
        rest.withLock { $0 -= chunk.count }
        return chunk.count <= left ? chunk : Chunk(Array(chunk.bytes[..<left]))
    }

    package func cancel() { inner.cancel() }
}
