import Foundation

/// The AWS Encryption SDK's own program, in an environment of its own that `scripts/python-env` makes.
package struct EncryptionCLI {
    package static let version = "4.3.0"

    package static let part = RealPart(
        "aws-encryption-sdk-cli \(version), made by scripts/python-env aws-encryption-sdk-cli "
            + "aws-encryption-sdk-cli==\(version)",
        isPresent: FileManager.default.fileExists(atPath: "\(environmentPath)/.complete"))

    private static let environmentPath = "\(repositoryRoot)/.cache/python/aws-encryption-sdk-cli"

    private let moto: MotoServer

    package init(moto: MotoServer) { self.moto = moto }

    /// Runs the program on files; throws with what it says where it fails. KMS alone is redirected, so that nothing
    /// else is asked.
    package func run(_ arguments: [String]) throws {
        var environment = moto.environment()
        environment["AWS_ENDPOINT_URL"] = nil
        environment["AWS_ENDPOINT_URL_KMS"] = moto.url
        environment["AWS_DEFAULT_REGION"] = environment["AWS_REGION"]
        environment["AWS_EC2_METADATA_DISABLED"] = "true"
        environment["PATH"] = "/usr/bin:/bin"
        let ended = try runProgram(
            "\(Self.environmentPath)/bin/python",
            ["-c", "import aws_encryption_sdk_cli; aws_encryption_sdk_cli.cli()"] + arguments,
            environment: environment)
        // The program's exit status is a text, and so 1, where it fails.
        guard ended.status == 0 else { throw TestFailure("aws-encryption-cli: \(ended.output)") }
    }
}
