import Core
import Streams
import TestSupport
import Testing

@Suite("Slow digests")
struct SlowDigestTests {
    private func salt(_ count: Int) -> [UInt8] { [UInt8](repeating: 0x5A, count: count) }

    /// What was digested is known again, by its digest's own salt, and nothing else is.
    @Test func knowsItsOwn() throws {
        let digest = SlowDigest(rounds: 16)
        let text = try digest.make(of: Array("1234".utf8), random: salt)
        #expect(text.hasPrefix("scrypt$16$8$3$" + String(repeating: "5a", count: 16) + "$"))
        #expect(try digest.matches(text, Array("1234".utf8)))
        #expect(try !digest.matches(text, Array("1235".utf8)))
        #expect(try text != digest.make(of: Array("1234".utf8)) { [UInt8](repeating: 1, count: $0) })
    }

    /// What is used costs what it says, and agrees with scrypt elsewhere (Python's hashlib.scrypt).
    @Test func costsAndAgrees() throws {
        let text = try SlowDigest.standard.make(of: Array("1234".utf8), random: salt)
        #expect(
            text == "scrypt$32768$8$3$5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a$"
                + "26e92ef3f5c6ac5e0134aef3ea5fd43b5baed6a8190abcf3189ed6d27dad21a4")
    }

    /// A text of other costs, or of another form, is a digest of nothing, and costs nothing to find that out.
    @Test(arguments: [
        "", "scrypt$16$8$3$", "scrypt$1073741824$8$3$00$00", "scrypt$16$8$3$5a$00", "sha256$00",
        "scrypt$16$8$3$5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a$00$00",
    ])
    func knowsNoOther(_ text: String) throws {
        #expect(try !SlowDigest(rounds: 16).matches(text, []))
    }
}
