package import Core

/// One request as it goes over the wire: already signed, already encoded.
package struct HTTPCall: Sendable {
    /// `GET`, `PUT` …
    package var method: String
    /// Absolute, percent-encoded: it is sent exactly as it stands here.
    package var url: String
    package var headers: HTTPFields
    package var body: HTTPBody
    /// Seconds until the answer's head has to be there. Reading the body has the transport's idle limit.
    package var deadline: Double

    package init(
        method: String, url: String, headers: HTTPFields = HTTPFields(), body: HTTPBody = .none, deadline: Double = 60
    ) {
        self.method = method
        self.url = url
        self.headers = headers
        self.body = body
        self.deadline = deadline
    }
}

/// A body that can be sent again.
package enum HTTPBody: Sendable {
    case none
    case bytes([UInt8])
    /// Held by reference until the answer is there: 16 MiB of an upload are not copied.
    case chunks([Chunk])

    package var count: Int {
        switch self {
        case .none: 0
        case .bytes(let bytes): bytes.count
        case .chunks(let chunks): chunks.reduce(0) { $0 + $1.count }
        }
    }
}

/// Header fields, in order; names compare without regard to case.
package struct HTTPFields: Sendable, Equatable {
    package private(set) var all: [(name: String, value: String)] = []

    package init(_ fields: [(name: String, value: String)] = []) { all = fields }

    package static func == (a: HTTPFields, b: HTTPFields) -> Bool { a.all.elementsEqual(b.all, by: ==) }

    /// The first value of `name`. Setting replaces all of them; `nil` removes.
    package subscript(_ name: String) -> String? {
        get { all.first { $0.name.lowercased() == name.lowercased() }?.value }
        set {
            all.removeAll { $0.name.lowercased() == name.lowercased() }
            if let newValue { all.append((name, newValue)) }
        }
    }
}

/// What came back, its body read whole.
package struct HTTPAnswer: Sendable {
    package var status: Int
    package var headers: HTTPFields
    package var body: [UInt8]

    package init(status: Int, headers: HTTPFields = HTTPFields(), body: [UInt8] = []) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    package var isSuccess: Bool { (200..<300).contains(status) }
}

/// Nothing, or not all, came back: the connection failed, broke or was too slow.
package struct TransportError: Error, Sendable, CustomStringConvertible {
    package enum Kind: Sendable {
        /// Nobody answers, or the name is unknown: nothing was sent.
        case connect
        /// The certificate or the protocol was not accepted: nothing was sent.
        case tls
        /// The connection broke on the way.
        case broken
        /// The deadline or the idle limit passed.
        case timeout
    }

    package var kind: Kind
    package var description: String
    /// What a person can do about it; may be empty.
    package var hint: String
    /// The same again would give the same: a certificate that is not trusted.
    package var isPermanent: Bool

    package init(_ kind: Kind, _ description: String, hint: String = "", isPermanent: Bool = false) {
        self.kind = kind
        self.description = description
        self.hint = hint
        self.isPermanent = isPermanent
    }
}

/// HTTP over a pool of connections: one exchange at a time, no retries, no redirects followed.
package protocol HTTPTransport: Sendable {
    /// Throws ``TransportError``, or `CancellationError` in a cancelled task.
    ///
    /// A successful answer's body goes to `take` piece by piece where that is given, each piece valid only during the
    /// call, and the answer's own `body` is empty; what `take` throws comes out as it is. Any other body is collected:
    /// of an error its first mebibyte, of a success up to 64, and more is an error.
    func exchange(
        _ call: HTTPCall, take: (@Sendable (UnsafeRawBufferPointer) throws -> Void)?
    ) async throws -> HTTPAnswer
}

extension HTTPTransport {
    package func exchange(_ call: HTTPCall) async throws -> HTTPAnswer { try await exchange(call, take: nil) }
}
