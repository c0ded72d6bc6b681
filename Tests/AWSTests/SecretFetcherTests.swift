import AWS
import Core
import Foundation
import TestSupport
import Testing

@Suite("Secrets in AWS")
struct SecretFetcherTests {
    private func fetcher(_ url: String, _ transport: any HTTPTransport, logs: TestLogs) throws -> SecretFetcher {
        let configuration = try AWSConfiguration(
            environment: ["AWS_ENDPOINT_URL": url, "AWS_REGION": "eu-central-1"], readFile: { _ in [] })
        let client = AWSClient(
            transport: transport,
            credentials: FixedCredentials(
                AWSCredentials(accessKeyID: "AKIA", secretAccessKey: Secret("k"), source: "test")),
            maxAttempts: 2, clock: ManualClock(), sleep: { _ in }, random: { [UInt8](repeating: 1, count: $0) },
            logger: logs.logger)
        return SecretFetcher(client: client, configuration: configuration)
    }

    private func reference(_ text: String) throws -> SecretReference { try #require(try SecretReference(text)) }

    private func refusal(_ fetcher: SecretFetcher, _ text: String) async throws -> SecretError {
        let reference = try reference(text)
        return try #require(await #expect(throws: SecretError.self) { try await fetcher.fetch(reference) })
    }

    /// Shows both services as moto plays them: whole secrets, fields of JSON objects, binary ones that are text, names
    /// and ARNs, and a secret in the region that its ARN names.
    @Test("From moto: text, fields, binary, ARNs, parameters", .needs(MotoServer.part))
    func moto() async throws {
        let moto = try await MotoServer.shared()
        let mark = UUID().uuidString.lowercased()
        let arn = try await moto.createSecret("clinic-\(mark)/plain", text: "pa$$word ü")
        try await moto.createSecret(
            "clinic-\(mark)/json",
            text: #"{"MONGODB_URL": "mongodb://u:p@h/db", "port": 5432, "ratio": 0.5, "on": true, "deep": {"a": 1}}"#)
        try await moto.createSecret("clinic-\(mark)/binary", binary: Data("bytes as text".utf8).base64EncodedString())
        try await moto.createSecret("clinic-\(mark)/noise", binary: Data([0xFF, 0xFE]).base64EncodedString())
        let far = try await moto.createSecret("clinic-\(mark)/far", text: "in Ireland", region: "eu-west-1")
        try await moto.putParameter("/clinic/\(mark)/password", "from the parameter store")
        let logs = TestLogs()
        try await withTransport { transport in
            let fetcher = try fetcher(moto.url, transport, logs: logs)
            let expected = [
                "aws-secretsmanager:clinic-\(mark)/plain": "pa$$word ü", "aws-secretsmanager:\(arn)": "pa$$word ü",
                "aws-secretsmanager:clinic-\(mark)/json#MONGODB_URL": "mongodb://u:p@h/db",
                "aws-secretsmanager:clinic-\(mark)/json#port": "5432",
                "aws-secretsmanager:clinic-\(mark)/json#ratio": "0.5",
                "aws-secretsmanager:clinic-\(mark)/binary": "bytes as text",
                "aws-secretsmanager:\(far)": "in Ireland",
                "aws-ssm:/clinic/\(mark)/password": "from the parameter store",
            ]
            let references = try expected.keys.map(reference)
            let found = try await fetcher.fetch(references)
            for reference in references {
                #expect(found[reference] == expected[reference.description].map { Secret($0) }, "\(reference)")
            }
            for (text, problem) in [
                ("clinic-\(mark)/json#gone", .noSuchField(["MONGODB_URL", "deep", "on", "port", "ratio"])),
                ("clinic-\(mark)/json#on", .fieldIsNoText), ("clinic-\(mark)/json#deep", .fieldIsNoText),
                ("clinic-\(mark)/plain#field", .notAnObject), ("clinic-\(mark)/noise", .notText),
            ] as [(String, SecretError.Problem)] {
                let error = try await refusal(fetcher, "aws-secretsmanager:\(text)")
                #expect(error.problem == problem)
                #expect(error.exitCode == .configuration)
                #expect(!"\(error)\(error.hint)".contains("u:p@h"))
            }
            for text in ["aws-secretsmanager:clinic-\(mark)/far", "aws-ssm:/clinic/\(mark)/gone"] {
                let error = try await refusal(fetcher, text)
                #expect(error.hint.contains("region eu-central-1"))
                #expect(error.object == text)
            }
        }
        for secret in ["pa$$word", "u:p@h", "bytes as text", "from the parameter store"] {
            #expect(!logs.text.contains(secret))
        }
    }

    /// Shows what goes over the wire, and that one secret is asked for once for all of its fields.
    @Test("One call for all fields of a secret")
    func once() async throws {
        let server = try await StubServer.start { _ in
            .ok(#"{"Name": "n", "SecretString": "{\"a\": \"1\", \"b\": \"2\"}", "CreatedDate": 1.5e9}"#)
        }
        defer { server.stop() }
        try await withTransport { transport in
            let fetcher = try fetcher(server.url, transport, logs: TestLogs())
            let a = try reference("aws-secretsmanager:n#a")
            let b = try reference("aws-secretsmanager:n#b")
            #expect(try await fetcher.fetch([a, b, a]) == [a: Secret("1"), b: Secret("2")])
        }
        #expect(server.requests.map(\.amzTarget) == ["secretsmanager.GetSecretValue"])
        #expect(server.requests.first?.bodyText == #"{"SecretId":"n"}"#)
    }

    @Test(
        "Refusals of the services: exit code 4, and advice",
        arguments: [
            ("AccessDeniedException", "kms:Decrypt"), ("ResourceNotFoundException", "region"),
            ("DecryptionFailure", "kms:Decrypt"), ("InvalidRequestException", "deletion"),
        ])
    func refusals(code: String, advice: String) async throws {
        let server = try await StubServer.start { _ in .jsonError(400, code, "User: arn is not authorized: hunter2") }
        defer { server.stop() }
        try await withTransport { transport in
            let error = try await refusal(fetcher(server.url, transport, logs: TestLogs()), "aws-secretsmanager:n")
            #expect(error.exitCode == .configuration)
            #expect(error.cause.contains(code))
            #expect(error.hint.contains(advice))
            #expect(!"\(error)\(error.hint)".contains("hunter2"))
        }
    }

    @Test("A service that is not there, and an answer that is none")
    func noService() async throws {
        let server = try await StubServer.start { request in request.number > 2 ? .ok("hunter2") : .reset }
        defer { server.stop() }
        try await withTransport { transport in
            let fetcher = try fetcher(server.url, transport, logs: TestLogs())
            let error = try await refusal(fetcher, "aws-ssm:/n")
            #expect(error.exitCode == .configuration)
            #expect(error.hint.contains("network policy"))
            let other = try await refusal(fetcher, "aws-ssm:/n")
            #expect(other.problem == .notText)
        }
    }
}
