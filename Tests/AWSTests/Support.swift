import AWS
import Core
import Logging
import Synchronization
import TestSupport

/// Keys that are easy to find where they must not be.
let testCredentials = AWSCredentials(
    accessKeyID: "AKIDTESTKEYID", secretAccessKey: Secret("verySecretAccessKeyOfTheTests"),
    sessionToken: Secret("verySecretSessionTokenOfTheTests"), source: "tests")

/// Notes what it is asked to wait for, and does not wait.
final class RecordedSleeps: Sendable {
    private let noted = Guarded<[Double]>([])

    var seconds: [Double] { noted.value }

    var sleep: @Sendable (Double) async throws -> Void {
        { seconds in
            try Task.checkCancellation()
            self.noted.withLock { $0.append(seconds) }
        }
    }
}

/// A client as `lifeboat` builds one, with everything that it waits for or logs in a test's hands.
struct ClientUnderTest {
    let client: AWSClient
    let transport: PooledTransport
    let clock = ManualClock()
    let sleeps = RecordedSleeps()
    let logs = TestLogs()

    /// `chance`: the byte that all random numbers consist of.
    init(
        credentials: any CredentialSource = FixedCredentials(testCredentials), maxAttempts: Int = 8,
        caBundle: String? = nil, limits: PooledTransport.Limits = .init(), chance: UInt8 = 0xFF
    ) throws {
        transport = try PooledTransport(caBundle: caBundle, limits: limits)
        client = AWSClient(
            transport: transport, credentials: credentials, maxAttempts: maxAttempts, clock: clock,
            sleep: sleeps.sleep, random: { [UInt8](repeating: chance, count: $0) },
            logger: logs.logger)
    }
}

/// A GET of an object.
func getObject(_ server: StubServer, path: String = "/bucket/key", deadline: Double = 30) -> AWSRequest {
    AWSRequest(
        .s3, "GetObject", on: "s3:/" + path, at: server.endpoint, method: "GET", path: path, deadline: deadline)
}

/// The error that `body` ends with.
func awsError(_ body: () async throws -> some Sendable) async throws -> AWSError {
    do {
        _ = try await body()
    } catch let error as AWSError {
        return error
    }
    throw TestFailure("nothing was thrown")
}
