import AWS
import Core
import Logging
import TestSupport
import Testing

/// What the client sends again, when, and what it makes of the rest. Waits are noted, not waited for; chance is always
/// the largest, so that each wait is the whole of its range.
struct ClientTests {
    /// The first request of a connection that never fails.
    @Test func signsAndSends() async throws {
        let server = try await StubServer.start { _ in .ok("body") }
        defer { server.stop() }
        let test = try ClientUnderTest()
        var request = getObject(server, path: "/bucket/odd name+1")
        request.query = [(name: "versionId", value: "a b"), (name: "acl", value: nil)]
        let answer = try await test.client.send(request)
        #expect(answer.body == Array("body".utf8))
        let got = try #require(server.requests.first)
        #expect(got.target == "/bucket/odd%20name%2B1?versionId=a%20b&acl")
        #expect(got.headers["Host"] == server.host)
        #expect(got.headers["X-Amz-Date"] == "20250115T070000Z")
        #expect(got.headers["X-Amz-Security-Token"] == "verySecretSessionTokenOfTheTests")
        #expect(got.headers["Authorization"]?.contains("/eu-central-1/s3/aws4_request") == true)
        try await test.transport.shutdown()
    }

    /// Without a signature nothing of the credentials leaves, and they are not even asked for.
    @Test func unsigned() async throws {
        struct None: CredentialSource {
            func credentials() async throws -> AWSCredentials { throw TestFailure("was asked") }
            func discard(_ credentials: AWSCredentials) async {}
        }
        let server = try await StubServer.start { _ in .ok() }
        defer { server.stop() }
        let test = try ClientUnderTest(credentials: None())
        var request = AWSRequest(
            .sts, "AssumeRoleWithWebIdentity", on: "", at: server.endpoint, method: "POST", body: .bytes([1]))
        request.isSigned = false
        _ = try await test.client.send(request)
        #expect(server.requests.first?.headers["Authorization"] == nil)
        try await test.transport.shutdown()
    }

    // MARK: Retries

    /// Each of these comes once and is got over: the request goes out a second time after a wait.
    @Test(arguments: [
        StubReply.s3Error(500, "InternalError"), .s3Error(503, "SlowDown"), .s3Error(503, "ServiceUnavailable"),
        .answer(status: 502), .answer(status: 504, body: Array("<html>proxy</html>".utf8)), .answer(status: 429),
        .s3Error(400, "RequestTimeout"), .s3Error(400, "BadDigest"), .jsonError(400, "ThrottlingException"),
        .reset, .close, .cut(after: 3, status: 503, body: Array("<Error>".utf8)),
    ])
    func passingTrouble(_ trouble: StubReply) async throws {
        let server = try await StubServer.start { $0.number == 1 ? trouble : .ok("fine") }
        defer { server.stop() }
        let test = try ClientUnderTest()
        let answer = try await test.client.send(getObject(server))
        #expect(answer.body == Array("fine".utf8))
        #expect(server.requests.count == 2)
        #expect(test.sleeps.seconds.count == 1)
        try await test.transport.shutdown()
    }

    /// The back-off doubles up to its cap, each wait spread over its whole range, and the attempts end.
    @Test func backOff() async throws {
        let server = try await StubServer.start { _ in .s3Error(503, "SlowDown") }
        defer { server.stop() }
        let longest = try ClientUnderTest()
        let error = try await awsError { try await longest.client.send(getObject(server)) }
        #expect(error.code == "SlowDown")
        #expect(error.attempts == 8)
        #expect(error.exitCode == .store)
        #expect(error.cause == "SlowDown: words (request REQ1), after 8 attempts")
        let waits = longest.sleeps.seconds.map { ($0 * 100).rounded() / 100 }
        #expect(waits == [0.5, 1, 2, 4, 8, 16, 20])
        let shortest = try ClientUnderTest(maxAttempts: 3, chance: 0)
        _ = try await awsError { try await shortest.client.send(getObject(server)) }
        #expect(shortest.sleeps.seconds == [0, 0])
        try await longest.transport.shutdown()
        try await shortest.transport.shutdown()
    }

