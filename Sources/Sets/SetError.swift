package import Core

/// What can be wrong with a set, or with making one.
package enum SetError: Failure {
    case noSets(String)
    case notFound(String)
    case unreadableManifest(key: String, problem: String)
    case wrongPlace(key: String, problem: String)
    case macMismatch(key: String)
    case untrusted(key: String, problem: String)
    case missingSegment(key: String, path: String)
    case wrongSize(key: String, path: String, recorded: Int64, found: Int64)
    case damagedSegment(key: String, path: String, problem: String)
    case damagedRecord(path: String, problem: String)
    case unknownPart(key: String, part: String)
    case taken(key: String)

    package var exitCode: ExitCode {
        switch self {
        case .noSets, .notFound: .store
        case .taken: .locked
        default: .verificationFailed
        }
    }

    package var operation: String {
        switch self {
        case .noSets, .notFound: "find the set"
        case .unreadableManifest, .wrongPlace, .macMismatch, .untrusted: "trust the manifest"
        case .missingSegment, .wrongSize, .damagedSegment: "read the segment"
        case .damagedRecord: "read the record"
        case .unknownPart: "open the part"
        case .taken: "commit the set"
        }
    }

    package var object: String {
        switch self {
        case .noSets(let what), .notFound(let what): what
        case .unreadableManifest(let key, _), .wrongPlace(let key, _), .macMismatch(let key), .untrusted(let key, _),
            .taken(let key):
            "\(key)/manifest.json"
        case .missingSegment(let key, let path), .wrongSize(let key, let path, _, _),
            .damagedSegment(let key, let path, _):
            "\(key)/\(path)"
        case .damagedRecord(let path, _): path
        case .unknownPart(let key, let part): "\(part) of \(key)"
        }
    }

    package var cause: String {
        switch self {
        case .noSets: "there is no backup set to choose from"
        case .notFound: "no set of this name has been committed"
        case .unreadableManifest(_, let problem), .wrongPlace(_, let problem), .untrusted(_, let problem),
            .damagedSegment(_, _, let problem), .damagedRecord(_, let problem):
            problem
        case .macMismatch: "its authentication code does not match: it was changed after it was written"
        case .missingSegment: "the manifest names it and it is not in the store"
        case .wrongSize(_, _, let recorded, let found): "it has \(found) bytes instead of \(recorded)"
        case .unknownPart: "the set has no such part"
        case .taken: "another run has committed a set of this name meanwhile"
        }
    }

    package var hint: String {
        switch self {
        case .noSets: "make one with an event like {\"backupType\":\"daily\"}"
        case .notFound: "'lifeboat list' shows the sets there are"
        case .untrusted: "sign with a key in BACKUP_TRUSTED_SIGNERS, or find out who wrote this set"
        case .unknownPart: "the set was made by another engine; check 'target'"
        case .taken: "nothing is lost: that set stands, this one was not stored; see 'lifeboat list'"
        case .damagedRecord: "keep it for examination, then move it away; the set itself can still be verified"
        default:
            "do not use this set; verify others ('lifeboat verify'), restore one that is proven, and keep this one "
                + "for examination"
        }
    }
}
