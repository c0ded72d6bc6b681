import AWS
import Core

/// Looks whether an object is kept as it was asked to be. Servers say yes to a lock, an encryption or a class and go
/// on without.
struct ReadBack: Sendable {
    let key: String
    let encryption: S3Settings.ServerSideEncryption?
    let options: PutOptions

    /// There is something to look for.
    var isNeeded: Bool {
        encryption != nil || options.storageClass != .standard || !options.protection.isNone || !options.tags.isEmpty
    }

    /// Throws ``NotApplied`` with everything that was asked for and is not there.
    func check(_ head: ObjectHead) throws(NotApplied) {
        var problems = Self.missing(options.protection, in: head.protection)
        if options.storageClass.rawValue != head.storageClass {
            problems.append(
                "storage class \(options.storageClass.rawValue) was asked for; it lies in \(head.storageClass)")
        }
        if let problem = encryptionProblem(head) { problems.append(problem) }
        if let count = head.tagCount, count != options.tags.count {
            problems.append("\(options.tags.count) tags were asked for; there are \(count)")
        }
        guard problems.isEmpty else { throw NotApplied(key: key, problem: problems.joined(separator: "; ")) }
    }

    private func encryptionProblem(_ head: ObjectHead) -> String? {
        let found = head.encryption.map { $0 + (head.encryptionKey.map { " under \($0)" } ?? "") } ?? "none"
        switch encryption {
        case nil: return nil
        case .aes256:
            return head.encryption == "AES256" ? nil : "SSE-S3 was asked for; there is \(found)"
        case .kms(let asked):
            guard head.encryption == "aws:kms" || head.encryption == "aws:kms:dsse" else {
                return "SSE-KMS was asked for; there is \(found)"
            }
            // An alias is answered with the key that it names.
            guard let asked, !asked.contains("alias/"), let key = head.encryptionKey else { return nil }
            return key == asked || key.hasSuffix("/\(asked)")
                ? nil : "SSE-KMS under \(asked) was asked for; there is \(found)"
        }
    }

    /// What of `asked` is not in `found`, for people.
    static func missing(_ asked: Protection, in found: Protection) -> [String] {
        var problems: [String] = []
        if let lock = asked.lock {
            let text = "Object Lock (\(lock.mode.rawValue)) until \(lock.until) was asked for; "
            switch found.lock {
            case nil: problems.append(text + "there is none")
            case let found? where found.until < lock.until || !found.mode.isAsStrict(as: lock.mode):
                problems.append(text + "there is one (\(found.mode.rawValue)) until \(found.until)")
            default: break
            }
        }
        if asked.legalHold && !found.legalHold { problems.append("a legal hold was asked for; there is none") }
        return problems
    }
}

extension ObjectLock.Mode {
    func isAsStrict(as other: Self) -> Bool { self == .compliance || other == .governance }
}
