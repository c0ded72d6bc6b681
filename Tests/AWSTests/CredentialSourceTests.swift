import AWS
import Core
import Foundation
import TestSupport
import Testing

@Suite("Credentials: web identity")
struct CredentialWebIdentityTests {
    private static let role = "arn:aws:iam::123456789012:role/clinic-backup"

    private func fixture(_ server: StubServer, token: String = "secret-jwt") -> CredentialFixture {
        CredentialFixture(
            [
                "AWS_ROLE_ARN": Self.role, "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/token",
                "AWS_ROLE_SESSION_NAME": "backup of clinic", "AWS_ENDPOINT_URL_STS": server.url,
                "AWS_EC2_METADATA_DISABLED": "true",
            ], files: ["/var/run/token": token])
    }

    /// Shows the call as the AWS documentation has it: a form, unsigned, with the token of this moment, which the
    /// kubelet has renewed since the first call.
    @Test("The call, and the token read anew each time")
    func call() async throws {
        let clock = ManualClock()
        let server = try await StubServer.start { request in
            .ok(stsAnswer("ASIA\(request.number)", expires: clock.now().adding(seconds: hour)))
        }
        defer { server.stop() }
        var fixture = fixture(server, token: "secret-jwt+/=\n")
        fixture.clock = clock
        try await withTransport { transport in
            let chain = try fixture.chain(transport)
            let found = try await chain.credentials()
            #expect(found.accessKeyID == "ASIA1")
            #expect(found.secretAccessKey == Secret("secret-key-of-ASIA1"))
            #expect(found.sessionToken == Secret("secret-token-of-ASIA1"))
            #expect(found.expires == clock.now().adding(seconds: hour))
            fixture.files.set(["/var/run/token": "secret-next"])
            clock.advance(seconds: Double(hour))
            #expect(try await chain.credentials().accessKeyID == "ASIA2")
        }
        let requests = server.requests
        #expect(requests.allSatisfy { $0.headers["Authorization"] == nil && $0.method == "POST" })
        #expect(
            formFields(try #require(requests.first).bodyText) == [
                "Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleArn": Self.role,
                "RoleSessionName": "backup of clinic", "WebIdentityToken": "secret-jwt+/=",
            ])
        #expect(formFields(try #require(requests.last).bodyText)["WebIdentityToken"] == "secret-next")
        #expect(!fixture.logs.text.contains("secret"))
    }

    @Test("Without an endpoint of one's own, STS of the region is asked")
    func regionalEndpoint() async throws {
        let transport = FakeTransport { _ in
            HTTPAnswer(status: 200, body: Array(stsAnswer("ASIA", expires: Timestamp(milliseconds: 1 << 42)).utf8))
        }
        let fixture = CredentialFixture(
            [
                "AWS_ROLE_ARN": Self.role, "AWS_WEB_IDENTITY_TOKEN_FILE": "/token", "AWS_REGION": "eu-central-1",
            ], files: ["/token": "secret-jwt"])
        #expect(try await fixture.chain(transport).credentials().accessKeyID == "ASIA")
        #expect(transport.calls.map(\.url) == ["https://sts.eu-central-1.amazonaws.com/"])
    }

    /// Shows what the refusals of the documentation become: each an error with its own advice, after one attempt, and
    /// none of the service's words, which here quote the token.
    @Test(
        "Refusals",
        arguments: [
            ("ExpiredTokenException", "kubelet"), ("InvalidIdentityToken", "OpenID Connect provider"),
            ("AccessDenied", "trust policy"),
        ])
    func refusals(code: String, advice: String) async throws {
        let server = try await StubServer.start { _ in stsError(code) }
        defer { server.stop() }
        let fixture = fixture(server)
        let error = try await fixture.refusal()
        #expect(error.kind == .credentials)
        #expect(error.exitCode == .configuration)
        #expect(error.code == code)
        #expect(error.requestID == "ad4156e9")
        #expect(error.hint.contains(advice))
        #expect(error.object == Self.role)
        #expect(server.requests.count == 1)
        #expect(!"\(error) \(error.hint) \(fixture.logs.text)".contains("secret"))
    }

    @Test("What passes is tried again: 5xx, resets, an issuer that AWS does not reach")
    func passing() async throws {
        let server = try await StubServer.start { request in
            switch request.number {
            case 1: .answer(status: 503)
            case 2: stsError("IDPCommunicationError")
            default: .ok(stsAnswer("ASIA", expires: Timestamp(milliseconds: 1 << 42)))
            }
        }
        defer { server.stop() }
        #expect(try await fixture(server).credentials().accessKeyID == "ASIA")
        #expect(server.requests.count == 3)
    }

    @Test("A service that stays down, and one that answers something else")
    func down() async throws {
        let down = try await StubServer.start { _ in .reset }
        defer { down.stop() }
        let error = try await fixture(down).refusal()
        #expect(error.exitCode == .configuration)
        #expect(error.cause.contains("does not answer"))
        let other = try await StubServer.start { _ in .ok("<html>login</html>") }
        defer { other.stop() }
        #expect(try await fixture(other).refusal().cause.contains("holds no credentials"))
    }

    @Test("A token that is not there, and a role that is not named")
    func missing() async throws {
        let role = Self.role
        let noFile = CredentialFixture(["AWS_ROLE_ARN": role, "AWS_WEB_IDENTITY_TOKEN_FILE": "/gone"])
        #expect(try await noFile.refusal().cause.contains("cannot be read"))
        let empty = CredentialFixture(
            ["AWS_ROLE_ARN": role, "AWS_WEB_IDENTITY_TOKEN_FILE": "/empty"], files: ["/empty": " \n"])
        #expect(try await empty.refusal().cause.contains("no token"))
        let noRole = CredentialFixture(["AWS_WEB_IDENTITY_TOKEN_FILE": "/token"], files: ["/token": "secret-jwt"])
        #expect(try await noRole.refusal().cause.contains("AWS_ROLE_ARN is not"))
    }
}

