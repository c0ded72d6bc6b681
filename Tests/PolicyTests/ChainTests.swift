import Core
import Crypto
import Operations
import Sets
import TestSupport
import Testing

/// The chain over what was pruned: tombstones, who wrote them, and what vanished without one.
@Suite struct ChainTests {
    /// A manifest that somebody deleted is named by list and prune, also when sets around it are pruned properly.
    @Test func vanished() async throws {
        let archive = try await Archive()
        var keys: [BackupKey] = []
        for day in 0..<6 { keys.append(try await archive.add(day: Double(day))) }
        try await archive.add(day: 60)
        for store in [archive.firstMemory, archive.secondMemory] {
            try await store.delete(SetLayout.manifest(keys[3]))
        }
        archive.go(toDay: 92)
        for result in [try await archive.list(), try await archive.prune(dryRun: true), try await archive.prune()] {
            #expect(result.keys("vanished") == texts(keys[3]))
            #expect(result.notes.contains { $0.hasPrefix("\(keys[3]) vanished without a tombstone") })
        }
        #expect(archive.sets(archive.firstMemory).prefix(1) == [keys[4]])
        #expect(try await archive.list().keys("vanished") == texts(keys[3]))
    }

    /// One that is only gone from the first store is said to be in the second alone, by the listing of the first.
    @Test func goneFromOneStore() async throws {
        let archive = try await Archive()
        let key = try await archive.add(day: 0)
        try await archive.add(day: 1)
        try await archive.firstMemory.delete(SetLayout.manifest(key))
        #expect(try await archive.list().keys("vanished") == texts(key))
        // It can still be restored, so a prune of both stores misses nothing.
        #expect(try await archive.prune().keys("vanished") == [])
    }

    private func tombstone(_ archive: Archive, _ key: BackupKey) async throws -> Tombstone {
        Tombstone(
            SetFacts(try await Catalog(archive.firstMemory).manifest(key)), target: "clinic",
            retainUntil: archive.clock.now(), reason: "past", time: archive.clock.now(), by: "test", requestID: "r")
    }

    /// A tombstone that somebody without a key lays over a deletion: it is said that nothing shows who wrote it; and
    /// where signers are trusted it is refused.
    @Test func forged() async throws {
        for trusts in [false, true] {
            let signer = Curve25519.Signing.PrivateKey()
            let archive = try await Archive(trusted: trusts ? [Array(signer.publicKey.rawRepresentation)] : [])
            let key = try await archive.add(day: 0)
            let next = try await archive.add(day: 1)
            let forged = try await tombstone(archive, key)
            try await TombstoneStore(archive.firstMemory).write(forged)
            try await archive.firstMemory.delete(SetLayout.manifest(key))
            let findings = try await ChainCheck(in: archive.firstMemory, configuration: archive.workplace.reader)
                .find([forged.link])
            #expect(findings.vanished == (trusts ? [key] : []) && findings.unauthenticated == (trusts ? [] : [key]))
            #expect(findings.notes.count == (trusts ? 2 : 1))
            // One with a MAC that is not the sealing set's is refused in any case.
            var wrong = forged
            wrong.sealedBy = next
            wrong.mac = [UInt8](repeating: 1, count: 32)
            try await archive.firstMemory.delete(
                "tombstones/0000000001-\(hexText(forged.manifestSHA256.prefix(8))).json")
            try await TombstoneStore(archive.firstMemory).write(wrong)
            let refused = try await ChainCheck(in: archive.firstMemory, configuration: archive.workplace.reader)
                .find([forged.link])
            #expect(refused.vanished == [key] && refused.refused.count == 1)
        }
    }

