import AWS
import Core
import Foundation
import TestSupport
import Testing

@Suite("Credentials: profiles")
struct CredentialProfileTests {
    private func fixture(
        _ config: String, credentials: String = "", _ environment: [String: String] = [:]
    ) -> CredentialFixture {
        CredentialFixture(
            environment.merging([
                "HOME": "/home/lifeboat", "AWS_REGION": "eu-central-1", "AWS_EC2_METADATA_DISABLED": "true",
            ]) { given, _ in given },
            files: ["/home/lifeboat/.aws/config": config, "/home/lifeboat/.aws/credentials": credentials])
    }

    /// Shows that both files make one profile, in which the credentials file wins, and that AWS_PROFILE chooses.
    @Test("Keys from both files")
    func keys() async throws {
        let fixture = fixture(
            """
            [profile clinic]
            region = eu-west-1
            aws_access_key_id = AKIACONFIG
            aws_secret_access_key = secret-config
            """,
            credentials: """
                [default]
                aws_access_key_id = AKIADEFAULT
                aws_secret_access_key = secret-default
                [clinic]
                aws_access_key_id = AKIACLINIC
                aws_secret_access_key = secret-clinic
                aws_session_token = secret-session
                """)
        #expect(try await fixture.credentials().accessKeyID == "AKIADEFAULT")
        var named = fixture
        named.environment["AWS_PROFILE"] = "clinic"
        let found = try await named.credentials()
        #expect(found.accessKeyID == "AKIACLINIC")
        #expect(found.secretAccessKey == Secret("secret-clinic"))
        #expect(found.sessionToken == Secret("secret-session"))
        #expect(found.source == "profile clinic")
    }

    /// Shows that a profile that is asked for by name is the only place that counts, whatever the environment holds:
    /// a second store has an identity of its own.
    @Test("A profile of a second store is taken and nothing else")
    func secondStore() async throws {
        let fixture = fixture(
            "[profile empty]\nregion = eu-west-1\n",
            credentials: "[vault]\naws_access_key_id = AKIAVAULT\naws_secret_access_key = secret-vault\n",
            ["AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": "secret-env"])
        #expect(try await fixture.credentials().accessKeyID == "AKIAENV")
        #expect(try await fixture.credentials(profile: "vault").accessKeyID == "AKIAVAULT")
        #expect(try await fixture.refusal(profile: "gone").cause.contains("no such profile"))
        #expect(try await fixture.refusal(profile: "empty").cause.contains("nothing of credentials"))
    }

    /// Shows a role that is taken with another profile's keys: the call is signed with those.
    @Test("role_arn with source_profile")
    func role() async throws {
        let server = try await StubServer.start { _ in
            .ok(stsAnswer("ASIAROLE", expires: Timestamp(milliseconds: 1 << 42), operation: "AssumeRole"))
        }
        defer { server.stop() }
        let fixture = fixture(
            """
            [default]
            role_arn = arn:aws:iam::1:role/backup
            source_profile = base
            external_id = clinic-7
            role_session_name = nightly
            duration_seconds = 1800
            [profile base]
            aws_access_key_id = AKIABASE
            aws_secret_access_key = secret-base
            [profile self]
            role_arn = arn:aws:iam::1:role/self
            source_profile = self
            aws_access_key_id = AKIASELF
            aws_secret_access_key = secret-self
            [profile variables]
            role_arn = arn:aws:iam::1:role/variables
            credential_source = Environment
            """, ["AWS_ENDPOINT_URL_STS": server.url])
        let found = try await fixture.credentials()
        #expect(found.accessKeyID == "ASIAROLE")
        #expect(found.source == "role arn:aws:iam::1:role/backup by profile base")
        let request = try #require(server.requests.first)
        #expect(request.headers["Authorization"]?.contains("Credential=AKIABASE/") == true)
        let fields = formFields(request.bodyText)
        #expect(fields["Action"] == "AssumeRole")
        #expect(fields["RoleArn"] == "arn:aws:iam::1:role/backup")
        #expect(fields["RoleSessionName"] == "nightly")
        #expect(fields["ExternalId"] == "clinic-7")
        #expect(fields["DurationSeconds"] == "1800")

        #expect(try await fixture.credentials(profile: "self").accessKeyID == "ASIAROLE")
        #expect(server.requests.last?.headers["Authorization"]?.contains("Credential=AKIASELF/") == true)
        var variables = fixture
        variables.environment["AWS_ACCESS_KEY_ID"] = "AKIAENV"
        variables.environment["AWS_SECRET_ACCESS_KEY"] = "secret-env"
        #expect(try await variables.credentials(profile: "variables").accessKeyID == "ASIAROLE")
        #expect(server.requests.last?.headers["Authorization"]?.contains("Credential=AKIAENV/") == true)
        #expect(!fixture.logs.text.contains("secret"))
    }

    @Test("A role that the source may not take")
    func roleRefused() async throws {
        let server = try await StubServer.start { _ in stsError("AccessDenied") }
        defer { server.stop() }
        let fixture = fixture(
            "[default]\nrole_arn = arn:aws:iam::1:role/backup\nsource_profile = base\n"
                + "[profile base]\naws_access_key_id = AKIABASE\naws_secret_access_key = secret-base\n",
            ["AWS_ENDPOINT_URL_STS": server.url])
        let error = try await fixture.refusal()
        #expect(error.kind == .credentials)
        #expect(error.exitCode == .configuration)
        #expect(error.hint.contains("sts:AssumeRole"))
    }

