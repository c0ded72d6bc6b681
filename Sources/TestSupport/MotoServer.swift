import AWS
package import Core
import Glibc

/// A throwaway moto server: AWS KMS, STS, Secrets Manager and Systems Manager for tests, on a free port of the
/// loopback, gone with the test process in whatever way that ends.
///
/// It believes every signature, and everything it holds is in memory. Tests share one, so each makes keys and secrets
/// of its own.
package final class MotoServer: Sendable {
    package let port: Int
    package var url: String { "http://127.0.0.1:\(port)" }

    private let guardian: ServerGuardian

    private init(port: Int, guardian: ServerGuardian) {
        self.port = port
        self.guardian = guardian
    }

    private static let sharedServer = Task { try await start() }

    /// One server for all tests of this process.
    package static func shared() async throws -> MotoServer { try await sharedServer.value }

    package static func start() async throws -> MotoServer {
        let guardian = try await ServerGuardian.start(guardianScript, ["\(environmentPath)/bin/python"])
        guard let port = Int(guardian.announcement) else {
            throw TestFailure("moto says no port: \(guardian.announcement)")
        }
        return MotoServer(port: port, guardian: guardian)
    }

    /// Stops the server and waits until it is gone. Harmless twice.
    package func stop() async throws { try await guardian.stop() }

    /// What a client of this server needs in its environment.
    package func environment(region: String = "eu-central-1") -> [String: String] {
        [
            "AWS_ENDPOINT_URL": url, "AWS_REGION": region, "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
        ]
    }

    // MARK: What tests need there

    /// A new symmetric key's ARN.
    package func createKey(region: String = "eu-central-1") async throws -> String {
        let answer = try await call("kms", "TrentService.CreateKey", [:], region: region)
        return try Self.text("Arn", in: answer)
    }

    /// `name` begins with `alias/`; `key` is an id or ARN.
    package func createAlias(_ name: String, for key: String, region: String = "eu-central-1") async throws {
        try await call(
            "kms", "TrentService.CreateAlias", ["AliasName": .string(name), "TargetKeyId": .string(key)],
            region: region)
    }

    /// Points an alias at another key.
    package func updateAlias(_ name: String, to key: String, region: String = "eu-central-1") async throws {
        try await call(
            "kms", "TrentService.UpdateAlias", ["AliasName": .string(name), "TargetKeyId": .string(key)],
            region: region)
    }

    /// A new secret's ARN. `binary` is base64, and stands in for `text`.
    @discardableResult
    package func createSecret(
        _ name: String, text: String? = nil, binary: String? = nil, region: String = "eu-central-1"
    ) async throws -> String {
        let answer = try await call(
            "secretsmanager", "secretsmanager.CreateSecret",
            [
                "Name": .string(name), "SecretString": text.map { .string($0) },
                "SecretBinary": binary.map { .string($0) },
            ],
            region: region)
        return try Self.text("ARN", in: answer)
    }

    /// A SecureString.
    package func putParameter(_ name: String, _ value: String, region: String = "eu-central-1") async throws {
        try await call(
            "ssm", "AmazonSSM.PutParameter",
            ["Name": .string(name), "Value": .string(value), "Type": .string("SecureString")], region: region)
    }

    /// Sends one call in the AWS JSON protocol and returns the body of its answer; throws ``TestFailure`` where that
    /// is none of success. moto reads the region from the signature, which it does not check.
    @discardableResult
    package func call(
        _ service: String, _ target: String, _ members: [String: JSON?], region: String = "eu-central-1"
    ) async throws -> [UInt8] {
        let scope = "testing/20250115/\(region)/\(service)/aws4_request"
        let headers = HTTPFields([
            (name: "Content-Type", value: "application/x-amz-json-1.1"), (name: "X-Amz-Target", value: target),
            (
                name: "Authorization",
                value: "AWS4-HMAC-SHA256 Credential=\(scope), SignedHeaders=host, Signature=0"
            ),
        ])
        let call = HTTPCall(
            method: "POST", url: url + "/", headers: headers,
            body: .bytes(JSON.object(present: members).canonicalBytes))
        let transport = try PooledTransport()
        let answer: HTTPAnswer
        do {
            answer = try await transport.exchange(call)
        } catch {
            try await transport.shutdown()
            throw error
        }
        try await transport.shutdown()
        guard answer.isSuccess else {
            throw TestFailure(
                "moto answered \(target) with \(answer.status): \(String(decoding: answer.body, as: UTF8.self))")
        }
        return answer.body
    }

    /// The value of the first member `name` that is a string, wherever it stands.
    private static func text(_ name: String, in body: [UInt8]) throws -> String {
        let text = String(decoding: body, as: UTF8.self)
        guard let mark = text.firstRange(of: "\"\(name)\": \"") else {
            throw TestFailure("moto's answer has no '\(name)'")
        }
        return String(text[mark.upperBound...].prefix { $0 != "\"" })
    }
}

extension MotoServer {
    /// moto in an environment of its own that `scripts/python-env` makes.
    package static var part: RealPart {
        RealPart("moto, made by scripts/python-env moto 'moto[server]==5.2.1'", isPresent: isInstalled)
    }

    private static var environmentPath: String { "\(repositoryRoot)/.cache/python/moto" }

    private static var isInstalled: Bool { access("\(environmentPath)/.complete", R_OK) == 0 }

    /// Starts the server and ends it as soon as standard input ends, which it does with the test process. The system
    /// chooses the port, so that no other test can take it in between.
    private static let guardianScript = #"""
        set -eu
        trap '' INT TERM HUP
        directory=$(mktemp -d /tmp/lifeboat-moto-XXXXXX)
        pid=
        clean_up() {
            if [ -n "$pid" ]; then
                kill -KILL "$pid" || true
                wait "$pid" 2>/dev/null || true
            fi
            rm -rf "$directory"
        }
        trap clean_up EXIT
        "$1" -m moto.server -H 127.0.0.1 -p 0 </dev/null >"$directory/log" 2>&1 &
        pid=$!
        port=
        while [ -z "$port" ]; do
            kill -0 "$pid" 2>/dev/null || { cat "$directory/log" >&2; exit 1; }
            sleep 0.05
            port=$(sed -n 's|.*Running on http://127.0.0.1:\([0-9]*\).*|\1|p' "$directory/log" | head -n 1)
        done
        echo "ready $port"
        cat >/dev/null
        """#
}
