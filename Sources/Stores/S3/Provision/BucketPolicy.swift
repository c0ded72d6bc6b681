import Core

/// JSON that holds no statements.
struct NotAPolicy: Error, CustomStringConvertible {
    var description: String { "it is JSON and no policy" }
}

/// The statements that Lifeboat asks for in a bucket's policy, and what others have put there.
struct BucketPolicy {
    private static let tlsOnly = "LifeboatTLSOnly"
    private static let encryptedOnly = "LifeboatEncryptedPutsOnly"
    private static let oneKeyOnly = "LifeboatOneKeyOnly"
    /// All that were ever ours: one that is no longer asked for is taken out.
    private static let ours: Set = [tlsOnly, encryptedOnly, oneKeyOnly]

    /// The statements that are asked for, each with its `Sid`.
    let wanted: [JSON]

    /// `partition`: of the region, `aws` or `aws-cn` …; `overTLS`: the bucket is reached so, or the first statement
    /// would lock its owner out.
    init(bucket: String, partition: String, overTLS: Bool, wish: ProvisionWish) {
        let bucketARN = "arn:\(partition):s3:::\(bucket)"
        func deny(_ id: String, _ action: String, _ resources: [String], _ condition: [String: JSON]) -> JSON {
            .object([
                "Sid": .string(id), "Effect": .string("Deny"), "Principal": .string("*"),
                "Action": .string(action), "Resource": .array(resources.map { .string($0) }),
                "Condition": .object(condition),
            ])
        }
        func test(_ name: String, _ value: String) -> JSON { .object([name: .string(value)]) }
        var wanted: [JSON] = []
        if overTLS {
            wanted.append(
                deny(
                    Self.tlsOnly, "s3:*", [bucketARN, bucketARN + "/*"],
                    ["Bool": test("aws:SecureTransport", "false")]))
        }
        if wish.requiresEncryptedPuts {
            let header = "s3:x-amz-server-side-encryption"
            var algorithm = "AES256"
            if case .kms = wish.encryption { algorithm = "aws:kms" }
            wanted.append(
                deny(
                    Self.encryptedOnly, "s3:PutObject", [bucketARN + "/*"],
                    ["StringNotEquals": test(header, algorithm)]))
            // The field holds the key's ARN whatever the writer named, so only an ARN can be compared with it.
            if case .kms(let keyID?) = wish.encryption, keyID.hasPrefix("arn:"), keyID.contains(":key/") {
                wanted.append(
                    deny(
                        Self.oneKeyOnly, "s3:PutObject", [bucketARN + "/*"],
                        ["StringNotEqualsIfExists": test(header + "-aws-kms-key-id", keyID)]))
            }
        }
        self.wanted = wanted
    }

    /// In few words, for findings.
    var summary: String {
        let texts = [
            Self.tlsOnly: "TLS only", Self.encryptedOnly: "encrypted writes only",
            Self.oneKeyOnly: "under the one key only",
        ]
        return wanted.compactMap { Self.id(of: $0).flatMap { texts[$0] } }.joined(separator: ", ")
    }

    /// The policy that is to stand in place of `existing`, the statements of others untouched and in their order;
    /// `nil` where `existing` says it all already. `missing` names ours that are not there as they should be.
    @inline(never)
    func merged(into existing: [UInt8]?) throws -> (policy: JSON, missing: [String])? {
        var policy: [String: JSON] = ["Version": .string("2012-10-17")]
        var statements: [JSON] = []
        if let existing {
            guard case .object(let members) = try JSON(parsing: existing),
                let present = Self.list(members["Statement"])
            else {
                throw NotAPolicy()
            }
            (policy, statements) = (members, present)
        }
        let (mine, foreign) = (statements.filter(Self.isOurs), statements.filter { !Self.isOurs($0) })
        let missing = wanted.filter { one in !mine.contains { Self.normal($0) == Self.normal(one) } }
        guard !missing.isEmpty || mine.count != wanted.count else { return nil }
        policy["Statement"] = .array(foreign + wanted)
        return (.object(policy), missing.compactMap(Self.id))
    }

    private static func isOurs(_ statement: JSON) -> Bool { id(of: statement).map(ours.contains) ?? false }

    private static func id(of statement: JSON) -> String? {
        if case .object(let members) = statement, case .string(let id)? = members["Sid"] { id } else { nil }
    }

    private static func list(_ value: JSON?) -> [JSON]? {
        switch value {
        case .array(let elements)?: elements
        case .object?: value.map { [$0] }
        default: nil
        }
    }

    /// The same for every way of writing it that servers choose from: a value and a list of one are the same, lists
    /// have no order, everybody is `*`.
    private static func normal(_ value: JSON) -> JSON {
        switch value {
        case .array(let elements):
            let all = elements.map(normal).sorted { $0.canonicalText < $1.canonicalText }
            return all.count == 1 ? all[0] : .array(all)
        case .object(let members):
            if members == ["AWS": .string("*")] || members == ["AWS": .array([.string("*")])] { return .string("*") }
            return .object(members.mapValues(normal))
        case .bool(let flag): return .string(flag ? "true" : "false")
        default: return value
        }
    }
}