    /// `Retry-After` is respected, in seconds and as a date, and bounded.
    @Test(arguments: [("7", 7.0), ("Wed, 15 Jan 2025 07:00:30 GMT", 30.0), ("86400", 60.0), ("soon", 0.5)])
    func retryAfter(_ header: String, _ seconds: Double) async throws {
        let server = try await StubServer.start { request in
            request.number == 1 ? .s3Error(503, "SlowDown", headers: [(name: "Retry-After", value: header)]) : .ok()
        }
        defer { server.stop() }
        let test = try ClientUnderTest()
        _ = try await test.client.send(getObject(server))
        #expect(test.sleeps.seconds.map { $0.rounded(.toNearestOrEven) == 0 ? 0.5 : $0.rounded() } == [seconds])
        try await test.transport.shutdown()
    }

    /// A server that closes its connections after each answer, unannounced, costs a second attempt at most.
    @Test func closedConnections() async throws {
        let server = try await StubServer.start { _ in .answerAndClose(status: 200, body: [1]) }
        defer { server.stop() }
        let test = try ClientUnderTest()
        for _ in 1...10 {
            let answer = try await test.client.send(getObject(server))
            #expect(answer.body == [1])
        }
        try await test.transport.shutdown()
    }

    /// What must not be done twice is not sent twice once it may have arrived; where it was refused, it is.
    @Test(arguments: [
        (StubReply.answer(status: 500), 1), (.close, 1), (.reset, 1), (.s3Error(503, "SlowDown"), 3),
        (.answer(status: 429), 3),
    ])
    func notIdempotent(_ reply: StubReply, _ expected: Int) async throws {
        let server = try await StubServer.start { _ in reply }
        defer { server.stop() }
        let test = try ClientUnderTest(maxAttempts: 3)
        var request = getObject(server)
        request.method = "POST"
        request.isIdempotent = false
        _ = try await awsError { try await test.client.send(request) }
        #expect(server.requests.count == expected)
        try await test.transport.shutdown()
    }

    /// Errors that the same request would meet again are not repeated.
    @Test(arguments: [
        StubReply.s3Error(404, "NoSuchKey"), .s3Error(403, "AccessDenied"), .s3Error(412, "PreconditionFailed"),
        .s3Error(301, "PermanentRedirect"), .s3Error(501, "NotImplemented"), .jsonError(400, "DisabledException"),
        .answer(status: 304),
    ])
    func lastingTrouble(_ reply: StubReply) async throws {
        let server = try await StubServer.start { _ in reply }
        defer { server.stop() }
        let test = try ClientUnderTest()
        let error = try await awsError { try await test.client.send(getObject(server)) }
        #expect(error.attempts == 1)
        #expect(error.kind == .refused)
        #expect(server.requests.count == 1)
        try await test.transport.shutdown()
    }

    /// A port that nobody listens on is tried again even for what must not be done twice: nothing was sent.
    @Test func refusedConnections() async throws {
        let server = try await StubServer.start { _ in .close }
        server.stop()
        let test = try ClientUnderTest(maxAttempts: 3)
        var request = getObject(server)
        request.isIdempotent = false
        var error = try await awsError { try await test.client.send(request) }
        // The port closes a moment after the stop.
        while error.transport != .connect { error = try await awsError { try await test.client.send(request) } }
        #expect(error.kind == .unreachable)
        #expect(error.attempts == 3)
        #expect(error.cause.contains("the connection was refused, after 3 attempts"))
        try await test.transport.shutdown()
    }

    /// Retries of all requests together come to an end while nothing succeeds: 100 of them, of 70 requests with up to
    /// seven each.
    @Test func budget() async throws {
        let server = try await StubServer.start { _ in .s3Error(503, "SlowDown") }
        defer { server.stop() }
        let test = try ClientUnderTest()
        var last: AWSError?
        for _ in 1...70 { last = try await awsError { try await test.client.send(getObject(server)) } }
        #expect(server.requests.count == 70 + 100)
        #expect(last?.attempts == 1)
        #expect(last?.message.contains("too many requests have failed") == true)
        try await test.transport.shutdown()
    }

