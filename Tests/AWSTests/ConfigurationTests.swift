import AWS
import Core
import TestSupport
import Testing

/// Endpoints and the files that the AWS tools share. The host names are those that botocore's endpoint rules give.
struct ConfigurationTests {
    private func configuration(
        _ environment: [String: String], file: String? = nil
    ) throws -> AWSConfiguration {
        try AWSConfiguration(environment: environment) { path in
            guard let file, path == "/home/c/.aws/config" else { throw TestFailure("no such file") }
            return Array(file.utf8)
        }
    }

    private func failure(_ body: () throws -> some Sendable) throws -> any Failure {
        do {
            _ = try body()
        } catch let error as any Failure {
            return error
        }
        throw TestFailure("nothing was thrown")
    }

    struct Case: CustomTestStringConvertible, Sendable {
        var region: String
        var service: AWSService
        var hosts: [String?]
        var signingRegion: String?

        /// `hosts`: plain, dual-stack, FIPS, both; `nil` where there is none.
        init(_ region: String, _ service: AWSService, _ hosts: [String?], signingRegion: String? = nil) {
            self.region = region
            self.service = service
            self.hosts = hosts
            self.signingRegion = signingRegion
        }

        var testDescription: String { "\(service.rawValue) in \(region)" }
    }

    static let cases = [
        Case(
            "us-east-1", .s3,
            [
                "s3.us-east-1.amazonaws.com", "s3.dualstack.us-east-1.amazonaws.com",
                "s3-fips.us-east-1.amazonaws.com",
                "s3-fips.dualstack.us-east-1.amazonaws.com",
            ]),
        Case(
            "eu-central-1", .kms,
            [
                "kms.eu-central-1.amazonaws.com", "kms.eu-central-1.api.aws", "kms-fips.eu-central-1.amazonaws.com",
                "kms-fips.eu-central-1.api.aws",
            ]),
        Case(
            "eu-central-1", .secretsManager,
            [
                "secretsmanager.eu-central-1.amazonaws.com", "secretsmanager.eu-central-1.amazonaws.com",
                "secretsmanager-fips.eu-central-1.amazonaws.com", "secretsmanager-fips.eu-central-1.amazonaws.com",
            ]),
        Case(
            "eu-central-1", .iam,
            [
                "iam.amazonaws.com", "iam.amazonaws.com", "iam-fips.amazonaws.com", "iam-fips.amazonaws.com",
            ], signingRegion: "us-east-1"),
        Case(
            "cn-north-1", .s3,
            [
                "s3.cn-north-1.amazonaws.com.cn", "s3.dualstack.cn-north-1.amazonaws.com.cn", nil, nil,
            ]),
        Case(
            "cn-north-1", .sts,
            [
                "sts.cn-north-1.amazonaws.com.cn", "sts.cn-north-1.api.amazonwebservices.com.cn", nil, nil,
            ]),
        Case(
            "us-gov-west-1", .s3,
            [
                "s3.us-gov-west-1.amazonaws.com", "s3.dualstack.us-gov-west-1.amazonaws.com",
                "s3-fips.us-gov-west-1.amazonaws.com", "s3-fips.dualstack.us-gov-west-1.amazonaws.com",
            ]),
        Case(
            "us-gov-west-1", .sts,
            [
                "sts.us-gov-west-1.amazonaws.com", "sts.us-gov-west-1.api.aws", "sts.us-gov-west-1.amazonaws.com",
                "sts-fips.us-gov-west-1.api.aws",
            ]),
        Case(
            "us-gov-west-1", .kms,
            [
                "kms.us-gov-west-1.amazonaws.com", "kms.us-gov-west-1.api.aws",
                "kms-fips.us-gov-west-1.amazonaws.com",
                "kms-fips.us-gov-west-1.api.aws",
            ]),
        Case(
            "eusc-de-east-1", .sns,
            [
                "sns.eusc-de-east-1.amazonaws.eu", "sns.eusc-de-east-1.api.amazonwebservices.eu",
                "sns-fips.eusc-de-east-1.amazonaws.eu", "sns-fips.eusc-de-east-1.api.amazonwebservices.eu",
            ]),
        Case(
            "us-isob-east-1", .ssm,
            [
                "ssm.us-isob-east-1.sc2s.sgov.gov", "ssm.us-isob-east-1.api.aws.scloud",
                "ssm-fips.us-isob-east-1.sc2s.sgov.gov", "ssm-fips.us-isob-east-1.api.aws.scloud",
            ]),
    ]

