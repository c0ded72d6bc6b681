import AWS
import Core
import Foundation
import TestSupport
import Testing

@Suite("Credentials: order and renewal")
struct CredentialChainTests {
    /// Answers as STS, the container endpoint and the instance metadata service, valid for an hour.
    private func everything(_ clock: ManualClock) async throws -> StubServer {
        try await StubServer.start { request in
            let expires = clock.now().adding(seconds: hour)
            switch (request.method, request.path) {
            case ("POST", "/"): return .ok(stsAnswer("ASIAWEB", expires: expires))
            case ("GET", "/container"): return .ok(roleDocument("ASIACONTAINER", expires: expires))
            case ("PUT", "/latest/api/token"): return .ok("imds-token")
            case ("GET", "/latest/meta-data/iam/security-credentials/"): return .ok("clinic-role\n")
            case ("GET", "/latest/meta-data/iam/security-credentials/clinic-role"):
                return .ok(roleDocument("ASIAINSTANCE", expires: expires))
            default: return .answer(status: 404)
            }
        }
    }

    /// Shows the order of the SDKs: all five places are in use, and as one after the other is taken away, the next
    /// one gives the credentials. Where the last is gone the error names every place with what was missing there.
    @Test("The five places come in the order of the SDKs")
    func order() async throws {
        var fixture = CredentialFixture(
            [
                "AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": "secret-env", "AWS_REGION": "eu-central-1",
                "AWS_ROLE_ARN": "arn:aws:iam::1:role/clinic", "AWS_WEB_IDENTITY_TOKEN_FILE": "/token",
                "AWS_SHARED_CREDENTIALS_FILE": "/credentials",
            ],
            files: [
                "/token": "secret-jwt",
                "/credentials": "[default]\naws_access_key_id = AKIAFILE\naws_secret_access_key = secret-file\n",
            ])
        let server = try await everything(fixture.clock)
        defer { server.stop() }
        fixture.environment["AWS_ENDPOINT_URL_STS"] = server.url
        fixture.environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = "\(server.url)/container"
        fixture.environment["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = server.url
        let steps: [(id: String, source: String, next: [String: String?])] = [
            ("AKIAENV", "environment", ["AWS_ACCESS_KEY_ID": nil, "AWS_SECRET_ACCESS_KEY": ""]),
            ("ASIAWEB", "web identity arn:aws:iam::1:role/clinic", ["AWS_WEB_IDENTITY_TOKEN_FILE": nil]),
            ("AKIAFILE", "profile default", ["AWS_SHARED_CREDENTIALS_FILE": nil]),
            ("ASIACONTAINER", "container", ["AWS_CONTAINER_CREDENTIALS_FULL_URI": nil]),
            ("ASIAINSTANCE", "instance role clinic-role", ["AWS_EC2_METADATA_DISABLED": "true"]),
        ]
        for step in steps {
            let found = try await fixture.credentials()
            #expect(found.accessKeyID == step.id)
            #expect(found.source == step.source)
            for (name, value) in step.next { fixture.environment[name] = value }
        }
        let error = try await fixture.refusal()
        #expect(error.kind == .credentials)
        #expect(error.exitCode == .configuration)
        #expect(error.description.hasPrefix("cannot get AWS credentials: there are none"))
        for place in [
            "AWS_ACCESS_KEY_ID is not set", "AWS_WEB_IDENTITY_TOKEN_FILE is not set", "the shared files",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI is not set", "AWS_EC2_METADATA_DISABLED is true",
        ] {
            #expect(error.cause.contains(place))
        }
        #expect(!fixture.logs.text.contains("secret"))
    }

    @Test("A key without its secret is an error, and no other identity is taken", arguments: [true, false])
    func halfKey(hasID: Bool) async throws {
        let name = hasID ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY"
        let other = hasID ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID"
        let fixture = CredentialFixture([name: "secret-x", "AWS_EC2_METADATA_DISABLED": "true"])
        let error = try await fixture.refusal()
        #expect(error.exitCode == .configuration)
        #expect(error.cause.contains("\(other) is not set"))
        #expect(!error.description.contains("secret-x"))
    }

    /// A chain over a container endpoint of which the test holds the door: `script` is asked with the number of the
    /// fetch.
    private func renewing(
        _ clock: ManualClock, _ script: @escaping @Sendable (Int) async throws -> HTTPAnswer
    ) throws -> (chain: CredentialChain, transport: FakeTransport, logs: TestLogs) {
        var fixture = CredentialFixture(["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials"])
        fixture.clock = clock
        let count = Guarded(0)
        let transport = FakeTransport { _ in
            let number = count.withLock { count in
                count += 1
                return count
            }
            return try await script(number)
        }
        return (try fixture.chain(transport), transport, fixture.logs)
    }

    private static func document(_ number: Int, expires: Timestamp) -> HTTPAnswer {
        HTTPAnswer(status: 200, body: Array(roleDocument("ASIA\(number)", expires: expires).utf8))
    }

    /// Shows that a hundred askers cost one fetch, which is held up until the first of them waits for it.
    @Test("One fetch serves everybody")
    func oneFetch() async throws {
        let clock = ManualClock()
        let gate = ManualClock()
        let (chain, transport, _) = try renewing(clock) { number in
            try await gate.sleep(1)
            return Self.document(number, expires: clock.now().adding(seconds: hour))
        }
        try await withThrowingTaskGroup(of: String.self) { group in
            for _ in 0..<100 { group.addTask { try await chain.credentials().accessKeyID } }
            await gate.waitForSleepers(1)
            gate.advance(seconds: 1)
            for try await id in group { #expect(id == "ASIA1") }
        }
        #expect(transport.calls.count == 1)
    }

    /// Shows when new ones are fetched: five minutes before the end, and not a moment earlier.
    @Test("Renewed five minutes ahead")
    func renewal() async throws {
        let clock = ManualClock()
        let (chain, transport, _) = try renewing(clock) { number in
            Self.document(number, expires: clock.now().adding(seconds: hour))
        }
        #expect(try await chain.credentials().accessKeyID == "ASIA1")
        clock.advance(seconds: Double(hour - 301))
        #expect(try await chain.credentials().accessKeyID == "ASIA1")
        clock.advance(seconds: 1)
        #expect(try await chain.credentials().accessKeyID == "ASIA2")
        #expect(transport.calls.count == 2)
    }

    /// Shows that a service that is down in the last five minutes does no harm and is not asked without pause, and
    /// that there is an error once the old credentials have ended.
    @Test("Old credentials serve while new ones cannot be had")
    func oldOnesServe() async throws {
        let clock = ManualClock()
        let (chain, transport, logs) = try renewing(clock) { number in
            guard number == 1 else { throw TransportError(.connect, "refused") }
            return Self.document(number, expires: clock.now().adding(seconds: hour))
        }
        #expect(try await chain.credentials().accessKeyID == "ASIA1")
        clock.advance(seconds: Double(hour - 200))
        #expect(try await chain.credentials().accessKeyID == "ASIA1")
        #expect(logs.text.contains("could not be refreshed"))
        let calls = transport.calls.count
        #expect(try await chain.credentials().accessKeyID == "ASIA1")
        #expect(transport.calls.count == calls)
        clock.advance(seconds: 31)
        #expect(try await chain.credentials().accessKeyID == "ASIA1")
        #expect(transport.calls.count > calls)
        clock.advance(seconds: 200)
        let error = await #expect(throws: AWSError.self) { try await chain.credentials() }
        #expect(error?.kind == .credentials)
        #expect(!logs.text.contains("secret-"))
    }

    /// Shows that refused credentials are fetched anew at once, and only while they are the ones that are kept.
    @Test("Discarded credentials are fetched anew")
    func discard() async throws {
        let clock = ManualClock()
        let (chain, transport, _) = try renewing(clock) { number in
            Self.document(number, expires: clock.now().adding(seconds: hour))
        }
        let first = try await chain.credentials()
        await chain.discard(first)
        #expect(try await chain.credentials().accessKeyID == "ASIA2")
        await chain.discard(first)
        #expect(try await chain.credentials().accessKeyID == "ASIA2")
        #expect(transport.calls.count == 2)
    }

    /// Shows that a machine whose clock is far ahead, to which all credentials look expired, still uses them, and
    /// does not fetch for each request.
    @Test("A clock far ahead does not fetch without end")
    func clockAhead() async throws {
        let clock = ManualClock()
        let (chain, transport, _) = try renewing(clock) { number in
            Self.document(number, expires: clock.now().adding(seconds: -hour))
        }
        for _ in 0..<10 { #expect(try await chain.credentials().accessKeyID == "ASIA1") }
        #expect(transport.calls.count == 1)
    }

    /// Shows that one who leaves takes nothing from the others, and that when the last has left the fetch ends and
    /// the next asker gets one of his own.
    @Test("Cancelled askers")
    func cancelled() async throws {
        let clock = ManualClock()
        let gate = ManualClock()
        let (chain, transport, _) = try renewing(clock) { number in
            if number == 1 { try await gate.sleep(1) }
            return Self.document(number, expires: clock.now().adding(seconds: hour))
        }
        let staying = Task { try await chain.credentials() }
        await gate.waitForSleepers(1)
        let leaving = Task { try await chain.credentials() }
        leaving.cancel()
        await #expect(throws: CancellationError.self) { try await leaving.value }
        gate.advance(seconds: 1)
        #expect(try await staying.value.accessKeyID == "ASIA1")
        #expect(transport.calls.count == 1)
    }

    @Test("The last asker's leaving ends the fetch, and the next one starts anew")
    func allCancelled() async throws {
        let clock = ManualClock()
        let sleeper = ManualClock()
        let (chain, _, _) = try renewing(clock) { number in
            if number == 1 { try await sleeper.sleep(1) }
            return Self.document(number, expires: clock.now().adding(seconds: hour))
        }
        let alone = Task { try await chain.credentials() }
        await sleeper.waitForSleepers(1)
        alone.cancel()
        await #expect(throws: CancellationError.self) { try await alone.value }
        #expect(try await chain.credentials().accessKeyID == "ASIA2")
    }
}
