import Core

/// JSON that holds no statements.
struct NotAPolicy: Error, CustomStringConvertible {
    var description: String { "it is JSON and no policy" }
}

/// The statements that Lifeboat asks for in a bucket's policy, and what others have put there.
struct BucketPolicy {
    private static let tlsOnly = "LifeboatTLSOnly"
    private static let noWeaker = "LifeboatNoWeakerEncryption"
    private static let oneKeyOnly = "LifeboatOneKeyOnly"
    /// All that were ever ours: one that is no longer asked for is taken out.
    private static let ours: Set = [tlsOnly, noWeaker, oneKeyOnly]

    /// The statements that are asked for, each with its `Sid`.
    let wanted: [JSON]

    /// `partition`: of the region, `aws` or `aws-cn` …; `overTLS`: the bucket is reached so, or the first statement
    /// would lock its owner out; `isAWS`: the server is Amazon's own.
    init(bucket: String, partition: String, overTLS: Bool, isAWS: Bool, wish: ProvisionWish) {
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
                    // The usual form, which auditing tools look for; other servers have the key only where it is true.
                    [isAWS ? "Bool" : "BoolIfExists": test("aws:SecureTransport", "false")]))
        }
        // A write that does not speak of encryption gets the bucket's default. It cannot be refused: the pieces of an
        // upload are such writes, by the same right.
        if wish.requiresEncryptedPuts, case .kms(let keyID) = wish.encryption {
            let field = "s3:x-amz-server-side-encryption"
            wanted.append(
                deny(Self.noWeaker, "s3:PutObject", [bucketARN + "/*"], ["StringEquals": test(field, "AES256")]))
            // The field holds the key's ARN whatever the writer named, so only an ARN can be compared with it.
            if let keyID, keyID.hasPrefix("arn:"), keyID.contains(":key/") {
                let keyField = field + "-aws-kms-key-id"
                wanted.append(
                    deny(
                        Self.oneKeyOnly, "s3:PutObject", [bucketARN + "/*"],
                        ["StringNotEquals": test(keyField, keyID), "Null": test(keyField, "false")]))
            }
        }
        self.wanted = wanted
    }

    /// In few words, for findings.
    var summary: String {
        let texts = [
            Self.tlsOnly: "TLS only", Self.noWeaker: "no weaker encryption than KMS",
            Self.oneKeyOnly: "no other key",
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
