package import Core

/// The bytes of a segment of the log whose pages begin as a server's do, filled with a pattern that `seed` decides, up to
/// `end`.
package func madeUpSegment(_ segment: WALSegment, system: String, seed: UInt8 = 1, upTo end: LSN? = nil) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(Int(segment.size))
    let page = 8192
    for offset in stride(from: 0, to: Int(segment.size), by: page) {
        var content = little(UInt16(0xD110)) + little(UInt16(offset == 0 ? 2 : 0)) + little(segment.timeline)
        content += little(segment.begin.value + UInt64(offset)) + little(UInt32(0)) + little(UInt32(0))
        if offset == 0 {
            content += little(UInt64(system) ?? 0) + little(UInt32(segment.size)) + little(UInt32(page))
        }
        content += [UInt8](repeating: seed &+ UInt8(truncatingIfNeeded: offset >> 13), count: page - content.count)
        bytes += content
    }
    return end.map { Array(bytes.prefix(Int($0.value - segment.begin.value))) } ?? bytes
}

private func little<Value: FixedWidthInteger>(_ value: Value) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian) { Array($0) }
}
