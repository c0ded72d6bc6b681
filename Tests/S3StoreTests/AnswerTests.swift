import AWS
import Core
import TestSupport
import Testing

@testable import S3Store

/// What servers say, read by the byte, and answers that no real server here gives.
@Suite struct AnswerTests {
    @Test func xml() throws {
        let text = """
            \u{FEFF}<?xml version="1.0"?>
            <!-- c --><s3:Result xmlns:s3='http://x/>'><Key>a &amp;&lt;&#x20;&#228;</Key><Empty/><Key><![CDATA[<&>]]></Key>
              <Deep><Er a="1">2</Er></Deep></s3:Result>

            """
        let tree = try XMLTree.parse(Array(text.utf8))
        #expect(tree.name == "Result")
        #expect(tree.all("Key").map(\.text) == ["a &< ä", "<&>"])
        #expect(tree.first("Deep")?.text("Er") == "2")
        #expect(tree.text("Empty") == "")
        #expect(tree.text("Nothing") == nil)
    }

    /// No cut of a document, and none of these, is taken for one.
    @Test func noXML() {
        let whole = Array("<a b=\"c\"><d>e&amp;</d><f/></a>".utf8)
        for count in 0..<whole.count {
            #expect(throws: XMLError.self) { try XMLTree.parse(Array(whole[..<count])) }
        }
        for text in [
            "<a></b>", "<a/><b/>", "<!DOCTYPE a><a/>", "<a>&x;</a>", "<a>&#xD800;</a>", "<a b></a>", "a",
            String(repeating: "<a>", count: 40),
        ] {
            #expect(throws: XMLError.self) { try XMLTree.parse(Array(text.utf8)) }
        }
    }

    @Test func names() {
        #expect(urlDecoded("a%20b+c%2Bd%C3%A4") == "a b c+dä")
        #expect(urlDecoded("plain/ä") == "plain/ä")
        for text in ["%", "%4", "%4x", "%FF"] { #expect(urlDecoded(text) == nil) }
        #expect(formEncoded("a b/ü~") == "a%20b%2F%C3%BC~")
    }

    /// A lock falls short of neither what is there nor what is wanted.
    @Test func lockChanges() {
        let now = Timestamp(milliseconds: 1_000_000)
        func lock(_ mode: ObjectLock.Mode, _ seconds: Int64) -> ObjectLock {
            ObjectLock(mode: mode, until: now.adding(seconds: seconds))
        }
        func change(_ found: ObjectLock?, _ asked: ObjectLock) -> LockChange? {
            LockChange(from: found, to: asked, now: now)
        }
        #expect(change(nil, lock(.governance, 5))?.lock == lock(.governance, 5))
        #expect(change(lock(.compliance, -1), lock(.governance, 5))?.lock == lock(.governance, 5))
        #expect(change(lock(.governance, 5), lock(.governance, 5)) == nil)
        #expect(change(lock(.governance, 9), lock(.governance, 5)) == nil)
        #expect(change(lock(.governance, 5), lock(.governance, 9))?.isStricter == false)
        #expect(change(lock(.governance, 9), lock(.compliance, 5))?.lock == lock(.compliance, 9))
        #expect(change(lock(.governance, 9), lock(.compliance, 5))?.isStricter == true)
        #expect(change(lock(.compliance, 5), lock(.governance, 9))?.lock == lock(.compliance, 9))
        #expect(change(lock(.compliance, 9), lock(.governance, 5)) == nil)
    }

    /// The bucket is in another region than the configured one: asked there, once and for all that follows.
    @Test func otherRegion() async throws {
        let hosts = Guarded<[String]>([])
        try await withScriptedStore { call in
            hosts.withLock { $0.append(String(call.url.split(separator: "/")[1])) }
            if call.url.contains("eu-central-1") {
                return HTTPAnswer(
                    status: 301, headers: HTTPFields([(name: "x-amz-bucket-region", value: "eu-west-1")]))
            }
            return HTTPAnswer(status: 404)
        } _: { (store) async throws in
            for key in ["a", "b"] {
                let found = try await store.stat(key)
                #expect(found == nil)
            }
        }
        #expect(
            hosts.value == [
                "clinic.s3.eu-central-1.amazonaws.com", "clinic.s3.eu-west-1.amazonaws.com",
                "clinic.s3.eu-west-1.amazonaws.com",
            ])
    }

