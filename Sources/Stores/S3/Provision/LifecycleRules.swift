import Core

/// The rules that Lifeboat asks for in a bucket's lifecycle: bodies of sets move to cheaper classes by their tier,
/// abandoned uploads end, old versions go. None ends a current version: those only ever go by prune.
struct LifecycleRules {
    /// One rule as far as it is compared.
    struct Rule: Equatable {
        struct Transition: Equatable {
            var days: Int
            var storageClass: String
        }

        var id: String
        var isEnabled = true
        /// Keys that begin with this; empty for all.
        var prefix = ""
        var tags: [String: String] = [:]
        var transitions: [Transition] = []
        var noncurrentDays: Int?
        var uploadDays: Int?
        /// It does something else too.
        var hasMore = false
    }

    /// Of abandoned uploads. Ours are ended by the next run already, after two.
    static let uploadDays = 7

    /// Days after writing, and the class from then on. A daily set is gone by prune before it would pay to move it
    /// further.
    private static let classes: [(group: String, transitions: [Rule.Transition])] = [
        (
            "daily",
            [.init(days: 30, storageClass: "STANDARD_IA"), .init(days: 60, storageClass: "GLACIER_IR")]
        ),
        ("weekly", [.init(days: 1, storageClass: "GLACIER")]),
        ("monthly", [.init(days: 1, storageClass: "GLACIER")]),
        ("annual", [.init(days: 1, storageClass: "DEEP_ARCHIVE")]),
    ]

    let wanted: [Rule]

    /// `prefix`: the store's own. It stands in the rules' names, so that two stores in a bucket have each their own.
    ///
    /// `auditStages` is `nil` where no configured target keeps audit records in this store. Their rule is not asked for
    /// then: the targets of a store may be configured in several places, and who knows nothing of the records would put
    /// the usual days in place of those that their own target asks for. A rule that is there is left alone.
    init(prefix: String, noncurrentDays: Int, auditStages: AuditStages?) {
        let suffix = prefix.isEmpty ? "" : ":" + prefix
        let under = prefix.isEmpty ? "" : prefix + "/"
        var groups = Self.classes
        if let auditStages {
            groups.append(
                (
                    BodyTag.auditRecords,
                    [
                        .init(days: auditStages.active, storageClass: StorageClass.glacierInstant.rawValue),
                        .init(days: auditStages.archive, storageClass: StorageClass.deepArchive.rawValue),
                    ]
                ))
        }
        var wanted = groups.map { group, transitions in
            Rule(
                id: "lifeboat-\(group)\(suffix)", prefix: under,
                tags: [BodyTag.kind.name: BodyTag.kind.value, BodyTag.group: group], transitions: transitions)
        }
        wanted.append(Rule(id: "lifeboat-uploads\(suffix)", prefix: under, uploadDays: Self.uploadDays))
        wanted.append(Rule(id: "lifeboat-old-versions\(suffix)", prefix: under, noncurrentDays: noncurrentDays))
        self.wanted = wanted
    }

    /// The configuration that is to stand in place of `existing`, the rules of others untouched and in their order;
    /// `nil` where `existing` says it all already. `missing` names ours that are not there as they should be.
    func merged(into existing: XMLTree?) -> (configuration: XMLTree, missing: [String])? {
        let present = existing?.all("Rule") ?? []
        let names = Set(wanted.map(\.id))
        let foreign = present.filter { !names.contains($0.text("ID") ?? "") }
        let mine = present.map(Rule.init(reading:)).filter { names.contains($0.id) }
        let missing = wanted.filter { !mine.contains($0) }
        guard !missing.isEmpty || mine.count != wanted.count else { return nil }
        let others = (existing?.children ?? []).filter { $0.name != "Rule" }
        let configuration = XMLTree("LifecycleConfiguration", others + foreign + wanted.map(\.node))
        return (configuration, missing.map(\.id))
    }

    /// Rules of others that end current versions under `prefix`, or may: they would take sets away.
    func expiring(in existing: XMLTree?) -> [String] {
        (existing?.all("Rule") ?? []).filter { node in
            guard let expiration = node.first("Expiration"), node.text("Status") == "Enabled" else { return false }
            return expiration.first("Days") != nil || expiration.first("Date") != nil
        }.map(Rule.init(reading:)).filter { rule in
            let own = wanted.first?.prefix ?? ""
            let ownTags = [BodyTag.kind.name, BodyTag.group]
            return (rule.prefix.hasPrefix(own) || own.hasPrefix(rule.prefix))
                && rule.tags.keys.allSatisfy(ownTags.contains)
        }.map { $0.id.isEmpty ? "one without a name" : "'\($0.id)'" }
    }
}

extension LifecycleRules.Rule {
    init(reading node: XMLTree) {
        id = node.text("ID") ?? ""
        isEnabled = node.text("Status") == "Enabled"
        let filter = node.first("Filter")
        let both = filter?.first("And")
        prefix = both?.text("Prefix") ?? filter?.text("Prefix") ?? node.text("Prefix") ?? ""
        for tag in (filter?.all("Tag") ?? []) + (both?.all("Tag") ?? []) {
            tags[tag.text("Key") ?? ""] = tag.text("Value") ?? ""
        }
        transitions = node.all("Transition").map {
            .init(days: $0.text("Days").flatMap { Int($0) } ?? -1, storageClass: $0.text("StorageClass") ?? "")
        }.sorted { $0.days < $1.days }
        noncurrentDays = node.text(at: "NoncurrentVersionExpiration", "NoncurrentDays").flatMap { Int($0) }
        uploadDays = node.text(at: "AbortIncompleteMultipartUpload", "DaysAfterInitiation").flatMap { Int($0) }
        let known: Set = [
            "ID", "Status", "Filter", "Prefix", "Transition", "NoncurrentVersionExpiration",
            "AbortIncompleteMultipartUpload",
        ]
        let knownFilter: Set = ["And", "Prefix", "Tag"]
        hasMore =
            node.children.contains { !known.contains($0.name) }
            || ((filter?.children ?? []) + (both?.children ?? [])).contains { !knownFilter.contains($0.name) }
            || (node.first("NoncurrentVersionExpiration")?.children.count ?? 1) != 1
    }

    /// As it is sent, the members in the order of S3's schema, which some servers insist on.
    var node: XMLTree {
        var conditions: [XMLTree] = []
        if !prefix.isEmpty { conditions.append(XMLTree("Prefix", prefix)) }
        for (name, value) in tags.sorted(by: { $0.key < $1.key }) {
            conditions.append(XMLTree("Tag", [XMLTree("Key", name), XMLTree("Value", value)]))
        }
        let filter =
            switch conditions.count {
            case 0: XMLTree("Filter", [XMLTree("Prefix", "")])
            case 1: XMLTree("Filter", conditions)
            default: XMLTree("Filter", [XMLTree("And", conditions)])
            }
        var children = [XMLTree("ID", id), filter, XMLTree("Status", isEnabled ? "Enabled" : "Disabled")]
        children += transitions.map {
            XMLTree("Transition", [XMLTree("Days", "\($0.days)"), XMLTree("StorageClass", $0.storageClass)])
        }
        if let noncurrentDays {
            children.append(XMLTree("NoncurrentVersionExpiration", [XMLTree("NoncurrentDays", "\(noncurrentDays)")]))
        }
        if let uploadDays {
            children.append(
                XMLTree("AbortIncompleteMultipartUpload", [XMLTree("DaysAfterInitiation", "\(uploadDays)")]))
        }
        return XMLTree("Rule", children)
    }
}
