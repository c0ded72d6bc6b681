import Core
import Logging

/// One place where credentials may be.
protocol CredentialProvider: Sendable {
    /// Throws ``AWSError`` of kind `credentials` where the place is in use and gives none: falling through to another
    /// identity would write backups as somebody else.
    func fetch() async throws -> CredentialFinding
}

enum CredentialFinding: Sendable {
    case found(AWSCredentials)
    /// The place is not in use here; the words complete "looked at": `the environment (AWS_ACCESS_KEY_ID is not set)`.
    case absent(String)
}

/// What the providers of credentials work with.
struct CredentialSurroundings: Sendable {
    let configuration: AWSConfiguration
    let transport: any HTTPTransport
    let readFile: @Sendable (String) throws -> [UInt8]
    let clock: any WallClock
    let sleep: @Sendable (Double) async throws -> Void
    let random: RandomBytes
    let logger: Logger

    /// The variable's value; an empty one counts as not set, as in every SDK.
    func variable(_ name: String) -> String? {
        guard let value = configuration.environment[name], !value.isEmpty else { return nil }
        return value
    }

    /// The content of a small file that may lie on a slow mount.
    func contents(of path: String) async throws -> [UInt8] {
        let readFile = readFile
        return try await onThread("credentials") { try readFile(path) }
    }

    /// A token from a file, without the white space around it. `source` and `variable` are for the error.
    func token(in path: String, source: String, variable: String) async throws -> String {
        let bytes: [UInt8]
        do {
            bytes = try await contents(of: path)
        } catch {
            throw AWSError.credentials(
                source, resource: path, "the token's file cannot be read",
                hint: "\(variable) names it: check that it is mounted and that the user lifeboat runs as may read it")
        }
        let text = String(validating: bytes, as: UTF8.self)?.trimmed
        guard let text, !text.isEmpty, !text.unicodeScalars.contains(where: { $0.value < 0x20 }) else {
            throw AWSError.credentials(
                source, resource: path, "the file holds no token",
                hint: "\(variable) names it: check that it is the right file")
        }
        return text
    }

    /// Sends a small unsigned request, again after 5xx, 429, a failed connection or a passed deadline, and after
    /// whatever `isPassing` says, `attempts` times altogether. Throws `TransportError` after the last.
    func send(
        _ call: HTTPCall, attempts: Int, isPassing: (HTTPAnswer) -> Bool = { _ in false }
    ) async throws -> HTTPAnswer {
        var attempt = 1
        while true {
            do {
                let answer = try await transport.exchange(call)
                let isTransient = answer.status >= 500 || answer.status == 429 || isPassing(answer)
                guard isTransient, attempt < attempts else { return answer }
                logger.debug(
                    "the giver of credentials cannot answer now",
                    metadata: ["status": .stringConvertible(answer.status), "attempt": .stringConvertible(attempt)])
            } catch let error as TransportError {
                guard attempt < attempts else { throw error }
                logger.debug(
                    "the giver of credentials does not answer",
                    metadata: ["cause": .string(error.description), "attempt": .stringConvertible(attempt)])
            }
            try await sleep(backOff(after: attempt))
            attempt += 1
        }
    }

    /// Seconds: a random part of 0.2, 0.4, 0.8 … 5, so that the pods of a cluster do not come back all at once.
    private func backOff(after attempt: Int) -> Double {
        let ceiling = min(5, 0.1 * Double(1 << min(attempt, 10)))
        let number = random(4).reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        return ceiling * Double(number) / Double(UInt32.max)
    }
}

extension String {
    var trimmed: String {
        var text = self[...]
        while text.first?.isWhitespace == true { text.removeFirst() }
        while text.last?.isWhitespace == true { text.removeLast() }
        return String(text)
    }
}

extension AWSError {
    /// `source` is the place's name, as it completes "get AWS credentials by"; empty for all of them.
    static func credentials(
        _ source: String, resource: String = "", status: Int = 0, code: String = "", _ message: String,
        requestID: String = "", hint: String
    ) -> AWSError {
        AWSError(
            .credentials, .sts, source, resource: resource, status: status, code: code, message: message,
            requestID: requestID, exitCode: .configuration, hint: hint)
    }
}
