import AWS
import Core
import S3Store
import TestSupport
import Testing

/// Wrong buckets, refused keys, damaged sets: each ends with its code and a hint, and nothing is lost.
@Suite(.serialized, .needs(.postgres), .needs(CephCluster.part), .needs(MotoServer.part))
struct S3BadInputTests {
    /// A backup over a stub that stands where S3 should; expects it to fail with `code` and gives its end.
    private func backup(
        answering script: @escaping StubServer.Script, expecting code: Core.ExitCode = .store,
        _ look: (Binary.Ended, StubServer) -> Void
    ) async throws {
        try await Site.with { site in
            let server = try await StubServer.start(script)
            defer { server.stop() }
            let ended = try await site.event(
                S3Site.backupEvent(),
                environment: [
                    "BACKUP_STORE": "s3://clinic-bucket/north", "AWS_ENDPOINT_URL_S3": server.url,
                    "AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "AKIDNEVERSHOWN",
                    "AWS_SECRET_ACCESS_KEY": "SECRETNEVERSHOWN", "AWS_SESSION_TOKEN": "TOKENNEVERSHOWN",
                    "AWS_MAX_ATTEMPTS": "2",
                ], expecting: code)
            look(ended, server)
            #expect(!ended.error("hint").isEmpty)
            #expect(!ended.everything.contains("SECRETNEVERSHOWN") && !ended.everything.contains("TOKENNEVERSHOWN"))
        }
    }

    @Test("A bucket that is not there is named, with what makes one")
    func wrongBucket() async throws {
        try await S3Site.with { s3 in
            let ended = try await s3.event(
                S3Site.backupEvent(), environment: ["BACKUP_STORE": "s3://nobodys-bucket/x"], expecting: .store)
            #expect(ended.error("object").contains("nobodys-bucket"), "\(ended)")
            #expect(ended.error("cause").contains("NoSuchBucket") && !ended.error("hint").isEmpty, "\(ended)")
        }
    }

    @Test("A bucket in another region is followed there, and signed for there")
    func wrongRegion() async throws {
        try await backup { request in
            let isThere = request.headers["Authorization"]?.contains("/eu-west-1/s3/") == true
            return isThere
                ? .s3Error(403, "AccessDenied")
                : .s3Error(
                    400, "AuthorizationHeaderMalformed", "the region is wrong; expecting 'eu-west-1'",
                    headers: [(name: "x-amz-bucket-region", value: "eu-west-1")])
        } _: { ended, server in
            #expect(ended.error("cause").contains("AccessDenied"), "\(ended)")
            #expect(server.requests.contains { $0.headers["Authorization"]?.contains("/eu-west-1/") == true })
        }
    }

    @Test("An expired token says so")
    func expiredToken() async throws {
        try await backup { _ in
            .s3Error(400, "ExpiredToken", "The provided token has expired.")
        } _: { ended, _ in
            #expect(ended.error("cause").contains("ExpiredToken"), "\(ended)")
        }
    }

    @Test("A clock that is off by an hour and cannot be corrected says so")
    func wrongClock() async throws {
        try await backup { _ in
            .s3Error(403, "RequestTimeTooSkewed", "The difference between the request time and ours is too large.")
        } _: { ended, _ in
            #expect(ended.error("hint").contains("clock"), "\(ended)")
        }
    }

    @Test("A role that may not write is told which right it lacks, and leaves nothing")
    func withoutPermission() async throws {
        try await S3Site.with { s3 in
            let policy = """
                {"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:PutObject",\
                "Resource":"arn:aws:s3:::\(s3.bucket)/*"}]}
                """
            try await s3.call("PUT", "policy", policy)
            let ended = try await s3.event(S3Site.backupEvent(), expecting: .store)
            #expect(ended.error("hint").contains("s3:PutObject"), "\(ended)")
            try await s3.call("DELETE", "policy")
            #expect(try await s3.keys() == [])
            try await s3.expectNoUploads()
        }
    }

    @Test("A lock that the bucket cannot give is a fault of the configuration, and there is no set")
    func bucketWithoutLock() async throws {
        try await S3Site.with { s3 in
            let ended = try await s3.event(
                S3Site.backupEvent(), environment: ["S3_OBJECT_LOCK": "compliance"], expecting: .configuration)
            #expect(ended.error("hint").contains("lifeboat provision"), "\(ended)")
            #expect(try await s3.manifests() == [])
        }
    }