    @Test(arguments: cases)
    func regionalEndpoints(_ example: Case) throws {
        for (index, host) in example.hosts.enumerated() {
            let configuration = try configuration([
                "AWS_REGION": example.region, "AWS_USE_DUALSTACK_ENDPOINT": index & 1 == 1 ? "true" : "false",
                "AWS_USE_FIPS_ENDPOINT": index & 2 == 2 ? "TRUE" : "",
            ])
            guard let host else {
                let error = try failure { try configuration.endpoint(for: example.service) }
                #expect(error.exitCode == .configuration)
                #expect(error.hint.contains("AWS_USE_FIPS_ENDPOINT"))
                continue
            }
            let expected = AWSEndpoint(
                scheme: "https", host: host, region: example.signingRegion ?? example.region, isCustom: false)
            #expect(try configuration.endpoint(for: example.service) == expected)
        }
    }

    /// Of the places where an endpoint can be set the most particular wins.
    @Test func configuredEndpoints() throws {
        let file = """
            [default]
            region = eu-west-3
            endpoint_url = http://profile:1
            services = local
            [services local]
            kms =
              endpoint_url = http://kms-section:2
            secrets_manager =
              endpoint_url = http://secrets-section:3
            """
        var environment = ["HOME": "/home/c"]
        func host(_ service: AWSService, override: String? = nil) throws -> String {
            try configuration(environment, file: file).endpoint(for: service, override: override).host
        }
        #expect(try host(.s3) == "profile:1")
        #expect(try host(.kms) == "kms-section:2")
        #expect(try host(.secretsManager) == "secrets-section:3")
        environment["AWS_ENDPOINT_URL"] = "http://global:4/"
        #expect(try host(.kms) == "global:4")
        environment["AWS_ENDPOINT_URL_SECRETS_MANAGER"] = "https://secrets:443"
        #expect(try host(.secretsManager) == "secrets")
        #expect(try host(.s3, override: "http://[::1]:80") == "[::1]")
        environment["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"] = "true"
        #expect(try host(.secretsManager) == "secretsmanager.eu-west-3.amazonaws.com")
        #expect(try host(.s3, override: "http://here:9") == "here:9")
    }

    @Test(arguments: [
        "minio:9000", "ftp://h", "https://", "https://user:pw@h", "https://h/path", "https://h?x", "https://h:0",
        "https://h:99999", "https://h:", "https://:9", "https://[::1", "https://h ", "https://h#f",
    ])
    func badEndpoints(_ url: String) throws {
        let configuration = try configuration(["AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL_S3": url])
        let error = try failure { try configuration.endpoint(for: .s3) }
        #expect(error.exitCode == .configuration)
        #expect(error.object == "AWS_ENDPOINT_URL_S3")
        #expect(!error.description.contains("pw"))
    }

