import Core
import Crypto
import Sets
import TestSupport
import Testing

/// `docs/manifest.schema.json` against the manifests that are written and the reader that reads them.
struct ManifestSchemaTests {
    private static let schemaPath = "\(repositoryRoot)/docs/manifest.schema.json"

    /// Shows that the schema names the very members that the code writes: those that every manifest has as required,
    /// and no others than those that some manifest has.
    @Test func namesAreTheCodes() async throws {
        let schema = try JSON(parsing: try contentsOfFile(Self.schemaPath))
        let manifests = try await Self.samples().map { try JSON(parsing: $0.bytes) }
        let parts = try manifests.flatMap { try $0.member("parts").elements() }
        let encryption = try manifests.map { try $0.member("encryption_info") }
        try Self.compare(schema, with: manifests)
        let definitions = try schema.member("$defs")
        let written: [(String, [JSON])] = [
            ("link", try manifests.compactMap { try $0.members()["previous"] }), ("part", parts),
            ("compression", try manifests.map { try $0.member("compression") }),
            ("segment", try parts.flatMap { try $0.member("segments").elements() }),
            ("encryptionInfo", encryption),
            ("dataKey", try encryption.flatMap { try $0.member("encrypted_data_keys").elements() }),
            ("retention", try manifests.map { try $0.member("retention") }),
            ("signature", try manifests.compactMap { try $0.members()["signature"] }),
        ]
        for (name, objects) in written { try Self.compare(try definitions.member(name), with: objects) }
        let context = try definitions.member("encryptionInfo").member("properties").member("encryption_context")
        try Self.compare(context, with: try encryption.map { try $0.member("encryption_context") })
    }

    /// Shows with an independent validator (Python's jsonschema) that the schema is one, that stored manifests are valid
    /// under it, that none is with a member more in any of its objects or a required one less, and that what the reader
    /// refuses in a member the schema does too.
    @Test("An independent validator agrees", .needs(Python.withJSONSchema))
    func validator() async throws {
        try await withScratchDirectory { directory in
            for sample in try await Self.samples() {
                try writeFile("\(directory)/\(sample.name).json", sample.bytes)
            }
            let (status, output) = try Python.run(["-c", Self.script, Self.schemaPath, directory])
            #expect(status == 0, "\(output)")
            #expect(output.contains("checked 5 manifests"), "\(output)")
        }
        try await withScratchDirectory { directory in
            let bad = try await Self.refusedByReader()
            for (index, bytes) in bad.enumerated() { try writeFile("\(directory)/\(index).json", bytes) }
            let (status, output) = try Python.run(["-c", Self.refusing, Self.schemaPath, directory])
            #expect(status == 0, "\(output)")
            #expect(output.contains("refused \(bad.count) manifests"), "\(output)")
        }
    }

    private static let script = """
        import copy, json, pathlib, sys
        from jsonschema import Draft202012Validator
        schema = json.loads(pathlib.Path(sys.argv[1]).read_text())
        Draft202012Validator.check_schema(schema)
        validator = Draft202012Validator(schema)
        def objects(value):
            if isinstance(value, dict): yield value
            for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
                yield from objects(inner)
        optional = {"signature", "retainUntil", "objectLock", "legalHold", "storageClass", "dataClass", "needs"}
        files = sorted(pathlib.Path(sys.argv[2]).glob("*.json"))
        for file in files:
            manifest = json.loads(file.read_bytes())
            for error in validator.iter_errors(manifest): sys.exit(f"{file.name}: {error.message}")
            for index, original in enumerate(objects(manifest)):
                if original is manifest["details"]: continue
                changed = copy.deepcopy(manifest)
                list(objects(changed))[index]["extra"] = "x"
                if validator.is_valid(changed): sys.exit(f"{file.name}: takes a member more in {original}")
                # Which counts there are is each kind of source's own affair.
                if original is manifest["contents"]: continue
                for name in original.keys() - optional:
                    changed = copy.deepcopy(manifest)
                    del list(objects(changed))[index][name]
                    if validator.is_valid(changed): sys.exit(f"{file.name}: does without {name}")
        print(f"checked {len(files)} manifests")
        """

    private static let refusing = """
        import json, pathlib, sys
        from jsonschema import Draft202012Validator
        validator = Draft202012Validator(json.loads(pathlib.Path(sys.argv[1]).read_text()))
        files = sorted(pathlib.Path(sys.argv[2]).glob("*.json"))
        for file in files:
            if validator.is_valid(json.loads(file.read_bytes())): sys.exit(f"accepted: {file.read_text()}")
        print(f"refused {len(files)} manifests")
        """
}

// MARK: Manifests

extension ManifestSchemaTests {
    private struct Sample {
        var name: String
        /// As they are stored.
        var bytes: [UInt8]
    }

