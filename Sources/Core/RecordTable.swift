/// A table, collection or the like of records with an id that only grows, as audit trails have them.
///
/// Nothing is changed at the source. Ids are whole numbers, or texts of one length that sort as they grow (an
/// ObjectId in hexadecimal).
package protocol RecordTable: Sendable {
    /// For people: `table public.audit_log of database clinic on db.example:5432`.
    var label: String { get }

    /// What comes is at the end, whatever anybody does: a file that is written on. In a table a record may come to stand
    /// before others that were there already.
    var onlyGrowsAtItsEnd: Bool { get }

    /// What stands there past `id`, or from the beginning where it is `nil`.
    func waiting(after id: RecordID?) async throws -> WaitingRecords

    /// The records past `after` up to and with `through`, in the order of their ids: one line of JSON each, an object
    /// with every column or field, and the same bytes for as long as the record is the same. The id stands in the member
    /// that was configured as the id's. The end is only reported when all of them have been given.
    ///
    /// Where ids can be handed out before what carries them is seen, this waits for those who may still write a smaller
    /// one than `through`, and throws where that takes too long.
    func records(after: RecordID?, through: RecordID) async throws -> any ByteSource
}

extension RecordTable {
    package var onlyGrowsAtItsEnd: Bool { false }
}

package enum RecordID: Hashable, Comparable, Sendable, CustomStringConvertible {
    case number(Int64)
    case text(String)

    package var description: String {
        switch self {
        case .number(let number): String(number)
        case .text(let text): text
        }
    }

    package static func < (a: RecordID, b: RecordID) -> Bool {
        switch (a, b) {
        case (.number(let a), .number(let b)): a < b
        case (.text(let a), .text(let b)): a.utf8.lexicographicallyPrecedes(b.utf8)
        // A trail has ids of one kind; numbers first only makes the order total.
        case (.number, .text): true
        case (.text, .number): false
        }
    }
}

extension RecordID {
    /// The greatest id that is smaller, so that what comes after it begins with this very record; `nil` where there is
    /// none. A text of hexadecimal digits is taken for a number, for some servers take no other text as an id.
    package var predecessor: RecordID? {
        switch self {
        case .number(let number): return number > .min ? .number(number - 1) : nil
        case .text(let text):
            let bytes = Array(text.utf8)
            let isHex = bytes.allSatisfy {
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
                    || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
            }
            return isHex ? Self.hexBefore(bytes) : Self.textBefore(bytes)
        }
    }

    private static func hexBefore(_ bytes: [UInt8]) -> RecordID? {
        var digits = bytes
        for index in digits.indices.reversed() {
            switch digits[index] {
            case UInt8(ascii: "0"): digits[index] = UInt8(ascii: "f")
            case UInt8(ascii: "a"):
                digits[index] = UInt8(ascii: "9")
                return .text(String(decoding: digits, as: UTF8.self))
            default:
                digits[index] -= 1
                return .text(String(decoding: digits, as: UTF8.self))
            }
        }
        return nil
    }

    /// Between a text and the one whose last byte is one smaller there is no other of their length.
    private static func textBefore(_ bytes: [UInt8]) -> RecordID? {
        guard let last = bytes.last, last > 0x21, last < 0x80 else { return nil }
        return .text(String(decoding: bytes.dropLast() + [last - 1], as: UTF8.self))
    }
}

package struct WaitingRecords: Equatable, Sendable {
    package var count: Int64
    /// The greatest id; `nil` where none waits.
    package var last: RecordID?

    package init(count: Int64, last: RecordID?) {
        self.count = count
        self.last = last
    }
}