@Suite("Credentials: container endpoint")
struct CredentialContainerTests {
    /// Shows EKS Pod Identity: the token of the file goes in a header, as it is at that moment.
    @Test("The token's file is read anew each time")
    func podIdentity() async throws {
        let clock = ManualClock()
        let server = try await StubServer.start { request in
            .ok(roleDocument("ASIA\(request.number)", expires: clock.now().adding(seconds: hour)))
        }
        defer { server.stop() }
        var fixture = CredentialFixture(
            [
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": "\(server.url)/v1/credentials",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/token", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "not-this",
            ], files: ["/token": "secret-one"])
        fixture.clock = clock
        try await withTransport { transport in
            let chain = try fixture.chain(transport)
            #expect(try await chain.credentials().sessionToken == Secret("secret-token-of-ASIA1"))
            fixture.files.set(["/token": "secret-two\n"])
            clock.advance(seconds: Double(hour))
            #expect(try await chain.credentials().accessKeyID == "ASIA2")
        }
        #expect(server.requests.map { $0.headers["Authorization"] } == ["secret-one", "secret-two"])
        #expect(server.requests.allSatisfy { $0.target == "/v1/credentials" })
        #expect(!fixture.logs.text.contains("secret"))
    }

    @Test("A relative address is the one of ECS")
    func relative() async throws {
        let transport = FakeTransport { _ in
            HTTPAnswer(status: 200, body: Array(roleDocument("ASIA", expires: Timestamp(milliseconds: 1 << 42)).utf8))
        }
        let fixture = CredentialFixture([
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/x",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://elsewhere/",
        ])
        #expect(try await fixture.chain(transport).credentials().accessKeyID == "ASIA")
        #expect(transport.calls.map(\.url) == ["http://169.254.170.2/v2/x"])
        #expect(transport.calls.first?.headers["Authorization"] == nil)
    }

    @Test(
        "Where the token may go",
        arguments: [
            ("https://example.com/x", true), ("http://127.0.0.1:80/x", true), ("http://127.3.2.1/", true),
            ("http://localhost/x", true), ("http://[::1]:8080/x", true), ("http://169.254.170.2/x", true),
            ("http://169.254.170.23/v1/credentials", true), ("http://[fd00:ec2::23]/v1/credentials", true),
            ("http://169.254.169.254/x", false), ("http://example.com/", false),
            ("http://127.0.0.1.example.com/", false),
            ("http://127.0.0.1@example.com/", false), ("http://[fd00:ec2::24]/", false), ("ftp://127.0.0.1/", false),
            ("http://[::1].example.com/", false), ("http://1270.0.0.1/", false), ("https://", false), ("x", false),
        ])
    func hosts(url: String, isAllowed: Bool) async throws {
        let transport = FakeTransport { _ in
            HTTPAnswer(status: 200, body: Array(roleDocument("ASIA", expires: Timestamp(milliseconds: 1 << 42)).utf8))
        }
        let fixture = CredentialFixture([
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": url, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "secret-token",
        ])
        let chain = try fixture.chain(transport)
        if isAllowed {
            #expect(try await chain.credentials().accessKeyID == "ASIA")
        } else {
            await #expect(throws: AWSError.self) { try await chain.credentials() }
            #expect(transport.calls.isEmpty)
        }
    }

