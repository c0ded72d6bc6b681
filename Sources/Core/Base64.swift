/// The bytes that `text` spells in base64 (RFC 4648, section 4) with or without padding, white space between its
/// characters allowed; `nil` for anything else. Leaves no copy of them behind.
package func decodeBase64(_ text: UnsafeRawBufferPointer) -> SecretBytes? {
    var bytes: [UInt8] = []
    // Enough room from the beginning: growing would leave a copy behind that nobody wipes.
    bytes.reserveCapacity(text.count)
    defer { bytes.withUnsafeMutableBytes { wipe($0) } }
    var bits: UInt32 = 0
    var bitCount = 0
    var padding = 0
    for character in text {
        switch character {
        case 0x20, 0x09, 0x0A, 0x0D: continue
        case UInt8(ascii: "="): padding += 1
        default:
            guard padding == 0, let value = base64Value(character) else { return nil }
            bits = bits << 6 | value
            bitCount += 6
            if bitCount >= 8 {
                bitCount -= 8
                bytes.append(UInt8(truncatingIfNeeded: bits >> bitCount))
                bits &= (1 << bitCount) - 1
            }
        }
    }
    // What is left over of the last character is zero, and the padding, if any, fills its group of four.
    guard bits == 0, bitCount < 6, padding == 0 || padding == bitCount / 2 else { return nil }
    return SecretBytes(wiping: &bytes)
}

/// Appends `bytes` in base64 with padding (RFC 4648, section 4). Where they are secret, `output` needs room for the
/// text from the beginning, and is the caller's to wipe.
package func appendBase64(_ bytes: UnsafeRawBufferPointer, to output: inout [UInt8]) {
    let digits: StaticString = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for start in stride(from: 0, to: bytes.count, by: 3) {
        let group = bytes[start..<min(start + 3, bytes.count)]
        var bits: UInt32 = 0
        for byte in group { bits = bits << 8 | UInt32(byte) }
        bits <<= 8 * UInt32(3 - group.count)
        for index in 0..<4 {
            let value = Int(bits >> (18 - 6 * UInt32(index)) & 63)
            output.append(index <= group.count ? digits.utf8Start[value] : UInt8(ascii: "="))
        }
    }
}

private func base64Value(_ character: UInt8) -> UInt32? {
    switch character {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(character - UInt8(ascii: "A"))
    case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(character - UInt8(ascii: "a")) + 26
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(character - UInt8(ascii: "0")) + 52
    case UInt8(ascii: "+"): 62
    case UInt8(ascii: "/"): 63
    default: nil
    }
}
