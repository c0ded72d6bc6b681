/// The checksum of an archive's namespaces: CRC-64/XZ (reflected polynomial 0xC96C5795D7870F42, begun and ended with all
/// ones; "123456789" gives 995DC9BBDF1939FA).
struct CRC64: Sendable {
    private var state = UInt64.max

    /// Eight tables of 256, so that eight bytes go in one step.
    private static let tables: [UInt64] = {
        var tables = [UInt64](repeating: 0, count: 8 * 256)
        for index in 0..<256 {
            var value = UInt64(index)
            for _ in 0..<8 { value = value & 1 == 1 ? value >> 1 ^ 0xC96C_5795_D787_0F42 : value >> 1 }
            tables[index] = value
        }
        for table in 1..<8 {
            for index in 0..<256 {
                let previous = tables[(table - 1) * 256 + index]
                tables[table * 256 + index] = previous >> 8 ^ tables[Int(previous & 0xFF)]
            }
        }
        return tables
    }()

    var value: UInt64 { ~state }

    mutating func update(_ bytes: UnsafeRawBufferPointer) {
        var crc = state
        Self.tables.withUnsafeBufferPointer { tables in
            var offset = 0
            while offset + 8 <= bytes.count {
                crc ^= bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self).littleEndian
                var next: UInt64 = 0
                for byte in 0..<8 {
                    next ^= tables[(7 - byte) &* 256 &+ Int(crc >> UInt64(byte &* 8) & 0xFF)]
                }
                crc = next
                offset += 8
            }
            while offset < bytes.count {
                crc = crc >> 8 ^ tables[Int((crc ^ UInt64(bytes[offset])) & 0xFF)]
                offset += 1
            }
        }
        state = crc
    }
}