    @Test("A key whose region is down is exit 12 with its name; where it is optional the set is made and says so")
    func regionDown() async throws {
        try await S3Site.with { s3 in
            let moto = try await MotoServer.shared()
            let far = try await moto.createKey(region: "eu-west-1")
            let transport = try PooledTransport()
            // Everything but the far region goes on to moto.
            let kms = try await StubServer.start { request in
                guard request.headers["Authorization"]?.contains("/eu-west-1/") != true else {
                    return .answer(status: 503)
                }
                var headers = request.headers
                (headers["Host"], headers["Content-Length"]) = (nil, nil)
                let call = HTTPCall(
                    method: request.method, url: moto.url + request.target, headers: headers,
                    body: .bytes(request.body))
                do {
                    let answer = try await transport.exchange(call)
                    return .answer(status: answer.status, body: answer.body)
                } catch {
                    return .answer(status: 500)
                }
            }
            defer { kms.stop() }
            var s3 = s3
            s3.environment["AWS_ENDPOINT_URL_KMS"] = kms.url
            s3.environment["AWS_MAX_ATTEMPTS"] = "2"
            let ended = try await s3.event(
                S3Site.backupEvent(), environment: ["BACKUP_RECIPIENTS": "kms:\(s3.key),kms:\(far)"],
                expecting: .keys)
            #expect(ended.everything.contains(far), "\(ended)")
            #expect(try await s3.manifests() == [])
            let made = try await s3.event(
                S3Site.backupEvent(1), environment: ["BACKUP_OPTIONAL_RECIPIENTS": "kms:\(far)"])
            let key = try #require(made.text("backupKey"))
            let manifest = String(decoding: try await s3.read(key + "/manifest.json"), as: UTF8.self)
            #expect(manifest.contains("exceptions") && manifest.contains(far))
            try await s3.event(["backupKey": .string(key)])
            try await transport.shutdown()
        }
    }

    @Test("An object replaced by another set's is found by verify and refused by restore, which touches nothing")
    func replacedObject() async throws {
        try await S3Site.with { s3 in
            let (one, two) = (try await s3.backup(), try await s3.backup(60))
            let (mine, other) = (
                try #require(try await s3.segments(one).first { $0.contains("database") }),
                try #require(try await s3.segments(two).first { $0.contains("database") })
            )
            try await s3.overwrite(mine, try await s3.read(other))
            try await expectRefused(s3, one)
            try await s3.event(["backupKey": .string(two)])
        }
    }

    @Test("A manifest without its parts is found by verify and refused by restore, which touches nothing")
    func withoutParts() async throws {
        try await S3Site.with { s3 in
            let key = try await s3.backup()
            try await s3.delete(try await s3.segments(key))
            try await expectRefused(s3, key)
        }
    }

    private func expectRefused(_ s3: S3Site, _ key: String) async throws {
        let before = try await s3.site.fingerprint()
        let verified = try await s3.event(["backupKey": .string(key)], expecting: .verificationFailed)
        #expect(verified.text("verdict") == "failed" && !verified.error("hint").isEmpty, "\(verified)")
        let restored = try await s3.run(s3.site.confirmedRestore(key))
        let codes: [Core.ExitCode] = [.verificationFailed, .restoreFailedOriginalIntact]
        #expect(codes.contains { $0.rawValue == restored.exitCode }, "\(restored)")
        #expect(try await s3.site.fingerprint() == before)
    }

    @Test("Parts without a manifest are no set: listed as unfinished, not verified, in nobody's way")
    func withoutManifest() async throws {
        try await S3Site.with { s3 in
            let key = try await s3.backup()
            try await s3.delete([key + "/manifest.json"])
            let list = try await s3.event(["action": .string("list")])
            #expect(
                list.details["sets"] == .array([]) && list.details["unfinished"] == .array([.string(key)]), "\(list)")
            let verified = try await s3.run(["backupKey": .string(key)])
            #expect(verified.exitCode != 0 && !verified.error("hint").isEmpty, "\(verified)")
            _ = try await s3.backup(60)
        }
    }

    @Test("A set in an archive asks for its thaw and ends with 19; thawed, the same event passes")
    func archived() async throws {
        let moto = try await MotoServer.shared()
        let key = try await moto.createKey()
        try await CephCluster.makeBucket(
            "archive-bucket", at: moto.url,
            credentials: FixedCredentials(
                AWSCredentials(accessKeyID: "testing", secretAccessKey: Secret("testing"), source: "tests")))
        try await Site.with { site in
            var environment = moto.environment()
            environment["BACKUP_STORE"] = "s3://archive-bucket/north"
            environment["BACKUP_RECIPIENTS"] = "kms:\(key)"
            environment["S3_STORAGE_CLASS_DAILY"] = "DEEP_ARCHIVE"
            let made = try await site.event(S3Site.backupEvent(), environment: environment)
            let set = try #require(made.text("backupKey"))
            let asked = try await site.event(
                ["backupKey": .string(set)], environment: environment, expecting: .thawRequested)
            #expect(
                asked.error("cause").contains("DEEP_ARCHIVE") && asked.error("hint").contains("again"), "\(asked)")
            let again = try await site.event(["backupKey": .string(set)], environment: environment)
            #expect(again.text("verdict") == "proven", "\(again)")
        }
    }
}