    /// A body that breaks off before anything was handed on is asked for again; after that it is the caller's, who has
    /// the beginning.
    @Test(arguments: [(0, 2), (10, 1)])
    func brokenBodies(_ sent: Int, _ expected: Int) async throws {
        let body = [UInt8](repeating: 7, count: 1000)
        let server = try await StubServer.start { request in
            request.number == 1 ? .cut(after: sent, status: 200, body: body) : .answer(status: 200, body: body)
        }
        defer { server.stop() }
        let test = try ClientUnderTest()
        let count = Guarded(0)
        let take: @Sendable (UnsafeRawBufferPointer) -> Void = { piece in count.withLock { $0 += piece.count } }
        if sent == 0 {
            _ = try await test.client.receive(getObject(server), take: take)
            #expect(count.value == 1000)
        } else {
            let error = try await awsError { try await test.client.receive(getObject(server), take: take) }
            #expect(error.transport == .broken)
            #expect(count.value == 10)
        }
        #expect(server.requests.count == expected)
        try await test.transport.shutdown()
    }

    /// S3 answers 200 before it knows whether it can finish an upload, and says in the body that it could not.
    @Test func errorsWithStatus200() async throws {
        let server = try await StubServer.start { request in
            switch request.number {
            case 1: .s3Error(200, "InternalError")
            case 2: .s3Error(200, "SlowDown")
            case 3: .ok("\n  <?xml version=\"1.0\"?>\n<CompleteMultipartUploadResult/>")
            default: .s3Error(200, "InvalidPart")
            }
        }
        defer { server.stop() }
        let test = try ClientUnderTest()
        var request = getObject(server)
        request.mayFailWithStatus200 = true
        let answer = try await test.client.send(request)
        #expect(answer.body.count > 0)
        #expect(server.requests.count == 3)
        let error = try await awsError { try await test.client.send(request) }
        #expect(error.code == "InvalidPart")
        #expect(error.status == 200)
        try await test.transport.shutdown()
    }

    // MARK: Clock

    /// A clock that is an hour off is corrected from the answer, once for all requests that follow.
    @Test(arguments: ["RequestTimeTooSkewed", "SignatureDoesNotMatch", ""])
    func skew(_ code: String) async throws {
        let date = [(name: "Date", value: "Wed, 15 Jan 2025 08:00:00 GMT")]
        let server = try await StubServer.start { request in
            if request.headers["X-Amz-Date"] == "20250115T080000Z" { return .ok() }
            return code.isEmpty ? .answer(status: 403, headers: date) : .s3Error(403, code, headers: date)
        }
        defer { server.stop() }
        let test = try ClientUnderTest()
        var request = getObject(server)
        // An answer to HEAD has no body to say why.
        if code.isEmpty { request.method = "HEAD" }
        _ = try await test.client.send(request)
        _ = try await test.client.send(request)
        #expect(server.requests.count == 3)
        #expect(test.sleeps.seconds.isEmpty)
        #expect(test.client.now == test.clock.now().adding(seconds: 3600))
        try await test.transport.shutdown()
    }

    /// A server that complains although it was given its own time is not asked for ever.
    @Test func lastingSkew() async throws {
        let server = try await StubServer.start { _ in
            .s3Error(
                403, "RequestTimeTooSkewed", headers: [(name: "Date", value: "Wed, 15 Jan 2025 05:00:00 GMT")])
        }
        defer { server.stop() }
        let test = try ClientUnderTest()
        let error = try await awsError { try await test.client.send(getObject(server)) }
        #expect(server.requests.count == 2)
        #expect(error.hint.contains("the clock of this machine is off by 2 hours (it is ahead)"))
        try await test.transport.shutdown()
    }

    // MARK: Credentials

    /// Expired credentials are let go and fetched anew, once.
    @Test(arguments: ["ExpiredToken", "InvalidAccessKeyId"])
    func expiredCredentials(_ code: String) async throws {
        let source = RotatingCredentials()
        let server = try await StubServer.start { request in
            request.headers["Authorization"]?.contains("Credential=KEY2/") == true ? .ok() : .s3Error(400, code)
        }
        defer { server.stop() }
        let test = try ClientUnderTest(credentials: source)
        var request = getObject(server)
        request.isIdempotent = false
        _ = try await test.client.send(request)
        #expect(server.requests.count == 2)
        #expect(source.discarded.value == ["KEY1"])
        #expect(test.sleeps.seconds.isEmpty)
        try await test.transport.shutdown()
    }

