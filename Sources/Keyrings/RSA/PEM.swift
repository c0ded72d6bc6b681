import Core
import LocalKeyring

/// The first block of a PEM text (RFC 7468), decoded.
struct PEM {
    /// `PRIVATE KEY`.
    let label: String
    /// Protected by a passphrase; the content is then of no use.
    let isEncrypted: Bool
    let content: SecretBytes

    /// `nil` where there is no block, or one that does not decode.
    init?(_ text: UnsafeRawBufferPointer) {
        let dashes = Array("-----".utf8)
        let lines = text.split(whereSeparator: { $0 == UInt8(ascii: "\n") || $0 == UInt8(ascii: "\r") })
        guard let first = lines.firstIndex(where: { $0.starts(with: Array("-----BEGIN ".utf8)) }) else { return nil }
        let begin = lines[first].dropFirst(11)
        guard begin.count > dashes.count, begin.suffix(dashes.count).elementsEqual(dashes) else { return nil }
        label = String(decoding: begin.dropLast(dashes.count), as: UTF8.self)
        let end = Array("-----END \(label)-----".utf8)
        let body = lines[(first + 1)...]
        guard let last = body.firstIndex(where: { $0.elementsEqual(end) }) else { return nil }
        // The older form has lines such as "Proc-Type: 4,ENCRYPTED" before the content.
        let headers = body[..<last].prefix { $0.contains(UInt8(ascii: ":")) }
        isEncrypted = label == "ENCRYPTED PRIVATE KEY" || !headers.isEmpty
        let inner = body[(first + 1 + headers.count)..<last]
        guard !isEncrypted else {
            content = SecretBytes(UnsafeRawBufferPointer(start: nil, count: 0))
            return
        }
        guard let start = inner.first?.startIndex, let stop = inner.last?.endIndex,
            let decoded = decodeBase64(UnsafeRawBufferPointer(rebasing: text[start..<stop]))
        else { return nil }
        content = decoded
    }
}
