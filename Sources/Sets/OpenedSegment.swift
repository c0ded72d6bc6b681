package import Core
import Envelope
package import Streams

/// One stored segment being opened: every frame authenticated, then decompressed. Holds one frame and one chunk of
/// output at a time, however well the data was compressed.
///
/// One thread pulls it; `cancel` only reaches the base.
package final class OpenedSegment: ByteSource, @unchecked Sendable {
    private let base: any ByteSource
    private let expectation: Expectation
    private let decompressor: any Decompressor
    private var head: [UInt8] = []
    private var reader: MessageReader?
    private var frames: [Chunk] = []
    private var offset = 0
    private var isAtEnd = false

    /// What the manifest says of the segment, so that no other message can stand in its place.
    package struct Expectation: Sendable {
        package var key: String
        package var path: String
        package var messageID: [UInt8]
        package var context: [String: String]
        package var dataKey: SecretBytes

        package init(
            key: String, path: String, messageID: [UInt8], context: [String: String], dataKey: SecretBytes
        ) {
            self.key = key
            self.path = path
            self.messageID = messageID
            self.context = context
            self.dataKey = dataKey
        }
    }

    package init(_ base: any ByteSource, expecting expectation: Expectation, decompressor: any Decompressor) {
        self.base = base
        self.expectation = expectation
        self.decompressor = decompressor
    }

    package func next() throws -> Chunk? {
        guard !isAtEnd else { return nil }
        let output = Chunk()
        while output.remaining > 0 {
            if let frame = frames.first {
                var rest = UnsafeRawBufferPointer(rebasing: frame.bytes[offset...])
                let before = rest.count
                try decompressor.step(&rest, into: output)
                offset += before - rest.count
                // A full chunk may mean that the decompressor holds more: the frame stays until it has none.
                if output.remaining > 0 { dropFrame() }
            } else if let chunk = try base.next() {
                try open(chunk)
            } else {
                try finish()
                return output.count > 0 ? output : nil
            }
        }
        return output
    }

    package func cancel() { base.cancel() }

    private func dropFrame() {
        frames.removeFirst()
        offset = 0
    }

    private func open(_ chunk: Chunk) throws {
        if reader == nil {
            head.append(contentsOf: chunk.bytes)
            guard let header = try MessageHeader.parse(head) else { return }
            try check(header)
            do {
                reader = try MessageReader(header: header, dataKey: expectation.dataKey)
            } catch EnvelopeError.wrongDataKey {
                // The set's own data key has authenticated its manifest: it is the header that was changed.
                throw damaged("its header names another data key than the set's")
            }
            let rest = head[header.length...]
            try rest.withUnsafeBytes { try update($0) }
            head = []
        } else {
            try update(chunk.bytes)
        }
    }

    private func update(_ bytes: UnsafeRawBufferPointer) throws {
        var opened: [Chunk] = []
        try reader?.update(bytes) { if $0.count > 0 { opened.append($0) } }
        frames += opened
    }

    private func check(_ header: MessageHeader) throws {
        guard header.messageID == expectation.messageID else {
            throw damaged("another message stands in its place")
        }
        guard header.context == expectation.context else { throw damaged("its encryption context is another set's") }
    }

    private func finish() throws {
        guard let last = reader.take() else { throw damaged("it ends inside its header") }
        try last.finish()
        try decompressor.finish()
        isAtEnd = true
    }

    private func damaged(_ problem: String) -> SetError {
        .damagedSegment(key: expectation.key, path: expectation.path, problem: problem)
    }
}
