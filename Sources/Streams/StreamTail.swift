/// The last few kilobytes of a stream, where a dump says that it is complete.
package struct StreamTail: Sendable {
    private static let limit = 4096
    private var bytes: [UInt8] = []

    package init() {}

    package mutating func add(_ chunk: UnsafeRawBufferPointer) {
        bytes.append(contentsOf: chunk.suffix(Self.limit))
        if bytes.count > Self.limit { bytes.removeFirst(bytes.count - Self.limit) }
    }

    /// The last line that `ignoring` does not pass over; `nil` where the stream does not end with a line break, or has
    /// no such line in what is kept.
    package func lastLine(ignoring: (ArraySlice<UInt8>) -> Bool) -> ArraySlice<UInt8>? {
        guard bytes.last == UInt8(ascii: "\n") else { return nil }
        return bytes.split(separator: UInt8(ascii: "\n")).last { !ignoring($0) }
    }
}
