/// What names a KMS key (AWS KMS developer guide, "Key identifiers"): its ARN, an alias' ARN, an alias, a key's id.
struct KMSKeyName: Hashable, Sendable {
    /// As given.
    let text: String
    /// `aws`, `aws-cn`; `nil` where `text` is no ARN. So are the next two.
    let partition: String?
    let region: String?
    let account: String?
    /// `key/1234…`, `key/mrk-1234…`, `alias/clinic`; a bare id stands here as `key/id`.
    let resource: String

    /// `nil` for anything else.
    init?(_ text: String) {
        self.text = text
        let name: Substring
        if text.hasPrefix("arn:") {
            let parts = text.split(separator: ":", maxSplits: 5, omittingEmptySubsequences: false)
            guard parts.count == 6, parts[2] == "kms", Self.isPlain(parts[1], "-"), Self.isPlain(parts[3], "-"),
                Self.isPlain(parts[4], "")
            else { return nil }
            (partition, region, account) = (String(parts[1]), String(parts[3]), String(parts[4]))
            name = parts[5]
            guard name.hasPrefix("key/") || name.hasPrefix("alias/") else { return nil }
        } else {
            (partition, region, account) = (nil, nil, nil)
            name = text.hasPrefix("alias/") || text.hasPrefix("key/") ? text[...] : "key/\(text)"
            guard !text.hasPrefix("key/") else { return nil }
        }
        resource = String(name)
        let isAlias = name.hasPrefix("alias/")
        guard Self.isPlain(name.dropFirst(isAlias ? 6 : 4), isAlias ? "/_-" : "-"), text.utf8.count <= 2048 else {
            return nil
        }
    }

    var isAlias: Bool { resource.hasPrefix("alias/") }
    /// What stands in a message: an ARN, and not an alias', which may name another key tomorrow.
    var isKeyARN: Bool { partition != nil && !isAlias }
    var isMultiRegion: Bool { resource.hasPrefix("key/mrk-") }

    /// Whether both name one key: the same ARN, or a multi-region key and its replica, which have all but the region
    /// in common (AWS Encryption SDK specification, "AWS KMS MRK match for decrypt").
    func isSameKey(as other: KMSKeyName) -> Bool {
        guard isKeyARN, other.isKeyARN else { return false }
        if text == other.text { return true }
        return isMultiRegion && partition == other.partition && account == other.account
            && resource == other.resource
    }

    private static func isPlain(_ text: some StringProtocol, _ punctuation: String) -> Bool {
        !text.isEmpty
            && text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || punctuation.contains($0)) }
    }
}