    @Test("Refusals, answers without credentials, and a token with a line break")
    func refusals() async throws {
        let replies: [(StubReply, String)] = [
            (.answer(status: 400, body: Array("secret words".utf8)), "status 400"),
            (.ok("secret words"), "not a JSON object"), (.ok("{\"AccessKeyId\": \"A\"}"), "SecretAccessKey"),
            (.ok("{\"AccessKeyId\": \"A\", \"SecretAccessKey\": \"secret\"}"), "'Token'"),
            (
                .ok(
                    "{\"AccessKeyId\": \"A\", \"SecretAccessKey\": \"secret\", \"Token\": \"t\", \"Expiration\": \"soon\"}"
                ),
                "'Expiration'"
            ),
        ]
        for (reply, words) in replies {
            let server = try await StubServer.start { _ in reply }
            defer { server.stop() }
            let error = try await CredentialFixture(["AWS_CONTAINER_CREDENTIALS_FULL_URI": server.url]).refusal()
            #expect(error.kind == .credentials)
            #expect(error.cause.contains(words))
            #expect(!"\(error)\(error.hint)".contains("secret words"))
        }
        let fixture = CredentialFixture([
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "secret\r\nHost: x",
        ])
        let error = try await fixture.refusal()
        #expect(error.cause.contains("line break"))
    }
}

@Suite("Credentials: instance metadata")
struct CredentialInstanceTests {
    /// Shows version 2 of the service: a token by PUT with its lifetime, then every other request with it.
    @Test("The token comes first and goes with each request")
    func flow() async throws {
        let server = try await StubServer.start { request in
            switch (request.method, request.path) {
            case ("PUT", "/latest/api/token"): .ok("imds-token")
            case ("GET", "/latest/meta-data/iam/security-credentials/"): .ok("clinic-role")
            default: .ok(roleDocument("ASIA", expires: Timestamp(milliseconds: 1 << 42)))
            }
        }
        defer { server.stop() }
        let found = try await CredentialFixture(["AWS_EC2_METADATA_SERVICE_ENDPOINT": server.url + "/"]).credentials()
        #expect(found.source == "instance role clinic-role")
        let requests = server.requests
        #expect(requests.count == 3)
        #expect(requests.first?.headers["X-aws-ec2-metadata-token-ttl-seconds"] == "21600")
        #expect(requests.dropFirst().allSatisfy { $0.headers["X-aws-ec2-metadata-token"] == "imds-token" })
        #expect(requests.last?.target == "/latest/meta-data/iam/security-credentials/clinic-role")
    }

    /// Shows that a service without version 2 gets no second question: version 1 would answer anybody who can make
    /// this process send a request.
    @Test("No fall-back to version 1", arguments: [400, 403, 404, 405])
    func noVersion1(status: Int) async throws {
        let server = try await StubServer.start { _ in .answer(status: status) }
        defer { server.stop() }
        let error = try await CredentialFixture(["AWS_EC2_METADATA_SERVICE_ENDPOINT": server.url]).refusal()
        #expect(error.cause.contains("status \(status) to the request for a token"))
        #expect(server.requests.map(\.method) == ["PUT"])
    }

    /// Shows what a machine outside AWS costs: two short attempts at an address where nobody answers, and an error
    /// that says so.
    @Test("Silence is bounded")
    func silence() async throws {
        let transport = FakeTransport { _ in throw TransportError(.timeout, "no answer within 1 s") }
        let fixture = CredentialFixture()
        let error = await #expect(throws: AWSError.self) { try await fixture.chain(transport).credentials() }
        #expect(error?.cause.contains("http://169.254.169.254/ does not answer") == true)
        #expect(transport.calls.map(\.method) == ["PUT", "PUT"])
        #expect(transport.calls.allSatisfy { $0.deadline == 1 })
        var other = fixture
        other.environment = [
            "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6", "AWS_METADATA_SERVICE_TIMEOUT": "2.5",
            "AWS_METADATA_SERVICE_NUM_ATTEMPTS": "1",
        ]
        let calls = transport.calls.count
        await #expect(throws: AWSError.self) { try await other.chain(transport).credentials() }
        let further = transport.calls.dropFirst(calls)
        #expect(further.map(\.url) == ["http://[fd00:ec2::254]/latest/api/token"])
        #expect(further.first?.deadline == 2.5)
    }

    @Test("An instance without a role, a name that is none, and a role that may not be taken")
    func odd() async throws {
        let answers: [(list: StubReply, document: StubReply, words: String)] = [
            (.answer(status: 404), .ok(), "the instance has no role"),
            (.ok("../../user-data"), .ok(), "names no role"),
            (.ok("role"), .ok("{\"Code\": \"AssumeRoleUnauthorizedAccess\"}"), "AssumeRoleUnauthorizedAccess"),
            (.ok("role"), .answer(status: 404), "status 404"),
        ]
        for (list, document, words) in answers {
            let server = try await StubServer.start { request in
                switch (request.method, request.path) {
                case ("PUT", _): .ok("t")
                case (_, "/latest/meta-data/iam/security-credentials/"): list
                default: document
                }
            }
            defer { server.stop() }
            let error = try await CredentialFixture(["AWS_EC2_METADATA_SERVICE_ENDPOINT": server.url]).refusal()
            #expect(error.exitCode == .configuration)
            #expect(error.cause.contains(words), "\(error.cause)")
        }
    }
}
