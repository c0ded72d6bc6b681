import Core
import Testing

@testable import S3Store

/// Our statements and rules are put among those of others, which come out as they went in.
struct ProvisionRulesTests {
    private func policy(_ wish: ProvisionWish, overTLS: Bool = true) -> BucketPolicy {
        BucketPolicy(bucket: "clinic", partition: "aws", overTLS: overTLS, isAWS: true, wish: wish)
    }

    private static let foreign = """
        {"Id":"theirs","Statement":[{"Action":["s3:GetObject"],"Condition":{"NumericLessThan":\
        {"aws:MultiFactorAuthAge":3600}},"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},\
        "Resource":"arn:aws:s3:::clinic/*","Sid":"Auditor"}],"Version":"2012-10-17"}
        """

    @Test("A policy of others keeps every member and statement, and what is ours is added once")
    func mergedPolicy() throws {
        let asked = policy(ProvisionWish(encryption: .kms(keyID: nil), requiresEncryptedPuts: true))
        let first = try #require(try asked.merged(into: Array(Self.foreign.utf8)))
        #expect(first.missing == ["LifeboatTLSOnly", "LifeboatNoWeakerEncryption"])
        guard case .object(let members) = first.policy, case .array(let statements)? = members["Statement"],
            case .object(let before) = try JSON(parsing: Self.foreign.utf8),
            case .array(let theirs)? = before["Statement"]
        else {
            Issue.record("no statements in \(first.policy)")
            return
        }
        #expect(Array(statements.prefix(1)) == theirs && statements.count == 3)
        #expect(members["Id"] == .string("theirs"))
        #expect(try asked.merged(into: first.policy.canonicalBytes) == nil)
    }

    @Test("A statement that a server writes in another way is the same one")
    func otherSpelling() throws {
        let asked = policy(ProvisionWish())
        let written = """
            {"Version":"2012-10-17","Statement":{"Sid":"LifeboatTLSOnly","Effect":"Deny","Principal":{"AWS":["*"]},\
            "Action":["s3:*"],"Resource":["arn:aws:s3:::clinic/*","arn:aws:s3:::clinic"],\
            "Condition":{"Bool":{"aws:SecureTransport":[false]}}}}
            """
        #expect(try asked.merged(into: Array(written.utf8)) == nil)
    }

    @Test("One of ours that was weakened is put right, and one that is no longer asked for goes")
    func driftedPolicy() throws {
        let strict = policy(ProvisionWish(encryption: .kms(keyID: nil), requiresEncryptedPuts: true))
        let whole = try #require(try strict.merged(into: nil)).policy.canonicalText
        let weakened = whole.replacing("\"Deny\"", with: "\"Allow\"")
        #expect(try strict.merged(into: Array(weakened.utf8))?.missing.count == 2)
        let change = try #require(try policy(ProvisionWish()).merged(into: Array(whole.utf8)))
        #expect(change.missing == [] && !change.policy.canonicalText.contains("NoWeaker"))
    }

    @Test("What is no policy is refused, never replaced", arguments: ["[]", "{}", "{\"Statement\":1}", "<x/>", ""])
    func unreadablePolicy(_ text: String) {
        #expect(throws: (any Error).self) { try policy(ProvisionWish()).merged(into: Array(text.utf8)) }
    }

    @Test("Without TLS the statement that demands it is not asked for: it would lock its owner out")
    func withoutTLS() throws {
        #expect(policy(ProvisionWish(), overTLS: false).wanted.isEmpty)
    }

    @Test("Rules of others come out as they went in, unknown members too, and ours are added once")
    func mergedLifecycle() throws {
        let theirs = """
            <Rule><ID>theirs &amp; more</ID><Filter><And><Prefix>logs/</Prefix><ObjectSizeGreaterThan>5\
            </ObjectSizeGreaterThan></And></Filter><Status>Enabled</Status><Expiration><Days>9</Days></Expiration></Rule>
            """
        let before = try XMLTree.parse(Array("<LifecycleConfiguration>\(theirs)</LifecycleConfiguration>".utf8))
        let rules = LifecycleRules(prefix: "clinic", noncurrentDays: 30, auditStages: nil)
        let merged = try #require(rules.merged(into: before))
        #expect(merged.missing.count == 6)
        #expect(merged.configuration.document.contains(theirs))
        let read = try XMLTree.parse(Array(merged.configuration.document.utf8))
        #expect(rules.merged(into: read) == nil)
        // A second store in the same bucket has its own and leaves these alone.
        let other = try #require(
            LifecycleRules(prefix: "other", noncurrentDays: 30, auditStages: nil)
                .merged(into: read))
        #expect(other.configuration.all("Rule").count == 13)
    }

    @Test("No rule of ours ends a current version, and bodies are told by their tags")
    func neverExpires() throws {
        let all = LifecycleRules(prefix: "", noncurrentDays: 30, auditStages: AuditStages()).wanted
        for rule in all {
            #expect(rule.node.first("Expiration") == nil)
            #expect(rule.transitions.isEmpty || rule.tags["lifeboat-kind"] == "body")
            #expect(rule.transitions.allSatisfy { $0.days >= 1 })
        }
        #expect(all.map(\.id).allSatisfy { $0.hasPrefix("lifeboat-") })
    }

    @Test(
        "Audit records move in their own stages; days that changed are put right, and who keeps none leaves the rule")
    func auditRecords() throws {
        let rules = LifecycleRules(prefix: "clinic", noncurrentDays: 30, auditStages: AuditStages())
        let rule = try #require(rules.wanted.first { $0.id == "lifeboat-audit-records:clinic" })
        #expect(rule.tags == BodyGroup.auditRecords.tags(of: .hourly) && rule.prefix == "clinic/")
        #expect(
            rule.transitions == [
                .init(days: 90, storageClass: "GLACIER_IR"), .init(days: 365, storageClass: "DEEP_ARCHIVE"),
            ])
        let first = try #require(rules.merged(into: nil))
        #expect(first.missing.count == 7 && rules.merged(into: first.configuration) == nil)
        let sooner = LifecycleRules(
            prefix: "clinic", noncurrentDays: 30, auditStages: AuditStages(active: 30, archive: 60))
        #expect(sooner.merged(into: first.configuration)?.missing == [rule.id])
        let without = LifecycleRules(prefix: "clinic", noncurrentDays: 30, auditStages: nil)
        #expect(without.merged(into: first.configuration) == nil)
    }

    @Test(
        "A rule of others that would end sets is named",
        arguments: [
            ("<Filter><Prefix></Prefix></Filter>", true), ("<Prefix/>", true),
            ("<Filter><Prefix>clinic/daily/</Prefix></Filter>", true),
            ("<Filter><Prefix>logs/</Prefix></Filter>", false),
            ("<Filter><Tag><Key>temporary</Key><Value>1</Value></Tag></Filter>", false),
        ])
    func expiringRules(_ filter: String, names: Bool) throws {
        let rules = LifecycleRules(prefix: "clinic", noncurrentDays: 30, auditStages: nil)
        let text = """
            <LifecycleConfiguration><Rule><ID>x</ID>\(filter)<Status>Enabled</Status><Expiration><Days>9</Days>\
            </Expiration></Rule></LifecycleConfiguration>
            """
        #expect(rules.expiring(in: try XMLTree.parse(Array(text.utf8))) == (names ? ["'x'"] : []))
    }
}
