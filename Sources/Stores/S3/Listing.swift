import AWS
import Core

/// A listing, read page by page when its consumer asks for more.
final class Listing: Sendable {
    private struct State {
        /// Found and not handed out yet, the next one last.
        var found: [ObjectInfo] = []
        /// The last name of the page before, as it stands in the bucket.
        var last: String?
        var hasEnded = false
    }

    private let bucket: S3Bucket
    private let prefix: String
    private let state = Guarded(State())

    init(bucket: S3Bucket, prefix: String) {
        self.bucket = bucket
        self.prefix = prefix
    }

    /// For one consumer at a time.
    func next() async throws -> ObjectInfo? {
        try Task.checkCancellation()
        while true {
            let (info, last, hasEnded) = state.withLock { ($0.found.popLast(), $0.last, $0.hasEnded) }
            if let info { return info }
            if hasEnded { return nil }
            let page = try await bucket.page(prefix: prefix, after: last)
            state.withLock { state in
                state.found = page.objects.reversed()
                state.last = page.last
                state.hasEnded = !page.isTruncated
            }
        }
    }
}

struct ListingPage: Sendable {
    var objects: [ObjectInfo]
    /// The last name in it, objects of ours or not.
    var last: String?
    var isTruncated: Bool
}

extension S3Bucket {
    /// A thousand objects at most. The next page is asked for by the last name of this one, which every server
    /// understands alike, where tokens to go on with are some servers' raw names and others' encoded ones.
    func page(prefix: String, after last: String?) async throws -> ListingPage {
        var call = Call(operation: "ListObjectsV2", method: "GET")
        call.query = [
            (name: "list-type", value: "2"), (name: "prefix", value: full(prefix)),
            // Names may hold characters that no XML can.
            (name: "encoding-type", value: "url"),
        ]
        if let last { call.query.append((name: "start-after", value: last)) }
        let tree = try xml(try await send(call), call)
        var page = ListingPage(objects: [], isTruncated: tree.text("IsTruncated") == "true")
        for entry in tree.children where entry.name == "Contents" {
            guard let full = name(in: entry, of: tree, "Key"),
                let size = entry.text("Size").flatMap({ Int64($0) }),
                let modified = entry.text("LastModified").flatMap({ Timestamp($0) })
            else { throw answerError(call, "an object has no key, size or time") }
            guard last.map({ $0.utf8.lexicographicallyPrecedes(full.utf8) }) ?? true else {
                throw answerError(call, "the next page begins with what has been listed")
            }
            page.last = full
            guard let key = key(full) else { continue }
            let storageClass = StorageClass(serverName: entry.text("StorageClass") ?? "STANDARD")
            page.objects.append(
                ObjectInfo(
                    key: key, size: size, modified: modified.roundedDownToSecond, storageClass: storageClass,
                    availability: storageClass.isArchive ? .archived : .online))
        }
        guard !page.isTruncated || page.last != nil else {
            throw answerError(call, "there is to be more, and nothing is there")
        }
        return page
    }

    /// A name of an object within an answer, decoded.
    func name(in entry: XMLTree, of tree: XMLTree, _ element: String) -> String? {
        entry.text(element).flatMap { tree.text("EncodingType") == "url" ? urlDecoded($0) : $0 }
    }

    func answerError(_ call: Call, _ problem: String) -> S3StoreError {
        .answer(operation: call.operation, key: call.object?.key ?? location, problem: problem)
    }
}

/// What `encoding-type=url` has made of a name: percent signs with two digits, and a plus sign for a space. `nil` where
/// it is not that, or not UTF-8.
func urlDecoded(_ text: String) -> String? {
    guard text.utf8.contains(where: { $0 == UInt8(ascii: "%") || $0 == UInt8(ascii: "+") }) else { return text }
    var decoded: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
        switch byte {
        case UInt8(ascii: "+"): decoded.append(0x20)
        case UInt8(ascii: "%"):
            guard let high = rest.popFirst().flatMap(hexDigit), let low = rest.popFirst().flatMap(hexDigit) else {
                return nil
            }
            decoded.append(high << 4 | low)
        default: decoded.append(byte)
        }
    }
    return String(validating: decoded, as: UTF8.self)
}

private func hexDigit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
}