    /// Sealed under the newest set's key, and signed where there is a signer: both are found right, and wrong once a
    /// byte has changed.
    @Test(arguments: [true, false]) func sealed(_ signs: Bool) async throws {
        let signer = Curve25519.Signing.PrivateKey()
        let archive = try await Archive(
            hasIdentity: !signs, signer: signs ? signer : nil,
            trusted: signs ? [Array(signer.publicKey.rawRepresentation)] : [])
        let key = try await archive.add(day: 0)
        let old = try await Catalog(archive.firstMemory).manifest(key)
        let newest = try await archive.add(day: 60)
        archive.go(toDay: 100)
        try await archive.prune()
        let check = ChainCheck(in: archive.firstMemory, configuration: archive.workplace.reader)
        #expect(try await check.find([old.link]) == ChainCheck.Findings())
        let path = try #require(archive.firstMemory.keys.first { $0.hasPrefix("tombstones/") })
        let written = try Tombstone(json: try JSON(parsing: archive.firstMemory.bytes(path) ?? []))
        #expect((written.sealedBy == newest) == !signs && (written.signature != nil) == signs)
        #expect(written.link == old.link && written.reason == "its retention ended at 2025-04-15T00:00:00.000Z")
        #expect(written.by == "test" && written.time == archive.clock.now() && written.sequence == 1)
        var changed = written
        changed.reason = "another"
        archive.firstMemory.damage(path) { $0 = changed.json().canonicalBytes }
        #expect(try await check.find([old.link]).vanished == [key])
    }

    @Test func unreadableTombstone() async throws {
        let archive = try await Archive()
        let key = try await archive.add(day: 0)
        let link = try await Catalog(archive.firstMemory).manifest(key).link
        try await archive.add(day: 60)
        archive.go(toDay: 100)
        try await archive.prune()
        let path = try #require(archive.firstMemory.keys.first { $0.hasPrefix("tombstones/") })
        archive.firstMemory.damage(path) { $0[5] = 0 }
        let findings = try await ChainCheck(in: archive.firstMemory, configuration: archive.workplace.reader)
            .find([link])
        #expect(findings.vanished == [key] && findings.refused.count == 1)
    }

    /// Hundreds of tombstones become one object, thousands a few; every one is found again.
    @Test func rolls() async throws {
        let archive = try await Archive()
        let template = try await tombstone(archive, try await archive.add(day: 0))
        let tombstones = TombstoneStore(archive.firstMemory)
        // A roll that is full is followed by another.
        let (rounds, size) = runsSoak ? (5, 900) : (3, 300)
        var links: [ChainLink] = []
        for round in 0..<rounds {
            for number in 0..<size {
                var one = template
                one.sequence = Int64(round * size + number + 1)
                one.manifestSHA256 = Array(SHA256.hash(data: Array("\(one.sequence)".utf8)))
                if number % 100 == 0 { links.append(one.link) }
                try await tombstones.write(one)
            }
            #expect(try await tombstones.rollUp { _ in true } == size)
        }
        #expect(archive.firstMemory.keys.filter { $0.hasPrefix("tombstones/") }.count == (runsSoak ? 2 : 1))
        let check = ChainCheck(in: archive.firstMemory, configuration: archive.workplace.reader)
        #expect(try await check.find(links).vanished == [])
        let unknown = ChainLink(key: template.key, sha256: [UInt8](repeating: 3, count: 32))
        #expect(try await check.find(links + [unknown]).vanished == [template.key])
    }

    /// Killed before, between and among the writes of a roll and the deletions after it, no tombstone is lost, neither
    /// then nor by the next roll.
    @Test(arguments: [1, 200, 262, 263, 264, 265, 266, 400]) func killedRoll(_ call: Int) async throws {
        let archive = try await Archive()
        let template = try await tombstone(archive, try await archive.add(day: 0))
        let plain = TombstoneStore(archive.firstMemory)
        var links: [ChainLink] = []
        func write(_ numbers: Range<Int>) async throws {
            for number in numbers {
                var one = template
                one.sequence = Int64(number + 1)
                one.manifestSHA256 = Array(SHA256.hash(data: Array("\(number)".utf8)))
                links.append(one.link)
                try await plain.write(one)
            }
        }
        try await write(0..<260)
        #expect(try await plain.rollUp { _ in true } == 260)
        try await write(260..<520)
        archive.first.die(afterCalls: call)
        await #expect(throws: InjectedFault.self) {
            _ = try await TombstoneStore(archive.first).rollUp { _ in true }
        }
        let check = ChainCheck(in: archive.firstMemory, configuration: archive.workplace.reader)
        #expect(try await check.find(links).vanished == [])
        try await write(520..<800)
        _ = try await plain.rollUp { _ in true }
        #expect(try await check.find(links).vanished == [])
        let listing = try await plain.listing()
        #expect(listing.rolls.count == 1 && listing.alone == [])
    }

    /// A tombstone stays alone while anything of its set is left, for the next run finds the rest by it.
    @Test func unfinishedStaysAlone() async throws {
        let archive = try await Archive()
        let template = try await tombstone(archive, try await archive.add(day: 0))
        let tombstones = TombstoneStore(archive.firstMemory)
        for number in 0..<300 {
            var one = template
            one.sequence = Int64(number + 1)
            try await tombstones.write(one)
        }
        #expect(try await tombstones.rollUp { $0.sequence != 7 } == 299)
        #expect(try await tombstones.listing().alone.map(\.sequence) == [7])
    }
}

