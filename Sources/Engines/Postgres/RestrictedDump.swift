import Core

/// A dump on its way to psql, with psql's commands shut off by a token that whoever wrote the dump cannot know.
///
/// Newer versions of pg_dump put a `\restrict` at the head of a dump and an `\unrestrict` at its end. Their token is in
/// the dump, so a dump made by somebody else could open what it shut; it is replaced by ours, and the end left off. A
/// psql that does not know the command gets the dump without either.
final class RestrictedDump: ByteSource {
    /// What surely holds the first lines, and the last, of a dump: in bytes.
    private static let edge = 512

    private struct State {
        var held: Chunk?
        var hasBegun = false
        var hasEnded = false
    }

    private let base: any ByteSource
    private let token: String?
    private let state = Guarded(State())

    /// `token` is of letters and digits; `nil` for a psql without the command.
    init(_ base: any ByteSource, token: String?) {
        self.base = base
        self.token = token
    }

    /// Whether `version` of psql (`15.14`) knows `\restrict`: it came with the fix releases of August 2025.
    static func isKnown(to version: String) -> Bool {
        let numbers = version.split(separator: ".").map { Int($0.prefix { $0.isNumber }) ?? 0 }
        guard let major = numbers.first else { return false }
        let first = [13: 22, 14: 19, 15: 14, 16: 10, 17: 6]
        return major >= 18 || (numbers.count > 1 && (first[major].map { numbers[1] >= $0 } ?? false))
    }

    func next() throws -> Chunk? {
        while true {
            let chunk = try state.value.hasEnded ? nil : base.next()
            guard let chunk else { return state.withLock { Self.last(of: &$0, token: token) } }
            if let ready = state.withLock({ Self.take(chunk, &$0, token: token) }) { return ready }
        }
    }

    func cancel() { base.cancel() }

    /// Holds back enough to see the end coming, and gives what lies before that.
    private static func take(_ chunk: Chunk, _ state: inout State, token: String?) -> Chunk? {
        guard let held = state.held else {
            state.held = chunk
            return nil
        }
        guard held.count >= edge, chunk.count >= edge else {
            state.held = Chunk(Array(held.bytes) + Array(chunk.bytes))
            return nil
        }
        state.held = chunk
        return opened(held, &state, token: token)
    }

    private static func last(of state: inout State, token: String?) -> Chunk? {
        state.hasEnded = true
        guard let held = state.held else { return nil }
        state.held = nil
        let chunk = opened(held, &state, token: token)
        let bytes = Array(chunk.bytes)
        let line = lastLine(of: bytes)
        return bytes[line].starts(with: "\\unrestrict ".utf8) ? Chunk(bytes[..<line.lowerBound]) : chunk
    }

    /// The last line that is not empty.
    private static func lastLine(of bytes: [UInt8]) -> Range<Int> {
        let newline = UInt8(ascii: "\n")
        let end = bytes.lastIndex { $0 != newline }.map { $0 + 1 } ?? 0
        let start = bytes[..<end].lastIndex(of: newline).map { $0 + 1 } ?? 0
        return start..<end
    }

    /// The first chunk with our line in the place of the dump's own, before anything that psql acts on.
    private static func opened(_ chunk: Chunk, _ state: inout State, token: String?) -> Chunk {
        guard !state.hasBegun else { return chunk }
        state.hasBegun = true
        let bytes = Array(chunk.bytes)
        var start = 0
        var end = 0
        while start < bytes.count {
            end = bytes[start...].firstIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? bytes.count
            let line = bytes[start..<end]
            guard line.elementsEqual("\n".utf8) || line.starts(with: "--".utf8) else { break }
            start = end
        }
        if !bytes[start..<end].starts(with: "\\restrict ".utf8) { end = start }
        let command = token.map { Array("\\restrict \($0)\n".utf8) } ?? []
        return Chunk(bytes[..<start] + command + bytes[end...])
    }
}
