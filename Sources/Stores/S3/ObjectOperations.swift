import AWS
import Core
import Crypto

/// How a new object is to be kept, as headers of the request that makes it.
struct ObjectHeaders: Sendable {
    var settings: S3Settings
    var options: PutOptions
    var writerID: String

    /// `withLock`: only a plain put takes locks; servers ignore them when an upload in pieces begins.
    func fields(withLock: Bool) -> HTTPFields {
        var fields = HTTPFields()
        fields["Content-Type"] = "application/octet-stream"
        fields[ObjectHead.writerHeader] = writerID
        if options.storageClass != .standard { fields["x-amz-storage-class"] = options.storageClass.rawValue }
        switch settings.encryption {
        case nil: break
        case .aes256: fields["x-amz-server-side-encryption"] = "AES256"
        case .kms(let key):
            fields["x-amz-server-side-encryption"] = "aws:kms"
            if let key { fields["x-amz-server-side-encryption-aws-kms-key-id"] = key }
        }
        if !options.tags.isEmpty {
            fields["x-amz-tagging"] = options.tags.sorted { $0.key < $1.key }
                .map { "\(formEncoded($0.key))=\(formEncoded($0.value))" }.joined(separator: "&")
        }
        guard withLock else { return fields }
        if let lock = options.protection.lock {
            fields["x-amz-object-lock-mode"] = lock.mode.rawValue.uppercased()
            fields["x-amz-object-lock-retain-until-date"] = lock.until.roundedUpToSecond.description
        }
        if options.protection.legalHold { fields["x-amz-object-lock-legal-hold"] = "ON" }
        return fields
    }
}

extension HTTPFields {
    /// The body's checksum, and by which rule: a lock is refused without the one or the other.
    mutating func setChecksum(_ text: String) {
        self[Checksum.header] = text
        self["x-amz-sdk-checksum-algorithm"] = Checksum.algorithm
    }
}

/// As in a query: everything but letters, digits and `-._~` as percent signs and two digits.
func formEncoded(_ text: String) -> String {
    let hex = Array("0123456789ABCDEF".utf8)
    var encoded: [UInt8] = []
    for byte in text.utf8 {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
            UInt8(ascii: "~"):
            encoded.append(byte)
        default: encoded += [UInt8(ascii: "%"), hex[Int(byte >> 4)], hex[Int(byte & 15)]]
        }
    }
    return String(decoding: encoded, as: UTF8.self)
}

extension S3Bucket {
    /// `nil` where there is no such object, or no such version of it.
    func head(_ object: ObjectName, version: String? = nil) async throws -> ObjectHead? {
        do {
            var call = Call(operation: "HeadObject", method: "HEAD", object: object)
            if let version { call.query = [(name: "versionId", value: version)] }
            let answer = try await send(call)
            guard let head = ObjectHead(answer.headers) else {
                throw S3StoreError.answer(
                    operation: "HeadObject", key: object.key, problem: "it has no length or no time")
            }
            return head
        } catch let error as AWSError where error.isNotFound {
            return nil
        }
    }

    /// Stores an object in one request, and returns its version in a bucket that has versions. Throws
    /// ``S3StoreError/checksum(key:)`` where the server has taken other bytes.
    func put(
        _ object: ObjectName, chunks: [Chunk], fields: HTTPFields, createOnly: Bool
    ) async throws -> String? {
        let checksum = Checksum(chunks).text
        var call = Call(operation: "PutObject", method: "PUT", object: object, headers: fields)
        call.headers.setChecksum(checksum)
        if createOnly { call.headers["If-None-Match"] = "*" }
        call.body = .chunks(chunks)
        call.deadline = Self.deadline(sending: call.body.count)
        let answer = try await send(call)
        guard answer.headers[Checksum.header] ?? checksum == checksum else {
            throw S3StoreError.checksum(key: object.key)
        }
        return answer.headers["x-amz-version-id"]
    }