/// How much a prune reads.
@Suite struct ReadTests {
    private func reads(_ archive: Archive, _ body: () async throws -> Void) async throws -> [String] {
        let before = archive.first.log.count
        try await body()
        return archive.first.log.dropFirst(before).filter { $0.call == .get }.map(\.key)
    }

    /// Two thousand sets are read once. After that a run reads a roll for each month, what is new, and what it deletes.
    @Test func twoThousandSets() async throws {
        let archive = try await Archive(hasSecond: false)
        for index in 0..<2000 {
            let key = try await archive.add(.monthly, day: Double(index) / 4, in: .first)
            if index % 10 == 0 { try await archive.prove(key, .integrity) }
        }
        archive.go(toDay: 500)
        let months = 17
        let first = try await reads(archive) { try await archive.prune() }
        #expect(first.count { $0.hasSuffix("/manifest.json") } == 2000)
        let second = try await reads(archive) {
            let notes = try await archive.prune().notes
            #expect(notes == [])
        }
        #expect(second.count { $0.hasPrefix("catalog/") } == months)
        #expect(second.count { $0.hasSuffix("/manifest.json") } == 0)

        for index in 0..<10 { try await archive.add(.monthly, day: 500 + Double(index) / 4, in: .first) }
        let third = try await reads(archive) { try await archive.prune() }
        #expect(third.count { $0.hasSuffix("/manifest.json") } == 10)

        // Forty go: they are read themselves, and for the first time the proofs of all, for none is by a restore.
        archive.go(toDay: 1095 + 9.99)
        let fourth = try await reads(archive) {
            let deleted = try await archive.prune().keys("deleted")
            #expect(deleted.count == 40)
        }
        #expect(fourth.count { $0.hasSuffix("/manifest.json") } <= 40 + 10 + 200 + 5)
        #expect(fourth.count { $0.hasSuffix("-proof.json") } <= 4 + 200)
        // What was found of the proofs is kept as well.
        archive.go(toDay: 1095 + 10.3)
        let fifth = try await reads(archive) { try await archive.prune() }
        #expect(fifth.count { $0.hasSuffix("-proof.json") } <= 5)
    }

    /// Rolls are hints: one that lies, and one that is damaged, delete nothing that may not go and hide no proof.
    @Test func lyingRolls() async throws {
        let archive = try await Archive(hasSecond: false)
        var keys: [BackupKey] = []
        for index in 0..<60 { keys.append(try await archive.add(.monthly, day: Double(index) / 4, in: .first)) }
        try await archive.prove(keys[3], .restore)
        archive.go(toDay: 100)
        try await archive.prune()
        let path = try #require(archive.firstMemory.keys.first { $0.hasPrefix("catalog/") })
        let text = String(decoding: archive.firstMemory.bytes(path) ?? [], as: UTF8.self)
        // Everything is past since long, and proven since yesterday.
        let lie = text.replacing("\"retainUntil\":\"2028", with: "\"retainUntil\":\"2025")
        #expect(lie != text)
        archive.firstMemory.damage(path) { $0 = Array(lie.utf8) }
        archive.go(toDay: 1000)
        #expect(try await archive.prune().keys("deleted") == [])
        // The one proof there is counts for nothing, by what this says.
        let proofs = text.replacing("\"previous\"", with: "\"records\":1,\"previous\"")
        archive.firstMemory.damage(path) { $0 = Array(proofs.utf8) }
        archive.go(toDay: 1200)
        let result = try await archive.prune()
        #expect(result.why(keys[3], "keptPastRetention") == "it is the newest that is proven restorable")
        #expect(result.keys("deleted").count == 58)
        archive.firstMemory.damage(path) { $0 = [1, 2, 3] }
        #expect(try await archive.prune().notes.contains { $0.hasPrefix("\(path) was passed over") })
    }
}
