/// Finds where heads and bodies of HTTP/1.1 messages begin and end in one direction of a connection: as much of
/// RFC 9112 as a proxy needs that changes bodies and leaves heads alone.
struct HTTPFraming {
    /// What a run of bytes is.
    enum Piece {
        /// A whole head with its empty line; `line` is its first line.
        case head([UInt8], line: String)
        /// Bytes of a body.
        case body(ArraySlice<UInt8>)
        /// Sizes of chunks, their line ends, trailers.
        case framing(ArraySlice<UInt8>)
        /// A message is over.
        case end
    }

    private enum State {
        case head
        case body(remaining: Int)
        case chunkSize
        case chunk(remaining: Int)
        case chunkEnd
        case trailer
        case untilClose
    }

    private var state = State.head
    private var line: [UInt8] = []

    /// Cuts `bytes` into pieces. `isEmpty` is asked at the end of each head whether a message with this first line has
    /// no body whatever its fields say: answers to HEAD, 204, 304, and interim ones.
    mutating func pieces(_ bytes: ArraySlice<UInt8>, isEmpty: (String) -> Bool) -> [Piece] {
        var pieces: [Piece] = []
        var rest = bytes
        while !rest.isEmpty {
            switch state {
            case .head:
                guard let end = takeHead(&rest) else { return pieces }
                pieces.append(.head(end.head, line: end.line))
                begin(end.head, isEmpty: isEmpty(end.line))
                if case .head = state { pieces.append(.end) }
            case .body(let remaining):
                let taken = rest.prefix(remaining)
                rest = rest.dropFirst(taken.count)
                pieces.append(.body(taken))
                state = taken.count == remaining ? .head : .body(remaining: remaining - taken.count)
                if case .head = state { pieces.append(.end) }
            case .chunk(let remaining):
                let taken = rest.prefix(remaining)
                rest = rest.dropFirst(taken.count)
                pieces.append(.body(taken))
                state = taken.count == remaining ? .chunkEnd : .chunk(remaining: remaining - taken.count)
            case .chunkSize, .chunkEnd, .trailer:
                let before = rest
                let text = takeLine(&rest)
                pieces.append(.framing(before.prefix(before.count - rest.count)))
                guard let text else { return pieces }
                if endLine(text) { pieces.append(.end) }
            case .untilClose:
                pieces.append(.body(rest))
                return pieces
            }
        }
        return pieces
    }

    /// The head with its empty line, once it is whole.
    private mutating func takeHead(_ rest: inout ArraySlice<UInt8>) -> (head: [UInt8], line: String)? {
        while let byte = rest.popFirst() {
            line.append(byte)
            guard byte == 0x0A, line.suffix(4) == [0x0D, 0x0A, 0x0D, 0x0A] else { continue }
            let head = line
            line = []
            return (head, String(decoding: head.prefix { $0 != 0x0D }, as: UTF8.self))
        }
        return nil
    }

    private mutating func takeLine(_ rest: inout ArraySlice<UInt8>) -> String? {
        while let byte = rest.popFirst() {
            line.append(byte)
            guard byte == 0x0A else { continue }
            defer { line = [] }
            return String(decoding: line, as: UTF8.self).trimmed
        }
        return nil
    }

    private mutating func begin(_ head: [UInt8], isEmpty: Bool) {
        let fields = String(decoding: head, as: UTF8.self).lowercased().split(separator: "\r\n").dropFirst()
        func value(_ name: String) -> String? {
            fields.first { $0.hasPrefix(name + ":") }.map { String($0.dropFirst(name.count + 1)).trimmed }
        }
        if isEmpty {
            state = .head
        } else if value("transfer-encoding")?.hasSuffix("chunked") == true {
            state = .chunkSize
        } else if let length = value("content-length").flatMap({ Int($0) }) {
            state = length == 0 ? .head : .body(remaining: length)
        } else {
            // A request without a length has no body; an answer's goes on until the connection is closed.
            let isAnswer = head.starts(with: Array("HTTP/".utf8))
            state = isAnswer ? .untilClose : .head
        }
    }

    /// Goes on after a line between chunks. True where it ended the message.
    private mutating func endLine(_ text: String) -> Bool {
        switch state {
        case .chunkSize:
            let size = Int(text.prefix { $0 != ";" }.description.trimmed, radix: 16) ?? 0
            state = size == 0 ? .trailer : .chunk(remaining: size)
        case .chunkEnd:
            state = .chunkSize
        case .trailer where text.isEmpty:
            state = .head
            return true
        default: break
        }
        return false
    }
}

extension String {
    fileprivate var trimmed: String {
        let isBlank: (Character) -> Bool = { $0 == " " || $0 == "\t" || $0 == "\r" || $0 == "\n" || $0 == "\r\n" }
        return String(drop(while: isBlank).reversed().drop(while: isBlank).reversed())
    }
}
