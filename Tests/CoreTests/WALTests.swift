import Core
import Testing

/// Places and files of a write-ahead log.
@Suite struct WALTests {
    @Test("names are the server's, both ways", arguments: [1 << 20, 1 << 24, 1 << 30] as [UInt64])
    func names(size: UInt64) throws {
        for number in [0, 1, 255, 0x1_0000_0000 / size, 1 << 24] as [UInt64] {
            let segment = WALSegment(timeline: 3, number: number, size: size)
            #expect(segment.name.utf8.count == 24)
            #expect(WALSegment(name: segment.name, size: size) == segment)
            #expect(segment.end == segment.next.begin && segment.end.value - segment.begin.value == size)
        }
        #expect(WALSegment(timeline: 1, number: 258, size: 1 << 24).name == "000000010000000100000002")
        for wrong in [
            "", "000000010000000100000100", "000000000000000100000002", "00000001000000010000000g",
            "0000000100000001000000021",
        ] {
            #expect(WALSegment(name: wrong, size: 1 << 24) == nil, "\(wrong)")
        }
    }

    /// Shows that no name and no number ends the process, for anybody may have made them up.
    @Test("what lies beyond the last place is the last place")
    func beyond() throws {
        #expect(WALSegment(name: "00000001FFFFFFFF000000FF", size: 1 << 24) == nil, "it would have no end")
        let last = try #require(WALSegment(name: "00000001FFFFFFFF000000FE", size: 1 << 24))
        #expect(last.end == LSN(UInt64.max - (1 << 24) + 1))
        #expect(last.next.end == LSN(.max) && last.next.next.begin == LSN(.max))
        for size in [0, 1, 3, 1 << 20, 1 << 32, 1 << 40, .max] as [UInt64] {
            for number in [0, 1, 1 << 40, .max] as [UInt64] {
                let segment = WALSegment(timeline: 1, number: number, size: size)
                #expect(segment.end >= segment.begin && segment.next.number >= number)
                #expect(segment.name.utf8.count >= 24)
            }
            for name in ["FFFFFFFFFFFFFFFFFFFFFFFF", "0000000100000000FFFFFFFF", "00000001FFFFFFFF00000000"] {
                if let segment = WALSegment(name: name, size: size) { #expect(segment.begin < segment.end) }
            }
        }
    }
}
