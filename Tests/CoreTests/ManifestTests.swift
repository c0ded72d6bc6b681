import Core
import Testing

@Suite("The manifest's text")
struct ManifestTests {
    static func manifest() throws -> Manifest {
        let time = try #require(Timestamp("2025-01-15T07:00:00Z"))
        let key = BackupKey(tier: .daily, timestamp: time)
        let before = BackupKey(tier: .daily, timestamp: time.adding(seconds: -86_400))
        let segment = { (name: String, size: Int64) in
            Segment(
                path: "a1b2/\(name).encrypted", messageID: .init(repeating: 0xAB, count: 32), plainSize: size * 3,
                storedSize: size, storedSHA256: .init(repeating: 0xCD, count: 32))
        }
        return Manifest(
            key: key, target: "clinic", engine: "postgres", requestID: "uid-1", attempt: "a1b2",
            snapshotTime: time.adding(seconds: 5), finishedTime: time.adding(seconds: 65), sequence: 2,
            previous: ChainLink(key: before, sha256: .init(repeating: 0xEF, count: 32)),
            details: ["server": "15.14", "locale": "C.UTF-8"], exceptions: ["BACKUP_ALLOW_UNVERIFIED_TLS"],
            sourceSize: 12_345_678, compression: .standard,
            parts: [
                StoredPart(name: "globals.sql", segments: [segment("globals.sql.zst", 100)]),
                StoredPart(
                    name: "database.sql",
                    segments: [segment("database.sql.zst", 5000), segment("database.sql.zst.0002", 700)]),
            ], contents: ContentsSummary(["tables": 7, "rows": 4711]),
            encryption: EncryptionInfo(
                algorithm: "AES-256-GCM", context: ["lifeboat-set": key.description],
                dataKeys: [
                    EncryptedDataKey(providerID: "lifeboat", providerInfo: [1, 2, 0xFA], ciphertext: [3, 4, 0xFB])
                ]), retention: Retention(retainUntil: time.adding(seconds: 90 * 86_400)),
            mac: .init(repeating: 0x1A, count: 32),
            signature: Signature(
                publicKey: .init(repeating: 0x2B, count: 32), value: .init(repeating: 0x3C, count: 64)))
    }

    /// Shows that a manifest reads back as it was written, with and without what may be absent.
    @Test func roundTrip() throws {
        var manifest = try Self.manifest()
        #expect(try Manifest(storedBytes: manifest.json().canonicalBytes) == manifest)
        manifest.previous = nil
        manifest.sequence = 1
        manifest.signature = nil
        manifest.retention.retainUntil = nil
        manifest.sourceSize = 1 << 55
        manifest.retention.legalHold = true
        manifest.retention.storageClass = .deepArchive
        #expect(try Manifest(storedBytes: manifest.json().canonicalBytes) == manifest)
        manifest.retention = Retention(
            retainUntil: manifest.snapshotTime, objectLock: .governance, dataClass: .medicalRecords)
        manifest.needs = [BackupKey(tier: .weekly, timestamp: manifest.snapshotTime)]
        #expect(try Manifest(storedBytes: manifest.json().canonicalBytes) == manifest)
    }

    /// Shows that no bit of a stored manifest can change unseen: flipped, it is refused or says something else. What
    /// says something else is caught by the MAC.
    @Test func everyBitCounts() throws {
        let manifest = try Self.manifest()
        let stored = manifest.json().canonicalBytes
        for index in stored.indices {
            for bit in 0..<8 {
                var bytes = stored
                bytes[index] ^= 1 << UInt8(bit)
                do {
                    let read = try Manifest(storedBytes: bytes)
                    #expect(read != manifest, "bit \(bit) of byte \(index) changes nothing")
                } catch {
                    // Refused, as it should be.
                }
            }
        }
    }

    /// Shows that every manifest that is cut short, and one with something behind it, is refused.
    @Test func truncation() throws {
        let stored = try Self.manifest().json().canonicalBytes
        for length in 0..<stored.count {
            #expect(throws: ManifestError.self) { try Manifest(storedBytes: Array(stored[..<length])) }
        }
        #expect(throws: ManifestError.self) { try Manifest(storedBytes: stored + [0x20]) }
        #expect(throws: ManifestError.self) { try Manifest(storedBytes: [0x0A] + stored) }
    }

    /// Shows what makes a manifest unreadable although it is canonical JSON: each a member changed to what it may not
    /// be, left out, or added.
    @Test(arguments: [
        ("format", JSON.integer(2)), ("format", JSON.string("1")), ("key", .string("daily/latest")),
        ("timestamp", .string("2025-01-15T07:00:01.000Z")), ("sequence", .integer(0)), ("sequence", .integer(1)),
        ("parts", .array([])), ("sourceSize", .integer(-1)), ("mac", .string("abcd")), ("signature", .null),
        ("previous", .null), ("compression", .object(["algorithm": .string("xz"), "level": .integer(1)])),
        ("compression", .object(["algorithm": .string("zstd"), "level": .integer(23)])), ("extra", .null),
        ("retention", .object(["tier": .string("weekly")])), ("details", .object(["a": .integer(1)])),
        ("exceptions", .string("none")), ("snapshotTime", .string("2025-01-15")),
        ("contents", .object(["tables": .integer(1), "rows": .integer(-1)])),
    ])
    func wrongMembers(name: String, value: JSON) throws {
        guard case .object(var members) = try Self.manifest().json() else { return }
        members[name] = value
        let error = #expect(throws: ManifestError.self) {
            try Manifest(storedBytes: JSON.object(members).canonicalBytes)
        }
        #expect(error?.problem.isEmpty == false)
    }

    /// Shows that a set for which no protection and no class was asked has a manifest like those of earlier versions.
    @Test func earlierForm() throws {
        guard case .object(let members) = try Self.manifest().json() else { return }
        #expect(
            members["retention"]
                == .object(["tier": .string("daily"), "retainUntil": .string("2025-04-15T07:00:00.000Z")]))
    }

    @Test func missingMembers() throws {
        guard case .object(let members) = try Self.manifest().json() else { return }
        for name in members.keys where name != "signature" {
            var fewer = members
            fewer[name] = nil
            #expect(throws: ManifestError.self, "without \(name)") {
                try Manifest(storedBytes: JSON.object(fewer).canonicalBytes)
            }
        }
    }

    /// Shows that a segment's path cannot lead out of its set.
    @Test(arguments: ["../x", "a/../../x", "/etc/passwd", "a//b", "", "a/.", "a/"])
    func pathsStayInside(path: String) throws {
        var manifest = try Self.manifest()
        manifest.parts[0].segments[0].path = path
        #expect(throws: ManifestError.self) { try Manifest(storedBytes: manifest.json().canonicalBytes) }
    }

    /// Shows that a part's sizes are those of its segments, and that a part stands once.
    @Test func partsAddUp() throws {
        let manifest = try Self.manifest()
        #expect(manifest.storedSize == 5800 && manifest.plainSize == 17_400)
        var twice = manifest
        twice.parts.append(twice.parts[0])
        #expect(throws: ManifestError.self) { try Manifest(storedBytes: twice.json().canonicalBytes) }
        var none = manifest
        none.parts[0].segments = []
        #expect(throws: ManifestError.self) { try Manifest(storedBytes: none.json().canonicalBytes) }
    }
}
