import AWS
import Core
import Testing

/// Signatures against those that AWS has published, and the forms that they are made of.
struct SigV4Tests {
    /// One published example.
    struct Vector: CustomTestStringConvertible, Sendable {
        var name: String
        var request: SigV4.Request
        var signedHeaders: String
        var signature: String

        var testDescription: String { name }
    }

    private static let emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

    /// "Authenticating Requests: Using the Authorization Header" in the Amazon S3 API reference.
    static let s3: [Vector] = [
        s3Vector(
            "get object", "GET", "/test.txt", [], [("Range", "bytes=0-9")], emptyHash,
            "host;range;x-amz-content-sha256;x-amz-date",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
        s3Vector(
            "put object", "PUT", "/test%24file.text", [],
            [("Date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")],
            "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
            "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
        s3Vector(
            "get bucket lifecycle", "GET", "/", [("lifecycle", nil)], [], emptyHash,
            "host;x-amz-content-sha256;x-amz-date",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        s3Vector(
            "list objects", "GET", "/", [("max-keys", "2"), ("prefix", "J")], [], emptyHash,
            "host;x-amz-content-sha256;x-amz-date",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ]

    private static func s3Vector(
        _ name: String, _ method: String, _ path: String, _ query: [(name: String, value: String?)],
        _ headers: [(name: String, value: String)], _ payloadHash: String, _ signedHeaders: String,
        _ signature: String
    ) -> Vector {
        let all = HTTPFields(
            [(name: "Host", value: "examplebucket.s3.amazonaws.com")] + headers + [
                (name: "x-amz-content-sha256", value: payloadHash), (name: "x-amz-date", value: "20130524T000000Z"),
            ])
        return Vector(
            name: name,
            request: SigV4.Request(
                method: method, path: path, query: query, headers: all, payloadHash: payloadHash),
            signedHeaders: signedHeaders, signature: signature)
    }

    @Test(arguments: s3)
    func s3Examples(_ vector: Vector) throws {
        let time = try #require(Timestamp("2013-05-24T00:00:00Z"))
        let signer = SigV4(service: "s3", region: "us-east-1", time: time)
        let credentials = AWSCredentials(
            accessKeyID: "AKIAIOSFODNN7EXAMPLE",
            secretAccessKey: Secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), source: "documentation")
        #expect(
            signer.authorization(vector.request, credentials: credentials)
                == "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
                + "SignedHeaders=\(vector.signedHeaders), Signature=\(vector.signature)")
    }

    /// The Signature Version 4 test suite (aws-sig-v4-test-suite). Its paths are as they are sent.
    static let suite: [Vector] = [
        suiteVector(
            "get-vanilla", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        suiteVector(
            "get-vanilla-query-order-key-case", query: [("Param2", "value2"), ("Param1", "value1")],
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
        suiteVector(
            "get-vanilla-query-order-value", query: [("Param1", "value2"), ("Param1", "value1")],
            "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694"),
        suiteVector(
            "get-vanilla-empty-query-key", query: [("Param1", "value1")],
            "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"),
        suiteVector(
            "get-vanilla-utf8-query", query: [("ሴ", "bar")],
            "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
        suiteVector(
            "get-vanilla-query-unreserved",
            query: [
                (
                    "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
                    "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                )
            ], "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"),
        suiteVector(
            "get-utf8", path: "/ሴ", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
        suiteVector(
            "get-space", path: "/example space/",
            "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"),
        suiteVector(
            "get-relative", path: "/example/..",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        suiteVector(
            "get-slashes", path: "//example//",
            "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"),
        suiteVector(
            "get-header-value-trim", headers: [("My-Header1", " value1"), ("My-Header2", " \"a   b   c\"")],
            signedHeaders: "host;my-header1;my-header2;x-amz-date",
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"),
        suiteVector(
            "get-header-key-duplicate",
            headers: [("My-Header1", "value2"), ("My-Header1", "value2"), ("My-Header1", "value1")],
            signedHeaders: "host;my-header1;x-amz-date",
            "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"),
        suiteVector(
            "post-vanilla", method: "POST", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        suiteVector(
            "post-x-www-form-urlencoded", method: "POST",
            headers: [("Content-Type", "application/x-www-form-urlencoded")],
            signedHeaders: "content-type;host;x-amz-date",
            payloadHash: "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"),
        suiteVector(
            "post-sts-header-before", method: "POST",
            headers: [
                (
                    "X-Amz-Security-Token",
                    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
                )
            ], signedHeaders: "host;x-amz-date;x-amz-security-token",
            "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"),
    ]

    private static func suiteVector(
        _ name: String, method: String = "GET", path: String = "/", query: [(name: String, value: String?)] = [],
        headers: [(name: String, value: String)] = [], signedHeaders: String = "host;x-amz-date",
        payloadHash: String = emptyHash, _ signature: String
    ) -> Vector {
        let all = HTTPFields(
            [(name: "Host", value: "example.amazonaws.com")] + headers + [
                (name: "X-Amz-Date", value: "20150830T123600Z")
            ])
        return Vector(
            name: name,
            request: SigV4.Request(method: method, path: path, query: query, headers: all, payloadHash: payloadHash),
            signedHeaders: signedHeaders, signature: signature)
    }

    @Test(arguments: suite)
    func suiteExamples(_ vector: Vector) throws {
        let time = try #require(Timestamp("2015-08-30T12:36:00Z"))
        let signer = SigV4(service: "service", region: "us-east-1", time: time)
        let credentials = AWSCredentials(
            accessKeyID: "AKIDEXAMPLE", secretAccessKey: Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            source: "documentation")
        #expect(
            signer.authorization(vector.request, credentials: credentials)
                == "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
                + "SignedHeaders=\(vector.signedHeaders), Signature=\(vector.signature)",
            "\(signer.canonicalRequest(vector.request))")
    }

    /// S3 takes a path as it is: what other services would shorten are keys of their own there.
    @Test func s3KeepsPaths() {
        let request = SigV4.Request(
            method: "GET", path: "/a//b/../c%20d", headers: HTTPFields(), payloadHash: "x")
        let time = Timestamp(milliseconds: 0)
        let s3 = SigV4(service: "s3", region: "r", time: time).canonicalRequest(request)
        let other = SigV4(service: "sts", region: "r", time: time).canonicalRequest(request)
        #expect(s3.hasPrefix("GET\n/a//b/../c%20d\n"))
        #expect(other.hasPrefix("GET\n/a/c%2520d\n"))
    }

    /// The payload's hash is left out for S3 over TLS alone, and only where there is a payload.
    @Test func payloadHashes() {
        func hash(_ service: AWSService, _ scheme: String, _ body: HTTPBody, known: [UInt8]? = nil) -> String {
            let endpoint = AWSEndpoint(scheme: scheme, host: "h", region: "r", isCustom: true)
            return AWSRequest(
                service, "Op", on: "", at: endpoint, method: "PUT", body: body, bodySHA256: known
            ).payloadHash()
        }
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        let body = HTTPBody.chunks([Chunk([0x61]), Chunk([0x62, 0x63])])
        #expect(hash(.s3, "https", body) == "UNSIGNED-PAYLOAD")
        #expect(hash(.s3, "https", .none) == Self.emptyHash)
        #expect(hash(.s3, "http", body) == abc)
        #expect(hash(.kms, "https", .bytes(Array("abc".utf8))) == abc)
        #expect(hash(.s3, "https", body, known: [1, 2]) == "0102")
    }
}