    /// A checksum that the server has of other bytes is an error, on the way up as on the way down.
    @Test func checksums() async throws {
        let bytes: [UInt8] = [1, 2, 3]
        let sent = Guarded<[String]>([])
        try await withScriptedStore { call in
            if call.method == "PUT" {
                sent.withLock { $0.append(call.headers["x-amz-checksum-crc32c"] ?? "none") }
                return HTTPAnswer(
                    status: 200, headers: HTTPFields([(name: "x-amz-checksum-crc32c", value: "AAAAAA==")]))
            }
            let fields = [
                (name: "Content-Range", value: "bytes 0-2/3"), (name: "ETag", value: "\"e\""),
                (
                    name: "x-amz-checksum-crc32c",
                    value: call.url.hasSuffix("good") ? Checksum(bytes).text : "AAAAAA=="
                ),
            ]
            return HTTPAnswer(status: 206, headers: HTTPFields(fields), body: bytes)
        } _: { (store) async throws in
            await #expect(throws: S3StoreError.checksum(key: "x")) { try await store.put("x", bytes) }
            await #expect(throws: S3StoreError.checksum(key: "bad")) { _ = try await store.bytes("bad") }
            let good = try await store.bytes("good")
            #expect(good == bytes)
        }
        #expect(sent.value == [Checksum(bytes).text])
    }

    /// Keys that clients and proxies would change, and settings that cannot be meant, are refused before anything is
    /// sent.
    @Test func refusals() async throws {
        for (bucket, prefix) in [("Clinic", ""), ("a", ""), ("a/b", ""), ("clinic", "a//b"), ("clinic", "../x")] {
            await #expect(throws: S3StoreError.self) {
                try await withScriptedStore(S3Settings(bucket: bucket, prefix: prefix)) { _ in
                    HTTPAnswer(status: 200)
                } _: { _ in
                }
            }
        }
        try await withScriptedStore { _ in
            throw TransportError(.connect, "nothing is to be sent")
        } _: { (store) async throws in
            for key in ["a/../b", "./a", String(repeating: "x", count: 1025)] {
                await #expect(throws: S3StoreError.self) { _ = try await store.stat(key) }
            }
        }
    }

    /// A listing whose next page begins again, or that promises more and gives nothing, ends in an error.
    @Test func listings() async throws {
        let entry =
            "<Contents><Key>a</Key><LastModified>2025-01-15T07:00:00.123Z</LastModified><Size>1</Size></Contents>"
        for (page, count) in [("<IsTruncated>true</IsTruncated>" + entry, 1), ("<IsTruncated>true</IsTruncated>", 0)]
        {
            try await withScriptedStore { _ in
                HTTPAnswer(status: 200, body: Array("<ListBucketResult>\(page)</ListBucketResult>".utf8))
            } _: { (store) async throws in
                var found: [ObjectInfo] = []
                do {
                    for try await info in store.list("") { found.append(info) }
                    Issue.record("the listing ended well")
                } catch is S3StoreError {}
                #expect(found.count == count)
                #expect(found.allSatisfy { $0.modified == Timestamp("2025-01-15T07:00:00Z") })
            }
        }
    }

    /// 200 with an error in it is no success, and what is archived is named as that.
    @Test func archived() async throws {
        try await withScriptedStore { call in
            if call.method == "HEAD" {
                let fields = [
                    (name: "Content-Length", value: "5"),
                    (name: "Last-Modified", value: "Wed, 15 Jan 2025 07:00:00 GMT"),
                    (name: "x-amz-storage-class", value: "DEEP_ARCHIVE"),
                    (name: "x-amz-restore", value: "ongoing-request=\"true\""),
                ]
                return HTTPAnswer(status: 200, headers: HTTPFields(fields))
            }
            let body = "<Error><Code>InvalidObjectState</Code><Message>m</Message></Error>"
            return HTTPAnswer(status: 403, body: Array(body.utf8))
        } _: { (store) async throws in
            let error = await #expect(throws: ObjectArchived.self) { _ = try await store.bytes("x") }
            #expect(error?.storageClass == .deepArchive)
            #expect(error?.isThawing == true)
            let info = try await store.stat("x")
            #expect(info?.availability == .thawing)
            #expect(info?.modified == Timestamp("2025-01-15T07:00:00Z"))
        }
    }
}