    /// A first set, a signed one after it, one of several segments that is kept until a person removes it, one under lock
    /// in a class of its own, and the one of several with a recipient at KMS.
    private static func samples() async throws -> [Sample] {
        try await Workbench.withKey(store: MemoryStore(largestObject: 5 << 20)) { bench in
            var bench = bench
            func stored(_ key: BackupKey) async throws -> [UInt8] {
                try await bench.store.read(SetLayout.manifest(key))
            }
            try await bench.makeSet(Workbench.key(second: 1))
            bench.signer = Curve25519.Signing.PrivateKey()
            try await bench.makeSet(Workbench.key(second: 2))
            bench.compression = Compression(algorithm: .none, level: 0)
            let manual = Workbench.key(.manual, second: 3)
            let large = try await bench.makeSet(manual, parts: ["database.sql": patternBytes(9_000_000)])
            #expect(large.manifest.parts.contains { $0.segments.count > 2 })
            bench.protection = SetProtection(lockMode: .compliance, legalHold: true)
            bench.storageClasses = [.weekly: .glacier]
            let locked = Workbench.key(.weekly, second: 4)
            try await bench.makeSet(locked)
            var further = large.manifest
            further.encryption.dataKeys.append(
                EncryptedDataKey(providerID: "aws-kms", providerInfo: Array("arn:x".utf8), ciphertext: [1, 2]))
            further.needs = [Workbench.key(second: 1), Workbench.key(second: 2)]
            further.retention.dataClass = .patientData
            return [
                Sample(name: "first", bytes: try await stored(Workbench.key(second: 1))),
                Sample(name: "signed", bytes: try await stored(Workbench.key(second: 2))),
                Sample(name: "segments", bytes: try await stored(manual)),
                Sample(name: "locked", bytes: try await stored(locked)),
                Sample(name: "kms", bytes: further.json().canonicalBytes),
            ]
        }
    }

    /// Manifests that are canonical but for one member, each refused by the reader.
    private static func refusedByReader() async throws -> [[UInt8]] {
        let key = JSON.string(Workbench.key(second: 1).description)
        let changes: [(String, JSON)] = [
            ("format", .integer(2)), ("key", .string("daily/latest")), ("sequence", .integer(0)),
            ("sequence", .integer(1)), ("parts", .array([])), ("sourceSize", .integer(-1)),
            ("sourceSize", .string("12")), ("sourceSize", .string("9007199254740992")),
            ("sourceSize", .string("72057594037927937")), ("mac", .string("abcd")), ("signature", .null),
            ("mac", .string(String(repeating: "AB", count: 32))), ("previous", .null),
            ("compression", .object(["algorithm": .string("xz"), "level": .integer(1)])),
            ("compression", .object(["algorithm": .string("zstd"), "level": .integer(23)])),
            ("retention", .object(["tier": .string("weekly")])),
            ("retention", .object(["tier": .string("daily"), "objectLock": .string("compliance")])),
            (
                "retention",
                .object([
                    "tier": .string("daily"), "objectLock": .string("none"),
                    "retainUntil": .string("2025-04-15T07:00:00.000Z"),
                ])
            ), ("retention", .object(["tier": .string("daily"), "legalHold": .bool(false)])),
            ("retention", .object(["tier": .string("daily"), "storageClass": .string("STANDARD")])),
            ("retention", .object(["tier": .string("daily"), "storageClass": .string("TAPE")])),
            ("retention", .object(["tier": .string("daily"), "dataClass": .string("patient data")])),
            ("needs", .array([])), ("needs", .array([.string("daily/latest")])),
            ("needs", .array([key, key])), ("needs", key), ("details", .object(["a": .integer(1)])),
            ("exceptions", .string("none")), ("snapshotTime", .string("2025-01-15T07:00:00Z")),
            ("finishedTime", .string("2025-13-15T07:00:00.000Z")),
            ("contents", .object(["tables": .integer(1), "rows": .integer(-1)])), ("contents", .object([:])),
        ]
        let signed = try #require(try await samples().first { $0.name == "signed" })
        let members = try JSON(parsing: signed.bytes).members()
        return changes.map { name, value in
            let bytes = JSON.object(members.merging([name: value]) { _, new in new }).canonicalBytes
            #expect(throws: ManifestError.self, "\(name)") { try Manifest(storedBytes: bytes) }
            return bytes
        }
    }

    /// That `schema` requires what all of `objects` have and knows what any of them has.
    private static func compare(_ schema: JSON, with objects: [JSON]) throws {
        let names = try objects.map { Set(try $0.members().keys) }
        let always = names.dropFirst().reduce(try #require(names.first)) { $0.intersection($1) }
        let required = try schema.member("required").elements().map { element in
            guard case .string(let name) = element else { throw TestFailure("a required member that is no name") }
            return name
        }
        #expect(Set(required) == always)
        #expect(Set(try schema.member("properties").members().keys) == names.reduce([]) { $0.union($1) })
        #expect(try schema.member("additionalProperties") == .bool(false))
    }
}

extension JSON {
    fileprivate func members() throws -> [String: JSON] {
        guard case .object(let members) = self else { throw TestFailure("not an object") }
        return members
    }

    fileprivate func member(_ name: String) throws -> JSON { try #require(try members()[name], "no '\(name)'") }

    fileprivate func elements() throws -> [JSON] {
        guard case .array(let elements) = self else { throw TestFailure("not an array") }
        return elements
    }
}