    /// Seconds for a request with a body: the transport notices a connection that stands still, so this only has to
    /// be too long for one that is slow but moves (64 KiB a second).
    static func deadline(sending count: Int) -> Double { 60 + Double(count >> 16) }

    /// Removes the object, or hides it in a bucket with versions; with `version`, removes that one. What is not there
    /// is success.
    func delete(_ object: ObjectName, version: String? = nil) async throws {
        do {
            // As policies name the two.
            let operation = version == nil ? "DeleteObject" : "DeleteObjectVersion"
            var call = Call(operation: operation, method: "DELETE", object: object)
            if let version { call.query = [(name: "versionId", value: version)] }
            _ = try await send(call)
        } catch let error as AWSError where error.isNotFound {}
    }

    func putRetention(_ object: ObjectName, _ lock: ObjectLock, bypassingGovernance: Bool) async throws {
        let xml =
            "<Retention xmlns=\"\(Self.namespace)\"><Mode>\(lock.mode.rawValue.uppercased())</Mode>"
            + "<RetainUntilDate>\(lock.until.roundedUpToSecond)</RetainUntilDate></Retention>"
        var call = document("PutObjectRetention", object, "retention", xml)
        if bypassingGovernance { call.headers["x-amz-bypass-governance-retention"] = "true" }
        _ = try await send(call)
    }

    func putLegalHold(_ object: ObjectName, isOn: Bool) async throws {
        let xml =
            "<LegalHold xmlns=\"\(Self.namespace)\"><Status>\(isOn ? "ON" : "OFF")</Status></LegalHold>"
        _ = try await send(document("PutObjectLegalHold", object, "legal-hold", xml))
    }

    func putTags(_ object: ObjectName, _ tags: [String: String]) async throws {
        let set = tags.sorted { $0.key < $1.key }.map {
            "<Tag><Key>\(XMLTree.escape($0.key))</Key><Value>\(XMLTree.escape($0.value))</Value></Tag>"
        }
        let xml = "<Tagging xmlns=\"\(Self.namespace)\"><TagSet>\(set.joined())</TagSet></Tagging>"
        _ = try await send(document("PutObjectTagging", object, "tagging", xml))
    }

    /// Asks for a copy to read, for so many days after it is there.
    func restore(_ object: ObjectName, days: Int) async throws {
        let xml =
            "<RestoreRequest xmlns=\"\(Self.namespace)\"><Days>\(days)</Days>"
            + "<GlacierJobParameters><Tier>Standard</Tier></GlacierJobParameters></RestoreRequest>"
        var call = document("RestoreObject", object, "restore", xml)
        call.method = "POST"
        _ = try await send(call)
    }

    /// Whether objects of the bucket can be locked at all.
    func hasObjectLock() async throws -> Bool {
        do {
            let call = Call(
                operation: "GetObjectLockConfiguration", method: "GET", query: [(name: "object-lock", value: nil)])
            let answer = try await send(call)
            return try xml(answer, call).text("ObjectLockEnabled") == "Enabled"
        } catch let error as AWSError where error.code == "ObjectLockConfigurationNotFoundError" {
            return false
        }
    }

    static let namespace = "http://s3.amazonaws.com/doc/2006-03-01/"

    /// A request whose body is a small document. Locks need a checksum of it, and of those all servers know MD5.
    private func document(_ operation: String, _ object: ObjectName, _ subresource: String, _ xml: String) -> Call {
        let body = Array(xml.utf8)
        var call = Call(
            operation: operation, method: "PUT", object: object, query: [(name: subresource, value: nil)])
        call.headers["Content-Type"] = "application/xml"
        call.headers["Content-MD5"] = base64(Array(Insecure.MD5.hash(data: body)))
        call.body = .bytes(body)
        return call
    }

    /// The document of an answer.
    func xml(_ answer: HTTPAnswer, _ call: Call) throws(S3StoreError) -> XMLTree {
        do throws(XMLError) {
            return try XMLTree.parse(answer.body)
        } catch {
            throw .answer(
                operation: call.operation, key: call.object?.key ?? settings.bucket, problem: error.description)
        }
    }
}
