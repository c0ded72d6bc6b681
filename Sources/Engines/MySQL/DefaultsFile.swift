import Core
import Streams

/// How a child gets in, in the form of an option file that only it reads: no other file's options can then change what
/// is dumped. Hold it for as long as the child may log in.
final class DefaultsFile: Sendable {
    var path: String { file.path }
    private let file: MemoryFile

    init(for endpoint: MySQLEndpoint, isMariaDB: Bool) throws {
        var text = Array("[client]\n".utf8)
        defer { text.withUnsafeMutableBytes { wipe($0) } }
        // Room for all of it at once: growing would leave copies of the password behind.
        text.reserveCapacity(16 << 10)
        try Self.add("user", endpoint.user, to: &text)
        if let socket = endpoint.socket {
            try Self.add("socket", socket, to: &text)
            try Self.add("protocol", "SOCKET", to: &text)
        } else {
            try Self.add("host", endpoint.host, to: &text)
            try Self.add("port", String(endpoint.port), to: &text)
            try Self.add("protocol", "TCP", to: &text)
            try Self.addTLS(endpoint.tls, isMariaDB: isMariaDB, to: &text)
        }
        if let password = endpoint.password, !password.isEmpty {
            try password.withRevealed { try Self.add("password", $0, to: &text) }
        }
        file = try text.withUnsafeBytes { try MemoryFile($0, name: "my.cnf") }
    }

    /// The two products say the same with different words.
    private static func addTLS(_ tls: MySQLEndpoint.TLS, isMariaDB: Bool, to text: inout [UInt8]) throws {
        if isMariaDB {
            text += Array((tls.mode == .disabled ? "skip-ssl\n" : "ssl\n").utf8)
            text += Array((tls.mode == .verified ? "ssl-verify-server-cert\n" : "skip-ssl-verify-server-cert\n").utf8)
        } else {
            let word =
                switch tls.mode {
                case .disabled: "DISABLED"
                case .required: "REQUIRED"
                case .verified: "VERIFY_IDENTITY"
                }
            try add("ssl-mode", word, to: &text)
        }
        guard tls.mode != .disabled else { return }
        if let authority = tls.authority ?? (isMariaDB || tls.mode != .verified ? nil : systemAuthorities) {
            try add("ssl-ca", authority, to: &text)
        }
        if let certificate = tls.certificate { try add("ssl-cert", certificate, to: &text) }
        if let key = tls.key { try add("ssl-key", key, to: &text) }
    }

    /// MySQL's programs know no default.
    private static let systemAuthorities = "/etc/ssl/certs/ca-certificates.crt"

    /// `name="value"`, with the escapes that option files have.
    private static func add(_ name: String, _ value: String, to text: inout [UInt8]) throws {
        text += Array(name.utf8)
        text += Array("=\"".utf8)
        for byte in value.utf8 {
            switch byte {
            case 0:
                throw MySQLError.configuration(
                    "MYSQL_\(name.uppercased())", "it holds a byte of zero", hint: "correct the setting")
            case UInt8(ascii: "\\"), UInt8(ascii: "\""): text += [UInt8(ascii: "\\"), byte]
            case UInt8(ascii: "\n"): text += Array("\\n".utf8)
            case UInt8(ascii: "\r"): text += Array("\\r".utf8)
            default: text.append(byte)
            }
        }
        text += Array("\"\n".utf8)
    }
}