    /// Fixed credentials that are refused are not sent again, and neither are fresh ones that are refused too.
    @Test func refusedCredentials() async throws {
        let server = try await StubServer.start { _ in .s3Error(400, "ExpiredToken") }
        defer { server.stop() }
        let fixed = try ClientUnderTest()
        _ = try await awsError { try await fixed.client.send(getObject(server)) }
        #expect(server.requests.count == 1)
        let rotating = try ClientUnderTest(credentials: RotatingCredentials())
        let error = try await awsError { try await rotating.client.send(getObject(server)) }
        #expect(server.requests.count == 3)
        #expect(error.attempts == 2)
        try await fixed.transport.shutdown()
        try await rotating.transport.shutdown()
    }

    // MARK: Cancellation, secrets

    /// A wait between attempts ends when the task is cancelled, and nothing more is sent.
    @Test func cancelledWait() async throws {
        let server = try await StubServer.start { _ in .s3Error(503, "SlowDown") }
        defer { server.stop() }
        let transport = try PooledTransport()
        let clock = ManualClock()
        let client = AWSClient(
            transport: transport, credentials: FixedCredentials(testCredentials), maxAttempts: 3, clock: clock,
            sleep: clock.sleep, random: { [UInt8](repeating: 9, count: $0) }, logger: .init(label: "tests"))
        let request = getObject(server)
        let task = Task { try await client.send(request) }
        await clock.waitForSleepers(1)
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(server.requests.count == 1)
        try await transport.shutdown()
    }

    /// No key, secret or token stands in any line that is logged or in any error, not even where the service quotes
    /// the request.
    @Test func secretsStayHidden() async throws {
        let server = try await StubServer.start { request in
            let token = request.headers["X-Amz-Security-Token"] ?? ""
            let key = request.headers["Authorization"]?.split(separator: "/").first?.split(separator: "=").last ?? ""
            switch request.number {
            case 1: return .reset
            case 2: return .s3Error(503, "SlowDown", "token \(token) of \(key)")
            case 3: return .ok()
            case 4:
                return .s3Error(
                    403, "SignatureDoesNotMatch", "no match for \(token) of \(key)\nCanonical: \(token)",
                    more: "<StringToSign>\(token)</StringToSign><AWSAccessKeyId>\(key)</AWSAccessKeyId>")
            default: return .jsonError(400, "InvalidSignatureException", "x-amz-security-token:\(token)")
            }
        }
        defer { server.stop() }
        let test = try ClientUnderTest()
        var texts: [String] = []
        _ = try await test.client.send(getObject(server))
        for _ in 1...2 {
            let error = try await awsError { try await test.client.send(getObject(server)) }
            #expect(error.cause.contains("••••"))
            texts += [error.description, error.cause, error.hint, error.object, "\(error.headers)"]
        }
        texts += test.logs.lines
        #expect(test.logs.lines.count >= 6)
        for text in texts {
            for secret in ["verySecret", "AKIDTESTKEYID", "Signature="] {
                #expect(!text.contains(secret), "\(text)")
            }
        }
        try await test.transport.shutdown()
    }

    /// A TLS server that is not trusted is an error at once, with a hint that names the variable.
    @Test(.needs(TestCertificates.part)) func untrusted() async throws {
        try await withScratchDirectory { directory in
            let certificates = try TestCertificates.make(in: directory)
            let server = try await StubServer.start(tls: certificates) { _ in .ok() }
            defer { server.stop() }
            let test = try ClientUnderTest()
            let error = try await awsError { try await test.client.send(getObject(server)) }
            #expect(error.attempts == 1)
            #expect(error.transport == .tls)
            #expect(error.hint.contains("AWS_CA_BUNDLE"))
            try await test.transport.shutdown()
        }
    }
}

/// Gives KEY1 until that is let go, then KEY2, and so on.
private final class RotatingCredentials: CredentialSource {
    private let number = Guarded(1)
    let discarded = Guarded<[String]>([])

    func credentials() async throws -> AWSCredentials {
        AWSCredentials(accessKeyID: "KEY\(number.value)", secretAccessKey: Secret("s"), source: "tests")
    }

    func discard(_ credentials: AWSCredentials) async {
        discarded.withLock { $0.append(credentials.accessKeyID) }
        number.withLock { $0 += 1 }
    }
}
