import NIOSSL

/// A certificate authority of a test's own, and a server's certificate by it, as PEM files.
/// Made by `openssl`, valid for a week.
package struct TestCertificates: Sendable {
    /// What a client trusts: for `AWS_CA_BUNDLE`.
    package let authority: String
    package let certificate: String
    package let key: String

    package static var part: RealPart { .program("openssl") }

    /// Makes the files in `directory`, for `names` as openssl writes them.
    package static func make(
        in directory: String, for names: String = "DNS:localhost,IP:127.0.0.1"
    ) throws -> TestCertificates {
        let authorityKey = "\(directory)/authority.key"
        let files = TestCertificates(
            authority: "\(directory)/authority.pem", certificate: "\(directory)/server.pem",
            key: "\(directory)/server.key")
        let request = [
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "7",
        ]
        try openssl(
            request + [
                "-keyout", authorityKey, "-out", files.authority, "-subj", "/CN=Lifeboat tests", "-addext",
                "keyUsage=critical,keyCertSign",
            ])
        try openssl(
            request + [
                "-CA", files.authority, "-CAkey", authorityKey, "-keyout", files.key, "-out", files.certificate,
                "-subj", "/CN=localhost", "-addext", "basicConstraints=critical,CA:FALSE", "-addext",
                "subjectAltName=\(names)",
            ])
        return files
    }

    func serverContext(maximum: TLSVersion?) throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: try NIOSSLCertificate.fromPEMFile(certificate).map { .certificate($0) },
            privateKey: .privateKey(try NIOSSLPrivateKey(file: key, format: .pem)))
        if let maximum {
            configuration.minimumTLSVersion = .tlsv1
            configuration.maximumTLSVersion = maximum
        }
        return try NIOSSLContext(configuration: configuration)
    }

    private static func openssl(_ arguments: [String]) throws {
        let ended = try runProgram("/usr/bin/env", ["openssl"] + arguments)
        guard ended.status == 0 else { throw TestFailure("openssl failed: \(ended.output)") }
    }
}
