import CCRC32C
import Core

/// CRC-32C, which S3 takes beside an object or a piece and refuses what does not match.
///
/// It travels in a header of each request, never as a trailer: many servers refuse trailers. Those that know nothing of
/// it ignore it; over http they check the payload's SHA-256 that is signed, and over https TLS has seen to the way.
struct Checksum: Equatable, Sendable {
    static let header = "x-amz-checksum-crc32c"
    static let algorithm = "CRC32C"

    private var state: UInt32 = 0

    mutating func update(_ bytes: UnsafeRawBufferPointer) { state = ccrc32c(state, bytes.baseAddress, bytes.count) }

    init(_ chunks: [Chunk] = []) {
        for chunk in chunks { update(chunk.bytes) }
    }

    init(_ bytes: [UInt8]) { bytes.withUnsafeBytes { update($0) } }

    /// As it stands in headers: base64 of the four bytes, most significant first.
    var text: String { base64(withUnsafeBytes(of: state.bigEndian) { Array($0) }) }
}

/// RFC 4648, section 4.
func base64(_ bytes: [UInt8]) -> String {
    var text: [UInt8] = []
    bytes.withUnsafeBytes { appendBase64($0, to: &text) }
    return String(decoding: text, as: UTF8.self)
}
