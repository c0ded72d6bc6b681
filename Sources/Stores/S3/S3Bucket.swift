import AWS
import Core
import Logging

/// An object's key, checked, and what it is called in the bucket.
struct ObjectName: Sendable, Equatable {
    /// Relative to the store's prefix: what callers know.
    let key: String
    /// With the prefix.
    let full: String
}

/// A bucket, and how a request gets to it. Its operations stand in further files.
final class S3Bucket: Sendable {
    /// One call of an operation.
    struct Call: Sendable {
        /// As S3 names it: `PutObject`.
        var operation: String
        var method: String
        /// `nil` for the bucket itself.
        var object: ObjectName?
        /// Decoded; `nil` stands for a name alone.
        var query: [(name: String, value: String?)] = []
        var headers = HTTPFields()
        var body = HTTPBody.none
        /// May be sent again although the first may have arrived.
        var isIdempotent = true
        /// Seconds until the answer begins.
        var deadline = 60.0
        /// The service may say 200 and mean that it failed.
        var mayFailWithStatus200 = false
        var take: (@Sendable (UnsafeRawBufferPointer) throws -> Void)?
    }

    let settings: S3Settings
    let random: RandomBytes
    private let client: AWSClient
    private let configuration: AWSConfiguration
    private let logger: Logger
    /// Another one once the service has said that the bucket is elsewhere.
    private let place: Guarded<AWSEndpoint>

    /// Throws `AWSError` where no region or endpoint is known, and ``S3StoreError`` for settings that cannot be meant.
    init(
        settings: S3Settings, client: AWSClient, configuration: AWSConfiguration, random: @escaping RandomBytes,
        logger: Logger
    ) throws {
        try settings.check()
        self.settings = settings
        self.client = client
        self.configuration = configuration
        self.random = random
        self.logger = logger
        place = Guarded(
            try configuration.endpoint(for: .s3, region: settings.region, override: settings.endpoint))
    }

    /// For people: `s3://bucket/prefix`.
    var location: String { "s3://\(settings.bucket)" + (settings.prefix.isEmpty ? "" : "/\(settings.prefix)") }

    /// AWS' own service, which can be relied on for what others only claim.
    var isAWS: Bool {
        let place = place.value
        let host = place.host.prefix { $0 != ":" }
        return !place.isCustom || host.hasSuffix(".amazonaws.com") || host.hasSuffix(".amazonaws.com.cn")
    }

    /// What `key` is called in the bucket. Throws ``S3StoreError/invalidKey(key:problem:)``.
    func name(_ key: String) throws(S3StoreError) -> ObjectName {
        let full = full(key)
        for piece in key.split(separator: "/", omittingEmptySubsequences: false) {
            if piece.isEmpty { throw .invalidKey(key: key, problem: "a piece between slashes is empty") }
            // Clients and proxies take them out of a path.
            if piece == "." || piece == ".." { throw .invalidKey(key: key, problem: "a piece is '.' or '..'") }
            if piece.utf8.contains(0) { throw .invalidKey(key: key, problem: "it contains a NUL byte") }
        }
        guard full.utf8.count <= 1024 else {
            throw .invalidKey(key: key, problem: "with the store's prefix it is longer than S3's 1,024 bytes")
        }
        return ObjectName(key: key, full: full)
    }

    /// What `prefix`, of a key or of several, is in the bucket.
    func full(_ prefix: String) -> String { settings.prefix.isEmpty ? prefix : "\(settings.prefix)/\(prefix)" }

    /// The key that `full` stands for; `nil` for what is no key of this store.
    func key(_ full: String) -> String? {
        let begin = self.full("")
        // As bytes: Strings compare by what they look like.
        guard full.utf8.starts(with: begin.utf8) else { return nil }
        let key = String(decoding: full.utf8.dropFirst(begin.utf8.count), as: UTF8.self)
        do {
            return try name(key).key
        } catch {
            return nil
        }
    }

    /// Sends `call`, once more where the service says that the bucket is in another region, which is then kept.
    func send(_ call: Call) async throws -> HTTPAnswer {
        let used = place.value
        do {
            return try await client.receive(request(call, at: used), take: call.take)
        } catch let error as AWSError {
            guard let moved = try follow(error, from: used) else { throw error }
            return try await client.receive(request(call, at: moved), take: call.take)
        }
    }

    private func request(_ call: Call, at place: AWSEndpoint) -> AWSRequest {
        var place = place
        var path = call.object.map { "/\($0.full)" } ?? "/"
        if usesVirtualHost(at: place) {
            place.host = "\(settings.bucket).\(place.host)"
        } else {
            path = "/\(settings.bucket)" + (call.object == nil ? "" : path)
        }
        let resource = "s3://\(settings.bucket)" + (call.object.map { "/\($0.full)" } ?? "")
        var request = AWSRequest(
            .s3, call.operation, on: resource, at: place, method: call.method, path: path, query: call.query,
            headers: call.headers, body: call.body, isIdempotent: call.isIdempotent, deadline: call.deadline)
        request.mayFailWithStatus200 = call.mayFailWithStatus200
        return request
    }

    private func usesVirtualHost(at place: AWSEndpoint) -> Bool {
        switch settings.addressing {
        case .path: false
        case .virtualHost: true
        // A name with dots does not match the wildcard in the certificate.
        case .automatic: !place.isCustom && !settings.bucket.contains(".")
        }
    }

    /// Where the bucket is instead, as far as `error` says so and it is not where we have asked.
    private func follow(_ error: AWSError, from used: AWSEndpoint) throws -> AWSEndpoint? {
        // A redirect (301, 307) or a refused signature (400).
        guard error.kind == .refused, (300..<400).contains(error.status) || error.status == 400,
            let region = error.expectedRegion, region != used.region
        else { return nil }
        let moved = try configuration.endpoint(for: .s3, region: region, override: settings.endpoint)
        let isNew = place.withLock { place in
            let isNew = place != moved
            place = moved
            return isNew
        }
        if isNew {
            logger.notice(
                "the bucket is in another region than the configured one",
                metadata: [
                    "bucket": "\(settings.bucket)", "configured": "\(used.region)", "found": "\(region)",
                ])
        }
        return moved
    }
}

extension S3Settings {
    /// Amazon's rule for names: a wrong one would be a path or a host of somebody else's.
    fileprivate func check() throws(S3StoreError) {
        let isName =
            (3...63).contains(bucket.utf8.count)
            && bucket.utf8.allSatisfy { byte in
                (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                    || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                    || byte == UInt8(ascii: "-") || byte == UInt8(ascii: ".")
            } && !bucket.contains("..") && bucket.first != "." && bucket.last != "."
        guard isName else {
            throw .settings(
                bucket: bucket, problem: "a bucket's name has 3 to 63 small letters, digits, hyphens and dots")
        }
        let pieces = prefix.split(separator: "/", omittingEmptySubsequences: false)
        guard prefix.isEmpty || pieces.allSatisfy({ !$0.isEmpty && $0 != "." && $0 != ".." }) else {
            throw .settings(bucket: bucket, problem: "the prefix '\(prefix)' has an empty piece, '.' or '..'")
        }
        guard pieceSize >= 5 << 20, (1...pieceSize).contains(multipartThreshold), piecesInFlight >= 1,
            downloadPieceSize >= 1, downloadsAhead >= 1, largestObject >= 1
        else {
            throw .settings(
                bucket: bucket,
                problem: "pieces have 5 MiB at least, and objects above a piece's size go up in pieces")
        }
    }
}