    /// Without a region AWS is not found, and an AWS host under another name neither; another server takes any.
    @Test func missingRegion() throws {
        let none = try configuration([:])
        let error = try #require(try failure { try none.endpoint(for: .kms) } as? AWSError)
        #expect(error.kind == .configuration)
        #expect(error.exitCode == .configuration)
        #expect(error.hint.contains("AWS_REGION"))
        #expect(throws: AWSError.self) {
            try none.endpoint(for: .s3, override: "https://vpce-1.s3.eu-west-1.vpce.amazonaws.com")
        }
        let ceph = try none.endpoint(for: .s3, override: "http://ceph:7480")
        #expect(ceph == AWSEndpoint(scheme: "http", host: "ceph:7480", region: "us-east-1", isCustom: true))
        #expect(try none.endpoint(for: .kms, region: "eu-west-1").host == "kms.eu-west-1.amazonaws.com")
    }

    /// FIPS and a configured endpoint contradict each other: nobody knows what that server is.
    @Test func fipsAndCustom() throws {
        let configuration = try configuration([
            "AWS_REGION": "us-east-1", "AWS_USE_FIPS_ENDPOINT": "true", "AWS_ENDPOINT_URL": "https://h",
        ])
        #expect(try failure { try configuration.endpoint(for: .s3) }.exitCode == .configuration)
    }

    /// The file gives what the environment does not; a profile is chosen by name.
    @Test func profiles() throws {
        let file = """
            [default]
            region = us-east-1
            [profile clinic]
            region = eu-central-1   # Frankfurt
            ca_bundle = /etc/ca#1.pem
            max_attempts = 4
            use_fips_endpoint = true
            """
        let plain = try configuration(["HOME": "/home/c"], file: file)
        #expect(plain.region == "us-east-1")
        #expect(plain.maxAttempts == AWSConfiguration.defaultAttempts)
        let clinic = try configuration(["HOME": "/home/c", "AWS_PROFILE": "clinic"], file: file)
        #expect(clinic.region == "eu-central-1")
        #expect(clinic.caBundle == "/etc/ca#1.pem")
        #expect(clinic.maxAttempts == 4)
        #expect(clinic.usesFIPS)
        let mixed = try configuration(
            [
                "HOME": "/home/c", "AWS_PROFILE": "clinic", "AWS_REGION": "", "AWS_DEFAULT_REGION": "sa-east-1",
                "AWS_MAX_ATTEMPTS": "2", "AWS_USE_FIPS_ENDPOINT": "false",
            ], file: file)
        #expect(mixed.region == "sa-east-1")
        #expect(mixed.maxAttempts == 2)
        #expect(!mixed.usesFIPS)
    }

    @Test(arguments: [
        ("AWS_REGION", "eu-central-1.evil.example/"), ("AWS_REGION", "EU"), ("AWS_MAX_ATTEMPTS", "0"),
        ("AWS_MAX_ATTEMPTS", "many"), ("AWS_USE_FIPS_ENDPOINT", "yes"), ("AWS_CONFIG_FILE", "/missing"),
    ])
    func badValues(_ name: String, _ value: String) throws {
        let error = try failure { try configuration([name: value]) }
        #expect(error.exitCode == .configuration)
        #expect(error.object == name || error.object == value)
    }

    // MARK: The file's form

    @Test func sections() throws {
        let text = """
            # a comment
            ; another
            [default]
            Region=eu-central-1
            s3 =
                addressing_style = path
                # inside
                signature_version = s3v4
            odd = a=b;c #d
            [ profile   clinic ]\r
            role_arn = arn:aws:iam::1:role/x\r
            empty =
            [default]
            region = eu-west-1
            """
        let file = try SharedConfiguration(Array(text.utf8), path: "p")
        #expect(file.sections.keys.sorted() == ["default", "profile clinic"])
        let section = try #require(file.profile("default"))
        #expect(section["region"] == "eu-west-1")
        #expect(section["odd"] == "a=b;c")
        #expect(section.nested["s3"] == ["addressing_style": "path", "signature_version": "s3v4"])
        let clinic = try #require(file.profile("clinic"))
        #expect(clinic["role_arn"] == "arn:aws:iam::1:role/x")
        #expect(clinic["empty"] == nil)
        #expect(file.profile("other") == nil)
    }

    /// A mistake is told by the number of its line and never by what stands there.
    @Test(arguments: [
        "[default]\nsecretword\n", "key = secretword\n", "[default\n", "[default]\n = secretword\n", "[]",
    ])
    func malformed(_ text: String) throws {
        let error = try failure { try SharedConfiguration(Array(text.utf8), path: "/p") }
        #expect(error.exitCode == .configuration)
        #expect(error.cause.contains("line "))
        #expect(!error.description.contains("secretword"))
    }

    @Test func paths() {
        let environment = [
            "HOME": "/home/c", "AWS_CONFIG_FILE": "~/x", "AWS_SHARED_CREDENTIALS_FILE": "", "AWS_PROFILE": "clinic",
        ]
        #expect(SharedConfiguration.configurationPath(environment) == "/home/c/x")
        #expect(SharedConfiguration.credentialsPath(environment) == "/home/c/.aws/credentials")
        #expect(SharedConfiguration.configurationPath([:]) == nil)
        #expect(SharedConfiguration.profileName(environment) == "clinic")
        #expect(SharedConfiguration.profileName([:]) == "default")
    }
}
