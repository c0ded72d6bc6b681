/// Runs `body` to its end even where the task around it has been cancelled: for what cleans up.
package func uncancelled<Value: Sendable>(
    _ body: @escaping @Sendable () async throws -> Value
) async throws -> Value {
    try await Task { try await body() }.value
}

/// The same for what reports its own failures.
package func uncancelled(_ body: @escaping @Sendable () async -> Void) async {
    await Task { await body() }.value
}
