import Core
import TestSupport
import Testing

@Suite("References to secrets")
struct SecretReferenceTests {
    /// Shows what each form of a reference says, and that its description is the text it was read from.
    @Test(
        "Names and ARNs, with fields and without",
        arguments: [
            ("aws-secretsmanager:clinic/postgres", .secretsManager, "clinic/postgres", nil, nil),
            ("aws-secretsmanager:clinic/mongo#MONGODB_URL", .secretsManager, "clinic/mongo", "MONGODB_URL", nil),
            ("aws-secretsmanager:a_+=.@-1#a#b c", .secretsManager, "a_+=.@-1", "a#b c", nil),
            (
                "aws-secretsmanager:arn:aws:secretsmanager:eu-central-1:123456789012:secret:db-AbCdEf#password",
                .secretsManager, "arn:aws:secretsmanager:eu-central-1:123456789012:secret:db-AbCdEf", "password",
                "eu-central-1"
            ),
            ("aws-ssm:/clinic/password", .parameterStore, "/clinic/password", nil, nil),
            ("aws-ssm:/clinic/password:3", .parameterStore, "/clinic/password:3", nil, nil),
            (
                "aws-ssm:arn:aws-cn:ssm:cn-north-1:123456789012:parameter/clinic/password", .parameterStore,
                "arn:aws-cn:ssm:cn-north-1:123456789012:parameter/clinic/password", nil, "cn-north-1"
            ),
        ] as [(String, SecretReference.Service, String, String?, String?)])
    func reads(text: String, service: SecretReference.Service, id: String, field: String?, region: String?) throws {
        let reference = try #require(try SecretReference(text))
        #expect(reference.service == service)
        #expect(reference.id == id)
        #expect(reference.field == field)
        #expect(reference.region == region)
        #expect(reference.description == text)
    }

    /// Shows that a password is a password, also where it looks a little like a reference.
    @Test(
        "What is no reference",
        arguments: [
            "", "secret", "aws", "aws-secretsmanager", "AWS-SSM:/a", " aws-ssm:/a", "aws-s3:x",
            "arn:aws:ssm:a:b:parameter/c",
        ])
    func leaves(text: String) throws { #expect(try SecretReference(text) == nil) }

    /// Shows that a reference with a mistake is refused, in words that do not hold its text.
    @Test(
        "Mistakes",
        arguments: [
            "aws-secretsmanager:", "aws-secretsmanager:#field", "aws-secretsmanager:hunter2#", "aws-ssm:",
            "aws-ssm:hunter2#field", "aws-secretsmanager:hunter2 3", "aws-secretsmanager:hunter2\n",
            "aws-secretsmanager:hunter2:3", "aws-ssm:hunter2@home", "aws-ssm:hünter2",
            "aws-secretsmanager:arn:aws:ssm:eu-west-1:123456789012:parameter/hunter2",
            "aws-ssm:arn:aws:ssm::123456789012:parameter/hunter2", "aws-secretsmanager:arn:hunter2",
            "aws-ssm:/" + String(repeating: "hunter2", count: 300),
        ])
    func refuses(text: String) throws {
        let error = try #require(throws: SecretReferenceError.self) { try SecretReference(text) }
        #expect(!error.description.isEmpty)
        #expect(!error.description.contains("hunter2"))
    }
}
