import AWS
import Core
import Testing

/// What a person reads about an error, from the answers as the services write them.
struct ErrorTests {
    private let endpoint = AWSEndpoint(scheme: "https", host: "h", region: "eu-central-1", isCustom: false)
    private let now = Timestamp(milliseconds: 1_736_924_400_000)

    private func error(
        _ service: AWSService, _ operation: String, on resource: String, status: Int, _ body: String,
        headers: [(name: String, value: String)] = []
    ) -> AWSError {
        AWSError(
            HTTPAnswer(status: status, headers: HTTPFields(headers), body: Array(body.utf8)),
            to: AWSRequest(service, operation, on: resource, at: endpoint, method: "PUT"), attempts: 1, now: now,
            hiding: [])
    }

    @Test func s3AccessDenied() {
        let error = error(
            .s3, "UploadPart", on: "s3://clinic/daily/a b", status: 403,
            "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>No &quot;way&quot; &amp;amp; no</Message>"
                + "<RequestId>inner</RequestId></Error>", headers: [(name: "x-amz-request-id", value: "R1")])
        #expect(
            error.description == "cannot call s3 UploadPart (s3://clinic/daily/a b): "
                + "AccessDenied: No \"way\" &amp; no (request R1)")
        #expect(error.exitCode == .store)
        #expect(error.hint.hasPrefix("the role lacks s3:PutObject on arn:aws:s3:::clinic/daily/a b"))
    }

    @Test func kmsDisabled() {
        let error = error(
            .kms, "Decrypt", on: "arn:aws:kms:eu-central-1:1:key/k", status: 400,
            "{\"__type\":\"com.amazonaws.kms#DisabledException\",\"message\":\"it is disabled\",\"n\":1.5}",
            headers: [(name: "x-amzn-RequestId", value: "R2")])
        #expect(error.code == "DisabledException")
        #expect(error.message == "it is disabled")
        #expect(error.requestID == "R2")
        #expect(error.exitCode == .keys)
        #expect(error.hint.contains("enable the key"))
    }

    @Test func stsInItsEnvelope() {
        let error = error(
            .sts, "AssumeRoleWithWebIdentity", on: "", status: 400,
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>"
                + "<Code>InvalidIdentityToken</Code><Message>no</Message></Error><RequestId>R3</RequestId></ErrorResponse>"
        )
        #expect(error.code == "InvalidIdentityToken")
        #expect(error.requestID == "R3")
        #expect(error.exitCode == .configuration)
    }

    /// Services that name the type in a header, or use capitals, or send something that is no error document.
    @Test func otherForms() {
        let header = error(
            .ssm, "GetParameter", on: "/p", status: 400, "{\"Message\":\"gone\"}",
            headers: [(name: "x-amzn-ErrorType", value: "ParameterNotFound:http://internal/")])
        #expect(header.code == "ParameterNotFound")
        #expect(header.message == "gone")
        for body in ["", "<html><body>Bad gateway</body></html>", "{\"a\":", "{}", "[]", "text"] {
            let error = error(.s3, "GetObject", on: "s3://b/k", status: 502, body)
            #expect(error.code.isEmpty)
            #expect(error.message == "the service answered with status 502")
            #expect(error.hint.contains("run again later"))
        }
    }

    /// A bucket elsewhere: the region is told wherever the service put it, so that a store can follow.
    @Test func redirects() {
        let byHeader = error(
            .s3, "HeadBucket", on: "s3://b", status: 301, "",
            headers: [(name: "x-amz-bucket-region", value: "us-west-2")])
        #expect(byHeader.expectedRegion == "us-west-2")
        #expect(byHeader.hint == "the bucket is in us-west-2: set AWS_REGION to it")
        let byBody = error(
            .s3, "ListObjectsV2", on: "s3://b", status: 400,
            "<Error><Code>AuthorizationHeaderMalformed</Code><Message>m</Message><Region>eu-west-1</Region></Error>")
        #expect(byBody.expectedRegion == "eu-west-1")
        let byHost = error(
            .s3, "PutObject", on: "s3://b/k", status: 307,
            "<Error><Code>TemporaryRedirect</Code><Message>m</Message><Endpoint>b.s3-x.amazonaws.com</Endpoint></Error>"
        )
        #expect(byHost.expectedHost == "b.s3-x.amazonaws.com")
        #expect(byHost.hint.contains("b.s3-x.amazonaws.com"))
    }

    @Test(arguments: [
        ("RequestTimeTooSkewed", "Wed, 15 Jan 2025 08:00:00 GMT", "off by 60 minutes (it is behind)"),
        ("ExpiredToken", "Wed, 15 Jan 2025 03:00:00 GMT", "off by 4 hours (it is ahead)"),
        ("SignatureDoesNotMatch", "Wed, 15 Jan 2025 07:00:01 GMT", "secret access key is wrong"),
        ("RequestTimeTooSkewed", "nonsense", "the clock of this machine is off: set"),
    ])
    func clocks(_ code: String, _ date: String, _ words: String) {
        let error = error(
            .s3, "PutObject", on: "s3://b/k", status: 403, "<Error><Code>\(code)</Code><Message>m</Message></Error>",
            headers: [(name: "Date", value: date)])
        #expect(error.hint.contains(words), "\(error.hint)")
    }

    /// The codes that are met in practice each have a hint of their own.
    @Test(arguments: [
        (AWSService.s3, "NoSuchBucket"), (.s3, "InvalidAccessKeyId"), (.s3, "ExpiredToken"), (.s3, "InvalidToken"),
        (.s3, "SlowDown"), (.s3, "InvalidObjectState"), (.s3, "NoSuchUpload"), (.s3, "BadDigest"),
        (.s3, "PermanentRedirect"), (.kms, "NotFoundException"), (.kms, "KMSInvalidStateException"),
        (.kms, "AccessDeniedException"), (.kms, "IncorrectKeyException"), (.kms, "InvalidCiphertextException"),
        (.kms, "UnrecognizedClientException"), (.kms, "ThrottlingException"),
        (.secretsManager, "ResourceNotFoundException"), (.ssm, "ParameterNotFound"),
        (.backup, "ResourceNotFoundException"), (.backup, "InvalidRequestException"),
    ])
    func hints(_ service: AWSService, _ code: String) {
        let error = error(service, "Op", on: "x", status: 400, "<Error><Code>\(code)</Code></Error>")
        #expect(!error.hint.isEmpty)
        #expect(!error.hint.contains("look the code up"))
    }

    /// A very long message, and one with lines that quote the request, are cut.
    @Test func longMessages() {
        let error = error(
            .s3, "Op", on: "x", status: 400,
            "<Error><Code>C</Code><Message>first \(String(repeating: "x", count: 900))\nsecond</Message></Error>")
        #expect(error.message.count == 401)
        #expect(!error.message.contains("second"))
    }

    @Test(arguments: [
        ("Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37.000Z"),
        ("Wed, 15 Jan 2025 07:00:00 GMT", "2025-01-15T07:00:00.000Z"), ("Sunday, 06-Nov-94 08:49:37 GMT", nil),
        ("Sun, 06 Nov 1994 08:49:37 +0000", nil), ("Sun, 66 Nov 1994 08:49:37 GMT", nil), ("", nil),
    ])
    func httpDates(_ text: String, _ expected: String?) {
        #expect(httpDate(text)?.description == expected)
        if expected != nil { #expect(httpDate(text).map(httpDateText) == text) }
    }
}
