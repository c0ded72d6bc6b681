package import Core
import Crypto
import CryptoExtras

/// A digest that may stand in clear although what it is of could be guessed: salted, and by scrypt (RFC 7914), so that
/// each guess costs time and memory. For knowing something again without being able to open it.
package struct SlowDigest: Sendable {
    /// Some tenths of a second and 32 MiB a guess.
    package static let standard = SlowDigest(rounds: 1 << 15)

    private static let blockSize = 8
    private static let parallelism = 3
    private static let length = 32
    private let rounds: Int

    /// `rounds` is scrypt's N, a power of two: time and memory grow with it.
    package init(rounds: Int) { self.rounds = rounds }

    private var prefix: String { "scrypt$\(rounds)$\(Self.blockSize)$\(Self.parallelism)$" }

    /// `scrypt$N$r$p$salt$digest`, the last two in hexadecimal. Blocks for a fraction of a second.
    package func make(of bytes: [UInt8], random: RandomBytes) throws -> String {
        let salt = random(16)
        return try prefix + hexText(salt) + "$" + hexText(derive(bytes, salt))
    }

    /// Whether `text` was made of these bytes. A text of any other form, and one made with other costs, is of nothing:
    /// whoever can write to a store must not choose how long this works. Blocks as long.
    package func matches(_ text: String, _ candidate: [UInt8]) throws -> Bool {
        guard text.hasPrefix(prefix) else { return false }
        let pieces = text.dropFirst(prefix.count).split(separator: "$", omittingEmptySubsequences: false)
        guard pieces.count == 2, let salt = bytes(hexText: String(pieces[0])), salt.count == 16,
            let digest = bytes(hexText: String(pieces[1])), digest.count == Self.length
        else { return false }
        return try derive(candidate, salt) == digest
    }

    private func derive(_ bytes: [UInt8], _ salt: [UInt8]) throws -> [UInt8] {
        try KDF.Scrypt.deriveKey(
            from: bytes, salt: salt, outputByteCount: Self.length, rounds: rounds, blockSize: Self.blockSize,
            parallelism: Self.parallelism
        ).withUnsafeBytes { Array($0) }
    }
}