    @Test("role_arn with web_identity_token_file")
    func webIdentity() async throws {
        let server = try await StubServer.start { _ in
            .ok(stsAnswer("ASIAWEB", expires: Timestamp(milliseconds: 1 << 42)))
        }
        defer { server.stop() }
        let fixture = fixture(
            "[default]\nrole_arn = arn:aws:iam::1:role/web\nweb_identity_token_file = /token\n",
            ["AWS_ENDPOINT_URL_STS": server.url])
        fixture.files.set(["/token": "secret-jwt"])
        #expect(try await fixture.credentials().accessKeyID == "ASIAWEB")
        #expect(formFields(server.requests.first?.bodyText ?? "")["WebIdentityToken"] == "secret-jwt")
    }

    @Test(
        "What cannot give credentials says why",
        arguments: [
            ("sso_session = clinic", "needs a person who signs in"),
            ("sso_start_url = https://x\nsso_account_id = 1", "needs a person who signs in"),
            ("role_arn = r", "not exactly one of"),
            ("role_arn = r\nsource_profile = a\ncredential_source = Environment", "not exactly one of"),
            ("role_arn = r\nsource_profile = gone", "'gone' is not in"),
            ("role_arn = r\nsource_profile = default", "its own source_profile"),
            ("role_arn = r\nsource_profile = circle", "in a circle"),
            ("role_arn = r\nsource_profile = idle", "says nothing"),
            ("role_arn = r\ncredential_source = Moon", "not known"),
            ("role_arn = r\ncredential_source = Environment", "gives nothing"),
            ("role_arn = r\nsource_profile = idle\nmfa_serial = m", "a person with a code"),
            ("aws_access_key_id = AKIA", "half of a key"), ("credential_process = 'unclosed", "quote"),
        ])
    func refusals(lines: String, words: String) async throws {
        let fixture = fixture(
            "[default]\n\(lines)\n[profile circle]\nrole_arn = c\nsource_profile = default\n"
                + "[profile idle]\nregion = eu-west-1\n")
        let error = try await fixture.refusal()
        #expect(error.kind == .credentials)
        #expect(error.exitCode == .configuration)
        #expect(error.cause.contains(words), "\(error.cause)")
        #expect(!error.hint.isEmpty)
    }

    @Test("A profile that is named and not there is an error; a default one that is not there is none")
    func missing() async throws {
        #expect(
            try await fixture("", ["AWS_PROFILE": "clinic"]).refusal().cause.contains("no such profile"))
        #expect(try await fixture("").refusal().cause.contains("no profile 'default'"))
        #expect(
            try await fixture("[default]\nregion = eu-west-1\n").refusal().cause.contains(
                "says nothing of credentials"))
    }

    /// Shows that the program is run as it is written, without a shell: quotes hold words together, and what a shell
    /// would do with `$`, `*` and `;` does not happen.
    @Test("credential_process")
    func process() async throws {
        try await withScratchDirectory { directory in
            let program = "\(directory)/give keys"
            try writeFile(
                program,
                """
                #!/bin/sh
                [ "$#" = 3 ] && [ "$1" = 'a b' ] && [ "$2" = '$HOME;*' ] && [ "$3" = "" ] || exit 9
                [ "$ASKED_FOR" = clinic ] || exit 8
                echo secret-noise >&2
                echo '{"Version": 1, "AccessKeyId": "AKIAPROCESS", "SecretAccessKey": "secret-process",'
                echo ' "SessionToken": "secret-token", "Expiration": "2025-01-15T08:00:00Z"}'
                """)
            try FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: program)
            let sleeper = ManualClock()
            var fixture = fixture(
                "[default]\ncredential_process = \"\(program)\" 'a b' $HOME\\;* \"\"\n", ["ASKED_FOR": "clinic"])
            fixture.sleep = { try await sleeper.sleep($0) }
            let found = try await fixture.credentials()
            #expect(found.accessKeyID == "AKIAPROCESS")
            #expect(found.sessionToken == Secret("secret-token"))
            #expect(found.expires == Timestamp("2025-01-15T08:00:00Z"))
            fixture.environment["ASKED_FOR"] = nil
            let error = try await fixture.refusal()
            #expect(error.cause.contains("status 8"))
            #expect(!"\(error)\(error.hint)\(fixture.logs.text)".contains("secret"))
        }
    }

    /// Shows the end of a program that hangs, by letting its minute pass at once.
    @Test("A credential_process that hangs, one that is not there, one that prints something else")
    func processFailures() async throws {
        for (command, words, passes) in [
            ("sleep 600", "took longer than 60 s", true), ("/nonexistent/program", "could not be run", false),
            ("echo secret-words", "not a JSON object", false),
            ("echo {\\\"Version\\\":2}", "'Version' is not 1", false),
        ] {
            let sleeper = ManualClock()
            var fixture = fixture("[default]\ncredential_process = \(command)\n", ["PATH": "/usr/bin:/bin"])
            fixture.sleep = { if !passes { try await sleeper.sleep($0) } }
            let error = try await fixture.refusal()
            #expect(error.cause.contains(words), "\(error.cause)")
            #expect(!"\(error)\(error.hint)".contains("secret"))
        }
    }
}
