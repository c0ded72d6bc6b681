package import Core

/// What can be wrong with a message or its keys. None of the cases holds key bytes or plaintext.
package enum EnvelopeError: Failure, Equatable {
    // Sealing.
    /// Nobody could open what would be written.
    case noRecipients
    /// A recipient's key would not wrap the data key. All have to, or nothing is written.
    case recipientFailed(name: String, reason: String, hint: String)
    /// A message cannot be made of this; the text says of what.
    case unusableParameters(String)
    /// The caller gave a frame of another size than it promised.
    case wrongFrameSize(expected: String, given: Int)
    /// 2^32 - 1 frames are all that a message can number.
    case tooManyFrames

    // Keys.
    /// None of the identities opens any of the wrapped data keys.
    case noKeyOpens([KeyRefusal], recipients: [String])
    /// The data key is not the one that the message was sealed with: the commitment in the header differs.
    case wrongDataKey

    // The header.
    /// Not the beginning of a message, or a damaged one.
    case malformedHeader(String)
    /// A message by other rules than those this project writes and reads.
    case unsupported(String)
    /// The header's tag does not fit: something in it was changed after it was sealed.
    case headerAltered

    // The body. Frames count from 1.
    case damaged(frame: UInt32, Damage)
    /// The stream ended after this many whole frames, none of which was the final one.
    case truncated(frames: UInt32)
    /// Something follows the final frame.
    case trailingBytes
    /// The reader or writer met an error before and was used again.
    case usedAfterError

    package enum Damage: Equatable, Sendable {
        /// Its bytes were changed, or it comes from another message.
        case tag
        /// It carries another number than its place in the message, or another IV than its number.
        case order
        /// A final frame that says it is longer than a frame can be.
        case length
    }

    /// Whether the message could not be looked into for want of an identity, and not because something about its
    /// keys is wrong: nothing is known then, neither good nor bad.
    package var lacksIdentity: Bool {
        guard case .noKeyOpens(let refusals, _) = self else { return false }
        return refusals.allSatisfy { refusal in
            if case .failed = refusal.reason { false } else { true }
        }
    }
}

/// Why one identity did not open a message.
package struct KeyRefusal: Equatable, Sendable {
    package enum Reason: Equatable, Sendable {
        /// No wrapped data key in the message is for it.
        case notAddressed
        /// It is half a key, which seals and does not open.
        case sealsOnly
        /// One is for it and does not open.
        case failed(String)
    }

    /// The identity's name: `aes:clinic`.
    package var key: String
    package var reason: Reason

    package init(key: String, reason: Reason) {
        self.key = key
        self.reason = reason
    }

    var text: String {
        switch reason {
        case .notAddressed: "\(key) is not among its recipients"
        case .sealsOnly: "\(key) is a public key, which cannot open anything"
        case .failed(let reason): "\(key): \(reason)"
        }
    }
}

extension EnvelopeError {
    package var exitCode: ExitCode {
        switch self {
        case .noRecipients: .configuration
        case .recipientFailed, .unusableParameters, .noKeyOpens, .wrongDataKey: .keys
        case .wrongFrameSize, .tooManyFrames, .malformedHeader, .unsupported, .headerAltered, .damaged, .truncated,
            .trailingBytes, .usedAfterError:
            .verificationFailed
        }
    }

    package var operation: String {
        switch self {
        case .noRecipients, .recipientFailed, .unusableParameters, .wrongFrameSize, .tooManyFrames:
            "seal the message"
        case .noKeyOpens, .wrongDataKey: "open the message's data key"
        case .malformedHeader, .unsupported, .headerAltered: "read the message's header"
        case .damaged, .truncated, .trailingBytes, .usedAfterError: "open the message"
        }
    }

    package var object: String {
        switch self {
        case .recipientFailed(let name, _, _): name
        case .damaged(let frame, _): "frame \(frame)"
        default: ""
        }
    }

    package var cause: String {
        switch self {
        case .noRecipients: "there are no recipients"
        case .recipientFailed(_, let reason, _): reason
        case .unusableParameters(let problem): problem
        case .wrongFrameSize(let expected, let given): "a frame of \(given) bytes was given, \(expected) expected"
        case .tooManyFrames: "it would need more than 4294967295 frames"
        case .noKeyOpens(let refusals, _):
            refusals.isEmpty
                ? "there are no identities to try" : refusals.map(\.text).joined(separator: "; ")
        case .wrongDataKey: "the data key is not the one the message was sealed with"
        case .malformedHeader(let problem): problem
        case .unsupported(let feature): "it uses \(feature), which is not read here"
        case .headerAltered: "the header was changed after it was sealed"
        case .damaged(_, .tag): "its bytes were changed, or it belongs to another message"
        case .damaged(_, .order): "it stands in another place than where it was written"
        case .damaged(_, .length): "it says that it is longer than a frame can be"
        case .truncated(let frames): "it ends after \(frames) frames, without the final one"
        case .trailingBytes: "something follows its end"
        case .usedAfterError: "it has failed before"
        }
    }

    package var hint: String {
        switch self {
        case .noRecipients: "name at least one key in BACKUP_RECIPIENTS"
        case .recipientFailed(_, _, let hint): hint
        case .unusableParameters, .wrongFrameSize, .usedAfterError:
            "this is a defect of the program; please report it with this message"
        case .tooManyFrames: "split the part into segments"
        case .noKeyOpens(_, let recipients):
            "name a key that opens it in BACKUP_IDENTITIES; it was sealed for "
                + recipients.joined(separator: ", ") + " (the name of a key is its file's base name without "
                + "extension, the same for the public and the private half)"
        case .wrongDataKey: "the wrapped keys belong to another message; take the set from the second copy"
        case .unsupported: "open it with the AWS Encryption SDK, and encrypt it anew with 'lifeboat encrypt'"
        case .malformedHeader:
            "make sure that the file is one that lifeboat or the AWS Encryption SDK wrote, whole and unchanged"
        case .headerAltered, .damaged, .truncated, .trailingBytes:
            "do not use it; take the second copy or an earlier set, and look at who can write to the store"
        }
    }
}
