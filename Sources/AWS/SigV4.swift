package import Core
import Crypto

/// Signature Version 4 in the `Authorization` header (AWS Identity and Access Management user guide, "Create a signed
/// AWS API request").
package struct SigV4: Sendable {
    /// What a request's body is signed as where it is not: only over TLS, and only S3 takes it.
    package static let unsignedPayload = "UNSIGNED-PAYLOAD"

    /// A request as it goes over the wire, and no more of it than is signed.
    package struct Request: Sendable {
        package var method: String
        /// As on the wire, beginning with `/`.
        package var path: String
        /// Decoded; the order does not matter.
        package var query: [(name: String, value: String?)]
        /// With `Host`, and everything else that is to be signed.
        package var headers: HTTPFields
        /// Of the body, in hexadecimal, or ``SigV4/unsignedPayload``.
        package var payloadHash: String

        package init(
            method: String, path: String, query: [(name: String, value: String?)] = [], headers: HTTPFields,
            payloadHash: String
        ) {
            self.method = method
            self.path = path
            self.query = query
            self.headers = headers
            self.payloadHash = payloadHash
        }
    }

    /// As in the credential scope: `s3`.
    package var service: String
    package var region: String
    package var time: Timestamp

    package init(service: String, region: String, time: Timestamp) {
        self.service = service
        self.region = region
        self.time = time
    }

    /// For `X-Amz-Date`: `20130524T000000Z`.
    package var dateText: String { time.description.prefix(19).filter { $0 != "-" && $0 != ":" } + "Z" }

    private var scope: String { "\(dateText.prefix(8))/\(region)/\(service)/aws4_request" }

    /// The value of the `Authorization` header.
    package func authorization(_ request: Request, credentials: AWSCredentials) -> String {
        let canonical = canonicalRequest(request)
        let signature = credentials.secretAccessKey.withRevealed { secret in
            sign(stringToSign(canonical), secret: secret)
        }
        return "AWS4-HMAC-SHA256 Credential=\(credentials.accessKeyID)/\(scope), "
            + "SignedHeaders=\(canonicalHeaders(request.headers).names), Signature=\(signature)"
    }

    package func canonicalRequest(_ request: Request) -> String {
        let headers = canonicalHeaders(request.headers)
        return [
            request.method, canonicalPath(request.path), Self.canonicalQuery(request.query), headers.lines,
            headers.names, request.payloadHash,
        ].joined(separator: "\n")
    }

    package func stringToSign(_ canonicalRequest: String) -> String {
        let hash = hexText(SHA256.hash(data: Array(canonicalRequest.utf8)))
        return "AWS4-HMAC-SHA256\n\(dateText)\n\(scope)\n\(hash)"
    }

    private func sign(_ text: String, secret: String) -> String {
        var key = SymmetricKey(data: Array("AWS4\(secret)".utf8))
        for part in [String(dateText.prefix(8)), region, service, "aws4_request"] {
            key = SymmetricKey(data: HMAC<SHA256>.authenticationCode(for: Array(part.utf8), using: key))
        }
        return hexText(HMAC<SHA256>.authenticationCode(for: Array(text.utf8), using: key))
    }

    // MARK: Canonical forms

    /// S3 signs the path as it is sent, because `a//b` and `a/../b` are keys of their own there. Every other service
    /// signs the normalised path, encoded once more.
    private func canonicalPath(_ path: String) -> String {
        if service == "s3" { return path }
        var parts: [Substring] = []
        for part in path.split(separator: "/") where part != "." {
            if part == ".." {
                if !parts.isEmpty { parts.removeLast() }
            } else {
                parts.append(part)
            }
        }
        let isDirectory = path.hasSuffix("/") && !parts.isEmpty
        return Self.encode("/" + parts.joined(separator: "/") + (isDirectory ? "/" : ""), keeping: "/")
    }

    private static func canonicalQuery(_ query: [(name: String, value: String?)]) -> String {
        query.map { (name: encode($0.name), value: encode($0.value ?? "")) }
            .sorted { ($0.name, $0.value) < ($1.name, $1.value) }
            .map { "\($0.name)=\($0.value)" }
            .joined(separator: "&")
    }

    /// `lines` ends with the newline that the canonical form asks for.
    private func canonicalHeaders(_ headers: HTTPFields) -> (lines: String, names: String) {
        var values: [String: [String]] = [:]
        for field in headers.all { values[field.name.lowercased(), default: []].append(Self.collapsed(field.value)) }
        let names = values.keys.sorted()
        let lines = names.map { "\($0):\(values[$0, default: []].joined(separator: ","))\n" }.joined()
        return (lines, names.joined(separator: ";"))
    }

    /// Without spaces at its ends, and with single ones inside.
    private static func collapsed(_ value: String) -> String {
        value.split { $0 == " " || $0 == "\t" }.joined(separator: " ")
    }

    /// Percent-encodes everything but RFC 3986's unreserved characters, and `keeping`.
    package static func encode(_ text: String, keeping: Character? = nil) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var result: [UInt8] = []
        result.reserveCapacity(text.utf8.count)
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"):
                result.append(byte)
            case _ where byte == keeping?.asciiValue: result.append(byte)
            default: result += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: result, as: UTF8.self)
    }
}

/// SHA-256 of a body, chunk by chunk.
package func sha256(_ body: HTTPBody) -> [UInt8] {
    var hash = SHA256()
    switch body {
    case .none: break
    case .bytes(let bytes): bytes.withUnsafeBytes { hash.update(bufferPointer: $0) }
    case .chunks(let chunks): for chunk in chunks { hash.update(bufferPointer: chunk.bytes) }
    }
    return Array(hash.finalize())
}
