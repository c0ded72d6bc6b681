import Core
import TestSupport
import Testing

@Suite("Sums of digests and contents")
struct ContentsTests {
    /// The sum as a person would make it: byte by byte from the right, with a carry.
    private static func slowSum(_ digests: [[UInt8]]) -> [UInt8] {
        var sum = [UInt8](repeating: 0, count: 32)
        for digest in digests {
            var carry = 0
            for index in (0..<32).reversed() {
                let value = Int(sum[index]) + Int(digest[index]) + carry
                sum[index] = UInt8(value & 255)
                carry = value >> 8
            }
        }
        return sum
    }

    private static func sum(_ digests: [[UInt8]]) -> RowSum {
        var sum = RowSum()
        for digest in digests { digest.withUnsafeBytes { sum.add(digest: $0) } }
        return sum
    }

    /// Shows that the fast sum is the slow one, over digests with many carries, in any order, and added up of parts.
    @Test(arguments: 1...UInt64(20))
    func sumsAgree(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        for _ in 0..<20 {
            let digests = (0..<Int.random(in: 0..<20, using: &random)).map { _ -> [UInt8] in
                var digest = random.bytes(32)
                // Runs of ff make carries go through whole limbs.
                let run = Int.random(in: 0...32, using: &random)
                digest.replaceSubrange(run..., with: [UInt8](repeating: 0xFF, count: 32 - run))
                return digest
            }
            let expected = Self.slowSum(digests)
            #expect(Self.sum(digests).bytes == expected)
            #expect(Self.sum(digests.shuffled(using: &random)).bytes == expected)
            let cut = Int.random(in: 0...digests.count, using: &random)
            var joined = Self.sum(Array(digests[..<cut]))
            joined.add(Self.sum(Array(digests[cut...])))
            #expect(joined.bytes == expected)
            #expect(RowSum(expected) == joined && joined.hex == hexText(expected))
        }
    }

    /// Shows that the sum turns over at 2^256, and that other lengths are no sums.
    @Test func bounds() throws {
        var sum = try #require(RowSum([UInt8](repeating: 0xFF, count: 32)))
        sum.add(try #require(RowSum([UInt8](repeating: 0, count: 31) + [1])))
        #expect(sum == RowSum())
        #expect(RowSum([UInt8](repeating: 0, count: 31)) == nil && RowSum([]) == nil)
    }

    static func contents(_ change: (inout [DataEntry], inout [SchemaEntry]) -> Void = { _, _ in }) -> Contents {
        let sum = { (byte: UInt8) in RowSum([UInt8](repeating: byte, count: 32)) ?? RowSum() }
        var data = [
            DataEntry(kind: .table, schema: "public", name: "visits", columns: ["id", "note"], rows: 3, sum: sum(2)),
            DataEntry(kind: .table, schema: "public", name: "Pat\"ients\n", columns: [], rows: 2, sum: sum(1)),
            DataEntry(kind: .sequence, schema: "public", name: "visits_id_seq", columns: [], rows: 1, sum: sum(3)),
            DataEntry(kind: .largeObject, schema: "", name: "16400", columns: [], rows: 1, sum: sum(4)),
        ]
        var schema = [
            SchemaEntry(
                type: "TABLE", schema: "public", name: "visits", owner: "me", count: 1, binding: sum(5),
                printed: sum(6)),
            SchemaEntry(
                type: "VIEW", schema: "public", name: "recent", owner: "me", count: 1, binding: sum(7),
                printed: sum(8)),
        ]
        change(&data, &schema)
        return Contents(data: data, schema: schema)
    }

    /// Shows that contents read back as they were written, whatever the order they were found in, and count what they
    /// should.
    @Test func roundTrip() throws {
        let contents = Self.contents()
        #expect(contents.tables == 2 && contents.rows == 5)
        #expect(try Contents(json: try JSON(parsing: contents.json.canonicalBytes)) == contents)
        let turned = Self.contents { data, schema in
            data.reverse()
            schema.reverse()
        }
        #expect(turned == contents && turned.json.canonicalBytes == contents.json.canonicalBytes)
    }

    /// Shows that a document of another version, with a member too many or a sum too short is refused by its field.
    @Test func strictReading() throws {
        guard case .object(var members) = Self.contents().json else { return }
        members["format"] = .integer(2)
        let version = #expect(throws: JSONFieldError.self) { try Contents(json: .object(members)) }
        #expect(version?.field == "format")
        members["format"] = .integer(1)
        members["extra"] = .null
        let extra = #expect(throws: JSONFieldError.self) { try Contents(json: .object(members)) }
        #expect(extra?.field == "extra")
    }

    /// Shows that equal contents compare as equal, with nothing to list.
    @Test func equalContents() {
        let comparison = ContentsComparison(recorded: Self.contents(), found: Self.contents())
        #expect(comparison.isEqual && comparison.failures.isEmpty && comparison.reprints.isEmpty)
    }

    /// Shows that each difference in the data, and each in the schema that binds, is a failure that names its object.
    @Test func differences() throws {
        let other = try #require(RowSum([UInt8](repeating: 9, count: 32)))
        let cases: [(String, Contents)] = [
            ("has 4 rows instead of 3", Self.contents { data, _ in data[0].rows = 4 }),
            ("other values in its 3 rows", Self.contents { data, _ in data[0].sum = other }),
            ("has other columns", Self.contents { data, _ in data[0].columns = ["note", "id"] }),
            ("table public.visits is missing", Self.contents { data, _ in data.remove(at: 0) }),
            ("sequence public.visits_id_seq has other values", Self.contents { data, _ in data[2].sum = other }),
            ("largeObject 16400 is missing", Self.contents { data, _ in data.remove(at: 3) }),
            ("has another owner", Self.contents { _, schema in schema[0].owner = "you" }),
            ("is defined differently", Self.contents { _, schema in schema[0].binding = other }),
            ("is defined differently", Self.contents { _, schema in schema[0].count = 2 }),
            ("view public.recent is missing", Self.contents { _, schema in schema.remove(at: 1) }),
        ]
        for (words, found) in cases {
            let comparison = ContentsComparison(recorded: Self.contents(), found: found)
            #expect(comparison.failures.count == 1 && comparison.failures.first?.contains(words) == true, "\(words)")
            #expect(!comparison.isEqual)
            // What is too much is as wrong as what is missing.
            #expect(!ContentsComparison(recorded: found, found: Self.contents()).isEqual)
        }
    }

    /// Shows that an expression that the server prints otherwise is listed and is no failure.
    @Test func reprints() throws {
        let found = Self.contents { _, schema in schema[1].printed = RowSum() }
        let comparison = ContentsComparison(recorded: Self.contents(), found: found)
        #expect(comparison.isEqual && comparison.reprints == ["view public.recent is printed differently"])
    }
}
