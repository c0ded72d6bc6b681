import AWS
import Core
import Foundation
import Logging
import TestSupport

/// A chain in surroundings of the test's own: nothing of the machine's environment, files or clock reaches it.
struct CredentialFixture {
    var environment: [String: String]
    var files = TestFiles()
    var clock = ManualClock()
    var logs = TestLogs()
    var sleep: @Sendable (Double) async throws -> Void = { _ in }

    init(_ environment: [String: String] = [:], files: [String: String] = [:]) {
        self.environment = environment
        self.files.set(files)
    }

    func chain(_ transport: any HTTPTransport, profile: String? = nil) throws -> CredentialChain {
        let files = files
        let readFile: @Sendable (String) throws -> [UInt8] = { try files.read($0) }
        return CredentialChain(
            configuration: try AWSConfiguration(environment: environment, readFile: readFile), profile: profile,
            transport: transport, readFile: readFile, clock: clock, sleep: sleep,
            random: { [UInt8](repeating: 128, count: $0) }, logger: logs.logger)
    }

    /// Asks once, over the real transport.
    func credentials(profile: String? = nil) async throws -> AWSCredentials {
        try await withTransport { try await chain($0, profile: profile).credentials() }
    }

    /// The error of asking once.
    func refusal(profile: String? = nil) async throws -> AWSError {
        do {
            let found = try await credentials(profile: profile)
            throw TestFailure("there are credentials: \(found.source)")
        } catch let error as AWSError {
            return error
        }
    }
}

/// Files in memory.
final class TestFiles: Sendable {
    private let contents = Guarded<[String: String]>([:])
    private let readings = Guarded<[String]>([])

    struct Missing: Error {}

    func set(_ files: [String: String]) { contents.withLock { $0.merge(files) { $1 } } }

    func read(_ path: String) throws -> [UInt8] {
        readings.withLock { $0.append(path) }
        guard let text = contents.value[path] else { throw Missing() }
        return Array(text.utf8)
    }
}

/// A transport without a network, for addresses that a test cannot have.
final class FakeTransport: HTTPTransport {
    private let log = Guarded<[HTTPCall]>([])
    private let script: @Sendable (HTTPCall) async throws -> HTTPAnswer

    init(_ script: @escaping @Sendable (HTTPCall) async throws -> HTTPAnswer) { self.script = script }

    var calls: [HTTPCall] { log.value }

    func exchange(
        _ call: HTTPCall, take: (@Sendable (UnsafeRawBufferPointer) throws -> Void)?
    ) async throws -> HTTPAnswer {
        log.withLock { $0.append(call) }
        return try await script(call)
    }
}

// MARK: Answers from the AWS documentation

/// An answer of AssumeRole and AssumeRoleWithWebIdentity (AWS STS API reference).
func stsAnswer(_ id: String, expires: Timestamp, operation: String = "AssumeRoleWithWebIdentity") -> String {
    """
    <\(operation)Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
      <\(operation)Result>
        <Credentials>
          <SessionToken>secret-token-of-\(id)</SessionToken>
          <SecretAccessKey>secret-key-of-\(id)</SecretAccessKey>
          <Expiration>\(expires)</Expiration>
          <AccessKeyId>\(id)</AccessKeyId>
        </Credentials>
        <AssumedRoleUser><AssumedRoleId>AROA:x</AssumedRoleId><Arn>arn:aws:sts::1:assumed-role/x</Arn></AssumedRoleUser>
      </\(operation)Result>
      <ResponseMetadata><RequestId>ad4156e9</RequestId></ResponseMetadata>
    </\(operation)Response>
    """
}

func stsError(_ code: String) -> StubReply {
    let text = """
        <ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
          <Error><Type>Sender</Type><Code>\(code)</Code><Message>words with secret-jwt</Message></Error>
          <RequestId>ad4156e9</RequestId>
        </ErrorResponse>
        """
    return .answer(status: code == "AccessDenied" ? 403 : 400, body: Array(text.utf8))
}

/// What the container endpoint and the instance metadata service answer.
func roleDocument(_ id: String, expires: Timestamp) -> String {
    """
    {"Code": "Success", "LastUpdated": "2025-01-15T06:00:00Z", "Type": "AWS-HMAC", "AccessKeyId": "\(id)",
     "SecretAccessKey": "secret-key-of-\(id)", "Token": "secret-token-of-\(id)", "Expiration": "\(expires)"}
    """
}

/// The fields of a form as it was sent.
func formFields(_ body: String) -> [String: String] {
    Dictionary(
        body.split(separator: "&").map { pair in
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            return (String(parts[0]), String(parts[1]).removingPercentEncoding ?? "")
        }, uniquingKeysWith: { first, _ in first })
}

let hour: Int64 = 3600
