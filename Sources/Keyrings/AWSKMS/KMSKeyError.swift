import AWS
package import Core

/// A key in AWS KMS that does not wrap or open.
package struct KMSKeyError: Failure, Equatable {
    package enum Problem: Equatable, Sendable {
        /// Neither an ARN of KMS, nor an alias, nor a key's id.
        case notAKeyName
        /// What was wrapped is no blob of KMS: it is empty or too long.
        case notABlob
        /// KMS answered, and not with what it should.
        case unexpectedReply(String)
        /// KMS used another key than the one that was named.
        case otherKey
        /// KMS refused, with this code; the cause and the hint are written for it.
        case refused(code: String, cause: String, hint: String)
        /// KMS in this region does not answer.
        case unreachable(region: String, cause: String)
    }

    package let problem: Problem
    /// `Decrypt`; empty where nothing was asked.
    package let awsOperation: String
    /// The provider's name: `kms:arn:aws:kms:…`.
    package let key: String

    init(_ problem: Problem, _ awsOperation: String = "", key: String) {
        self.problem = problem
        self.awsOperation = awsOperation
        self.key = key
    }

    package var exitCode: ExitCode { problem == .notAKeyName ? .configuration : .keys }
    package var object: String { key }

    package var operation: String {
        switch awsOperation {
        case "": "use the KMS key"
        case "Decrypt": "open the data key"
        case "DescribeKey": "look up the KMS key"
        default: "seal the data key"
        }
    }

    package var cause: String {
        switch problem {
        case .notAKeyName: "it is neither an ARN of AWS KMS nor an alias nor a key's id"
        case .notABlob: "the data key wrapped under this name is no blob of AWS KMS"
        case .unexpectedReply(let what): "the answer of AWS KMS holds \(what)"
        case .otherKey: "AWS KMS used another key than the one that was named"
        case .refused(_, let cause, _): cause
        case .unreachable(let region, let cause): "AWS KMS in \(region) does not answer: \(cause)"
        }
    }

    package var hint: String {
        switch problem {
        case .notAKeyName:
            "write kms:arn:aws:kms:REGION:ACCOUNT:key/ID, kms:arn:…:alias/NAME, kms:alias/NAME or kms:ID"
        case .notABlob: "the message's header was changed or belongs to another store's format: take another copy"
        case .unexpectedReply, .otherKey: "check what AWS_ENDPOINT_URL_KMS or AWS_ENDPOINT_URL names"
        case .refused(_, _, let hint): hint
        case .unreachable(let region, _):
            "check that the pod may reach kms.\(region).amazonaws.com (network policy, VPC endpoint); a backup sealed "
                + "for a key in another region, or for an rsa: key too, opens without this one"
        }
    }
}

extension KMSKeyError {
    /// What an error of a call means for the key. One that is about this process' own credentials or configuration
    /// stays what it is.
    static func reading(
        _ error: AWSError, _ operation: String, key: String, region: String
    ) -> any Error {
        switch error.kind {
        case .credentials, .configuration: return error
        case .unreachable: return KMSKeyError(.unreachable(region: region, cause: error.cause), operation, key: key)
        case .refused: break
        }
        let (cause, hint) = meaning(of: error, operation)
        let request = error.requestID.isEmpty ? "" : ", request \(error.requestID)"
        let code = error.code.isEmpty ? "status \(error.status)" : error.code
        return KMSKeyError(
            .refused(code: error.code, cause: "\(cause) (\(code)\(request))", hint: hint), operation, key: key)
    }

    /// The codes and their meanings: AWS KMS API reference, "Errors" of each operation.
    private static func meaning(of error: AWSError, _ operation: String) -> (cause: String, hint: String) {
        // Some answers have the code with its protocol's suffix and some without.
        let code = error.code.hasSuffix("Exception") ? String(error.code.dropLast(9)) : error.code
        switch code {
        case "Disabled":
            return ("the key is disabled", "enable it with 'aws kms enable-key', or name another key")
        case "KMSInvalidState":
            return (
                "the key is in a state in which it cannot be used, such as pending deletion",
                "look at it with 'aws kms describe-key'; 'aws kms cancel-key-deletion' and 'enable-key' bring it back "
                    + "before its deletion date"
            )
        case "NotFound":
            return (
                "there is no such key or alias in this account and region",
                "check the ARN, its region and the alias; a deleted key is gone with all that only it opens"
            )
        case "AccessDenied":
            return (
                "the role may not use the key",
                "allow kms:\(operation) on the key to the role, in its own policy and, from another account, in the "
                    + "key's policy too; a condition on kms:EncryptionContext has to fit lifeboat-target"
            )
        case "IncorrectKey":
            return (
                "the data key was wrapped under another key than its header says",
                "the header was changed: take another copy of the set"
            )
        case "InvalidCiphertext":
            return (
                "the wrapped data key does not open: it, or the encryption context, was changed",
                "take another copy of the set"
            )
        case "KeyUnavailable", "DependencyTimeout", "KMSInternal":
            return ("AWS KMS cannot use the key now", "run again later")
        case "InvalidKeyUsage":
            return (
                "the key is not one for encryption",
                "name a symmetric key with the key usage ENCRYPT_DECRYPT (SYMMETRIC_DEFAULT)"
            )
        case "Throttling", "LimitExceeded":
            return ("AWS KMS takes no more requests for now", "run again later, or ask for a higher quota")
        default:
            return ("AWS KMS refuses the call", error.hint.isEmpty ? "look the request up in CloudTrail" : error.hint)
        }
    }
}
