package import AWS

/// Gives `body` a transport that is shut down afterwards.
package func withTransport<Result>(_ body: (PooledTransport) async throws -> Result) async throws -> Result {
    let transport = try PooledTransport()
    let result: Swift.Result<Result, any Error>
    do {
        result = .success(try await body(transport))
    } catch {
        result = .failure(error)
    }
    try await transport.shutdown()
    return try result.get()
}
